"""`plugin-gateway replay`: plays a recording to the functions of the gateway, and reports what differs.

A replay is a fold over the recorded lines, without socket, task and clock. What the driver reported goes through the
state function at its recorded time (`offering`), and what the kubelet did through the state machine of each resource
(`registering`). `streams` says which lists have to follow, and `stage` answers the calls. What the dialects make of all
this is compared with the recorded bytes, and a difference is shown in JSON.

Compared are registrations (without the name of the endpoint, which is new each time) and their times, lists, answers to
calls with their errors, and which side ends a stream. Registrations and lists that come in addition are differences
too, except those that can have been on their way when the recorded kubelet or stream ended. A list is right if it was
current at some time since the last one, and no other was for long.

Some lines cannot be played, and are counted with a reason: calls and streams of other clients than the kubelet, streams
that are not open now because of an earlier difference, a line that is cut. After lost lines nothing is compared. What
others on the node did, such as another gateway that took over, is in recordings from version 4 on.
"""
