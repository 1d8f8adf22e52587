"""What a kubelet finds on an endpoint: the device plugin service, answered from memory.

An endpoint is a unix socket with its own gRPC server. It serves the methods of every dialect, so that a kubelet of any
release finds the service that it expects. Kubelets of 1.8 and 1.9 use the same names for different messages. The
dialect in which the endpoint is registered decides which of the two is served.

- ListAndWatch is the stream. It sends the whole device list at once, and again after every change. The first stream of
  a Go client on a registered endpoint is the kubelet's. Other clients may open streams too, but they do not affect the
  registration.
- Allocate, GetPreferredAllocation, GetDevicePluginOptions and PreStartContainer are answered without a call to the
  driver. A failed Allocate fails the pod for good on 1.9 and later, so only impossible requests are refused.
- The gRPC health service reports which dialect the kubelet uses. Server reflection describes the services, for tools
  such as grpcurl. Both are loaded when somebody calls them.
"""
