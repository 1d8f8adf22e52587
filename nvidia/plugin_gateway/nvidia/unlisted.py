"""Compares the GPUs on the PCI bus with those that NVML lists."""

from collections.abc import Collection, Mapping, Sequence

from plugin_gateway.core.devices import RejectedDevice
from plugin_gateway.nvidia.naming import VISIBILITY_VARIABLE
from plugin_gateway.nvidia.pci import PciFunction

Unlisted = tuple[tuple[RejectedDevice, ...], tuple[RejectedDevice, ...]]
"""The GPUs that NVML should list, and those that were given to others on purpose."""

_ALL = frozenset({"", "all", "void"})
"""Values of the variable that hide no single GPU."""


def find_unlisted(
    functions: Sequence[PciFunction], listed: Collection[str], unplaced: int, environment: Mapping[str, str]
) -> Unlisted:
    """Return the GPUs that NVML does not list.

    ``listed`` has the PCI addresses that NVML told. ``unplaced`` GPUs of its list have an address that it does not
    tell. If there are no more functions than these, they are the same GPUs, and said already.
    """
    others = [each for each in functions if each.address not in listed]
    missing = [each for each in others if each.is_for_nvml]
    aside = [(each, f"the kernel driver {each.driver} has it") for each in others if not each.is_for_nvml]
    visible = environment.get(VISIBILITY_VARIABLE, "")
    if visible not in _ALL:
        hidden = [each for each in missing if each.driver is not None]
        aside += [(each, f"this process has {VISIBILITY_VARIABLE}={visible[:80]!r}") for each in hidden]
        missing = [each for each in missing if each.driver is None]
    if len(missing) <= unplaced:
        missing = []
    return (
        tuple(RejectedDevice(_place(each), _problem(each)) for each in missing),
        tuple(RejectedDevice(_place(each), why) for each, why in sorted(aside)),
    )


def _place(function: PciFunction) -> str:
    return f"GPU at {function.address}"


def _problem(function: PciFunction) -> str:
    if function.driver is None:
        return "the machine has it, but no kernel driver does: the driver failed to start it, or was told to leave it"
    return f"the machine has it, the kernel driver {function.driver} too, but NVML does not list it"
