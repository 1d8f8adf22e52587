"""The device model: frozen values and pure functions.

Time and facts come in as arguments, outcomes go out as values.
Nothing here knows a vendor, gRPC, protobuf, a driver, a clock or a task.

A value that checks itself is a frozen dataclass; one without a rule of its own is a named tuple, which costs a sixth of
that to define, and on Kubernetes 1.8 the time from process start to registration is correctness.
"""
