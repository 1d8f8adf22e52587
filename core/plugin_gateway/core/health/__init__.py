"""How the health of a device is decided, from evidence to fault, to probation, to healthy.

Everything here is a pure function of the state, an observation, the policy and the time.

Evidence is anything that speaks against a device. There are two forms. An event of the driver is reported once. A
problem that a check finds lasts until a later check no longer finds it. The policy assigns an action to each kind of
evidence: ignore it, report it, or make the device unhealthy. In the last case the action also says what the device
needs afterwards: a check, the driver's answer, a reset or a reboot. A higher need includes the lower ones.

Evidence is about a physical device, or about a part of one. A fault has the same scope. A device is given out if
neither it nor its physical device has a fault. All that follows is true for each scope by itself.

The policy can also ask that an event is repeated within a window. Until then it is only reported.

A device with such evidence has a fault and is unhealthy. The fault collects further evidence and keeps the highest
need. Probation begins when all of this is true:

- If a reset is required, one was reported. A reset is a new instance of the driver, or the end of its request for
  recovery.
- A check after the last evidence found no problem, and no problem lasts for another reason.
- No reboot is required.

Some evidence can be harmless or fatal, and only the driver knows which. The device is then unhealthy while the question
is open. It waits for an answer of the driver, some seconds after the last such evidence, that it asks for no recovery.
With this answer the device is healthy at once. A driver that has no such answer leaves only a reset. A more precise
report about the same evidence can come first. If it explains all of it as harmless, the device is healthy at once. If
it asks for a reset, the driver's answer is no longer enough.

On probation the kubelet still sees the device as unhealthy. The device becomes healthy when it was quiet for the quiet
time of the policy. Only time in which a fault would have been noticed counts. The quiet time therefore ends at the
driver's last sign, and not at the present moment. New evidence ends the probation. So does a moment in which the driver
is missing or silent, its events cannot be received, or the device is not in the inventory. The device then needs
another check, and the quiet time starts again.

The policy can also ask for somebody's word instead of the quiet time: an operator's, or that of an external test. A
question that the driver alone decides does not need it.

Flapping: a device that becomes unhealthy too often within a window needs a reset in addition. Where the policy has a
longest quiet time, no reset is needed: the quiet time doubles with each time. Three cases do not count as flapping: a
driver that is gone, a question that the driver decides, and a fault of several devices at the same moment, for the same
reason, that left no device healthy. In these cases it is not known that the single device has a fault.

After a restart of the gateway, all faults are still there. A device on probation has to be checked again, and its quiet
time starts again, because it was not watched in between. A question that the driver decides stays open; the answer
counts some seconds after the first look. After a reboot of the node, every need is reduced to a check, lasting problems
are dropped, and the flapping count starts again. A fault of a device that did not appear during a whole boot is
forgotten, because the device has probably been removed from the machine.

An operator can clear a device. Lasting problems still count afterwards.
"""
