"""`plugin-gateway replay`: plays the kubelet's side of a recording to a gateway, and reports what differs.

A gateway of this version runs in a temporary folder, with stand-ins for its driver, device nodes, clock and kubelet.
The recorded lines are played one after the other. A line from the kubelet's side is done again: it opens a stream,
makes a call, answers a registration. What the driver reported is given to the gateway as it was then. A line that the
gateway caused is expected from it now, and compared.

Compared are registrations (without the name of the endpoint, which is new each time), lists, answers to calls with
their errors, and which side ends a stream. Messages are compared byte by byte, and a difference is shown in JSON.
Registrations and lists that come in addition are differences too, except those that can have been on their way when the
recorded kubelet or stream ended.

The time of health is that of the recording: the clock of the gateway moves from line to line. Registration uses the
real clock, so the replay waits for its pauses (`pace`).

Some lines cannot be played, and are counted with a reason: calls and streams of other clients than the kubelet, streams
that are not open now because of an earlier difference, a line that is cut. After lost lines nothing is compared. Other
gateways on the node, and what they caused, are not in a recording.
"""
