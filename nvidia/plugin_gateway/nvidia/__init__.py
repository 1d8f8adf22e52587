"""The backend for NVIDIA GPUs: it reads NVML, NVIDIA's management library, and reports observations.

One thread owns NVML. A call of NVML can block for a long time if the driver or a GPU hangs, so no other thread ever
calls it, and nothing waits for it. Answers to the kubelet come from memory. Between two calls the thread records a sign
of life. If the sign gets old, the gateway knows that the driver hangs.

A session lasts from the initialisation of NVML to its shutdown. Within a session, NVML keeps the list of GPUs that it
had at the beginning: a GPU that is added later appears only in a new session. The library is also unloaded at the end
of a session, so that the next one uses an upgraded driver. The events between two sessions are lost. A new session is
therefore only started when something has changed.

A session starts with a snapshot of all GPUs and a check of each. It then waits for events, such as XIDs. Every 5 s a
rescan looks for differences from the snapshot: another number of GPUs, another UUID at an index, another error, or
another list of GPUs in the kernel's /proc folder, which changes before NVML does. A difference ends the session. A
rescan is needed because NVML has no event for a GPU that is added or removed. A GPU that is lost does not end the
session. It remains in the inventory, and a check makes it unhealthy.

With ``--kernel-log`` a second thread reads the kernel's log from the first inventory on. The log has what NVML's events
lack: the sub-codes of NVLink 5 errors. `correlation` joins both, so that an error counts once.

A check asks each GPU for problems that last: a recovery action, a failed row remapping, pages that wait for retirement.
It runs every 15 s. After an event, and while a GPU has a problem, it runs with every rescan.
"""
