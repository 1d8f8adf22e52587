"""The device model: frozen values and pure functions.

Time and facts come in as arguments, and results are returned as values. No module of this package knows a vendor, gRPC,
protobuf, a driver, a clock or an asyncio task.

A value that checks itself is a frozen dataclass. A value without a rule of its own is a named tuple, because defining a
named tuple takes a sixth of the time. Import time matters here: with a kubelet of 1.8, a container that starts before
the resource is registered gets no devices and no error.
"""
