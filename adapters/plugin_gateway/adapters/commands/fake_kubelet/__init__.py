"""`plugin-gateway fake-kubelet`: a fake kubelet for people, to try a device plugin without a cluster.

`command` has the arguments and runs the fake kubelet, `prompt` reads commands from standard input, and `views` shows
events and devices.
"""
