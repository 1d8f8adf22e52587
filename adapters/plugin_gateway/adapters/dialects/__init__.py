"""The three versions of the device plugin protocol, called dialects: functions between bytes and the device model.

There are three dialects. A kubelet accepts exactly one of them, by the version string in Register.

- `0.1` (1.8): package `deviceplugin`. The response to Allocate is a list with one spec for each device. The kubelet
  merges the specs, and of an environment variable that occurs in two of them it keeps the first value. The whole answer
  is therefore in one spec.
- `v1alpha2` (1.9): the same package, services and methods as 1.8, but another response to Allocate. Field 1 is a list
  of messages on 1.8 and a map on 1.9, so the same bytes cannot serve both.
- `v1beta1` (1.10 and later): package `v1beta1`. Allocate has one response for each container request. Kubelets of 1.10
  and 1.11 crash if there is none. Options exist in two places: 1.10 to 1.24 read them from Register, 1.25 and later
  call GetDevicePluginOptions. New fields and methods were added without another version: topology in 1.17,
  GetPreferredAllocation in 1.19, CDI devices in 1.28. Older kubelets ignore them.

Two traps do not belong to one dialect. Kubelets of 1.10 and later accept at most 4 MiB in one message. Kubelets of
1.9.7 and 1.10.0 to 1.10.2 ignore a list of healthy devices after a restart of the plugin (`forgetful_agent`).
"""
