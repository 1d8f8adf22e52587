"""The kubelet's files and sockets on the node: its directory, its checkpoint, and the devices of its pods.

A kubelet keeps the same directory in all releases: /var/lib/kubelet/device-plugins, whatever its own root directory is.
It empties the directory when it starts, so the gateway's sockets vanish at every restart. Up to 1.32 it deletes every
file but its checkpoint, later only sockets. The gateway therefore keeps no files there.
"""
