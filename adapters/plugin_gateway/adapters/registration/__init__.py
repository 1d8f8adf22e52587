"""Registration of every resource with the kubelet of the node, again after every restart.

A registration has three steps. The gateway calls Register on kubelet.sock and names an endpoint, which is a unix socket
in the same directory. The kubelet connects to that endpoint, which is called dialing back. It then opens the stream of
the ListAndWatch method. The resource counts as registered when the stream is open.

The releases differ in the order of these steps, and in how they handle a second registration:

- 1.8 and 1.9 answer Register at once. They dial back once, without waiting. If the endpoint does not accept the
  connection, the registration is lost, and only a line in the kubelet's log says so. The gateway therefore binds the
  endpoint before Register, and expects the stream within 3 s. A kubelet of 1.8 can crash if two resources change at the
  same instant, so the gateway registers one resource after the other and waits for the stream in between.
- 1.10 to 1.24 answer at once as well, and then dial back for up to 10 s. The gateway expects the stream within 15 s.
- 1.25 to 1.36 dial back for up to 10 s and call GetDevicePluginOptions before they answer Register. A Register
  therefore has a deadline of 25 s. A kubelet that has answered opens the stream at once, so the gateway expects it
  within 3 s. These kubelets keep one connection for each resource name. If an older stream of the resource ends, they
  close the newest connection, and nothing but another Register repairs that.
- 1.37 keeps one connection for each resource and path. An older stream that ends does no harm. A Register with a path
  that the kubelet still holds is refused, and from then on the kubelet does not notice the end of the live stream. Only
  a restart of the kubelet helps. Every Register therefore names a new endpoint.

The last point holds for every release: a new endpoint name for each attempt is harmless everywhere. The behaviour of
1.8.15, 1.9.7, 1.9.11, 1.10.2, 1.10.13, 1.20.15, 1.36.3 and 1.37.2 was seen with genuine kubelets.

The gateway never registers with a kubelet that may still hold a stream of its own. Another gateway may hold one only if
the kubelet is certainly of 1.37 or later, and both agree (see `handover.py`). It also waits before a Register
in these cases:

- 70 ms after a stream ended, if the kubelet still runs (`SAME_KUBELET`). Without it, kubelets of 1.25 to 1.36
  sometimes mix up the old and the new connection.
- 1 s after the gateway itself closed an endpoint that a kubelet of 1.25 or later had dialed (`CLOSED_STREAM`).
- Up to 1 s after a new kubelet appeared, while a stream of the old kubelet is still open (`OLD_STREAM`).
- 10.5 s after the gateway stopped waiting for the answer to a Register (`LATE_DIAL`). A kubelet of 1.25 to 1.34 may
  dial for that long.

A kubelet that has just started needs none of these pauses, and the gateway registers within milliseconds. On 1.8 this
decides whether a container that starts at that time gets its devices.

The state machine in core/registration decides all of this. One task, in registrar.py, gives it what happens.
resource_registration.py carries out for one resource what it decides, link.py and client.py send Register, and
endpoints.py binds the sockets. On 1.10 and later each resource registers by itself.
"""
