"""The device model: frozen values and pure functions.

Time and facts come in as arguments, outcomes go out as values.
Nothing here knows gRPC, protobuf, NVML, a clock or a task.
"""
