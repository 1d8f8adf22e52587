"""`plugin-gateway run`: the gateway as a process.

A node should have its devices soon after the process starts. Most of the time until the first registration goes into
imports, so their order is chosen:

1. `command` handles signals, disables the garbage collector, checks the limits of the process, and decides the settings
   that the next steps need.
2. The backend starts. The driver initialises in the backend's own thread.
3. Meanwhile the main thread imports what the backend's thread needs next, then asyncio, gRPC and the gateway.
   It leaves out what they would import and `run` does not need. No other thread imports: two that do so at the same
   time give the interpreter to each other at each file, which takes longer than one after the other.
4. `daemon` checks the kubelet's directory, opens the HTTP listener, reads the state that an earlier instance left, and
   begins a recording. An error in these ends the process with a message.
5. The event loop runs. The gateway registers as soon as the driver has reported its devices. While gRPC sends Register,
   protobuf is imported, which the calls of the kubelet need.
   30 ms later the threads of network cards begin, if there are any: they import what they need, and look.
6. 30 ms later, or 30 ms after it is known which cards there are, the rest is imported, in threads: structlog (log
   lines are kept until then), the control socket, HTTP pages and reports to the cluster. The garbage collector is
   enabled. If nothing can be registered, this begins after 0.3 s.

SIGTERM and SIGINT end the process at once until there is something to clean up, and in order after that; a second
signal ends it at once. An end that takes longer than 1.8 s is cut off. SIGHUP reads the configuration again. One that
comes during the start is handled when the event loop runs.
"""
