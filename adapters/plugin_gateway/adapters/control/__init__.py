"""The control sockets: how `status`, `health clear` and `doctor` reach the gateways of this node.

Each gateway listens on a unix socket of its own in its state directory, `control-INSTANCE.sock`. So several gateways of
one node can be asked, and the end of one does not concern the others. Earlier versions had one name for all of them,
`control.sock`. A socket is removed by the next gateway that starts if nobody listens on it any more.

A client sends one line with a JSON object and gets one line back: `{"answer": ...}`, or `{"error": "..."}` with a text
for the operator. Then the connection is closed. The requests are `{"command": "status"}`,
`{"command": "clear", "devices": [...]}`, `{"command": "accept"}`, `{"command": "reload"}`,
`{"command": "release", "seconds": 120}` and `{"command": "take"}`.

Gateways ask each other, too: `{"command": "await_leave", "resources": [...]}` has two answers on one connection. The
others are `{"command": "share", "resources": {NAME: DIGEST}}` and
`{"command": "take_over", "instance": INSTANCE, "resources": [...]}`; see `handover`.

Only root and the user of the gateway may ask. The file has mode 0600, and the gateway asks the kernel for the user of
each client.

Answers are made in the event loop, from what the gateway knows at that moment. No request waits for the driver or the
kubelet; `reload` waits for a thread that reads the configuration file. Each side waits 5 s for the other.
"""

MAX_RELEASE = 3600
"""Seconds for which the driver can be released at most, so that nobody forgets it."""
