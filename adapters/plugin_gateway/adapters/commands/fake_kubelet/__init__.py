"""`plugin-gateway fake-kubelet`: the fake kubelet for people."""
