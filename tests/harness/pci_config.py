"""PCI configuration spaces: that of a GPU of the machine, and those of GPUs that a hypervisor made."""

STATUS, FIRST, VENDOR_SPECIFIC, POWER = 0x06, 0x34, 0x09, 0x01
LIST = 0x10
PLACE = 0xD0


def config(*capabilities: bytes, has_list: bool = True) -> bytes:
    """A configuration space with these capabilities behind each other. The second byte of each is set here."""
    space = bytearray(256)
    space[STATUS] = LIST if has_list else 0
    place = 0x40
    space[FIRST] = place if capabilities else 0
    for number, capability in enumerate(capabilities, 1):
        following = place + len(capability)
        space[place:following] = capability
        space[place + 1] = following if number < len(capabilities) else 0
        place = following
    return bytes(space)


def vgpu(version: str, branch: str, *records: bytes) -> bytes:
    """The capability of a GPU that a hypervisor made, with other records before that of the driver."""
    driver = bytes((0, 22)) + version.encode().ljust(10, b"\0") + branch.encode().ljust(10, b"\0")
    body = b"VF" + b"".join(records) + driver
    return bytes((VENDOR_SPECIFIC, 0, 3 + len(body))) + body


OF_THE_MACHINE = config(bytes((POWER, 0, 0, 0)), bytes((VENDOR_SPECIFIC, 0, 8)) + bytes(5))
"""A GPU of the machine, which has a capability of the vendor's, too."""
OF_A_HYPERVISOR = config(bytes((POWER, 0, 0, 0)), vgpu("570.124.03", "r570_00"))
