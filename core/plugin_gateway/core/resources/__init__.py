"""Assignment of devices to resources, and what a container gets for its devices.

- Rules: each resource rule has a selector and a resource name. The first rule whose selector matches a device decides
  under which name it is offered, if at all, and how many containers may share it. A device without a matching rule is
  not offered.
- Assignment: the devices of one resource form an advertisement. It contains all of them, with those that are unhealthy.
- Allocation: the kubelet chooses device ids, and the advertisement provides the environment variable and the device
  nodes for the container. Unknown, repeated and unhealthy ids are refused. A device is named once, whichever of its
  replicas are chosen.
- Choice: kubelets of 1.19 and later ask which of the available devices they should choose. The links between whole
  devices answer it, and a policy for replicas and parts of devices.
- Preference: the answer where the links say nothing. It prefers devices on as few NUMA nodes as possible.
- Conflict: another device plugin of the node has the same resource, or offers the same devices. Or a pod holds a device
  in another form than the one in which it is offered now.
"""
