"""What a node needs so that containers can use RDMA devices, and whether it has it. For the doctor."""

import resource
from collections.abc import Iterator, Mapping, Sequence

from plugin_gateway.core.cards import FUNCTION, PHYSICAL, VIRTUAL
from plugin_gateway.core.devices import Device, Inventory
from plugin_gateway.core.findings import Finding, hint, mend, well
from plugin_gateway.core.resources.rules import ResourceRule, takers
from plugin_gateway.linux.card_findings import HostView, check_bus, check_interfaces, check_nodes, listed
from plugin_gateway.linux.card_model import Tree, Unread
from plugin_gateway.linux.facts import PciFunctions
from plugin_gateway.rdma.naming import BACKEND, CONNECTION_MANAGER, ISSM, UMAD
from plugin_gateway.rdma.products import is_of_mellanox, rdma_module

NETNS_MODE = "/sys/module/ib_core/parameters/netns_mode"
"""Whether network namespaces share RDMA devices: Y, or N if each device is in one of them only."""
_IS_EXCLUSIVE = {"Y": False, "N": True, "0": True}
CNI_FOLDER = "/etc/cni/net.d"
"""Where the container runtime finds the configurations of CNI, and of Multus."""
_MULTUS = "multus"
UNLIMITED = resource.RLIM_INFINITY
_CLASSES: Mapping[str, tuple[str, str]] = {
    "ib_uverbs": ("/sys/class/infiniband_verbs", "programs can use no RDMA device"),
    "rdma_ucm": (f"/sys/class/misc/{CONNECTION_MANAGER}", "programs cannot find each other by IP addresses"),
}
"""For each kernel module that every container needs: what is in sysfs with it, also if it is built in, and what follows
without it."""
_UMAD_CLASS = "/sys/class/infiniband_mad"


def own_memory_limit() -> int:
    """Return how many bytes of memory this process may lock. `UNLIMITED` if there is no limit."""
    return resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]


def check(view: HostView, inventory: Inventory, rules: Sequence[ResourceRule], memory_limit: int) -> Iterator[Finding]:
    """Check the host, the cards, and what the rules make of them.

    ``rules`` are those of all backends. ``memory_limit`` is how much memory a process of this container runtime may
    lock.
    """
    bus = yield from check_bus(view)
    if bus is None:
        return
    mine = [rule for rule in rules if rule.is_always_there and rule.is_about(BACKEND)]
    yield from check_interfaces(view, bus, [each.id for each in inventory.physical])
    lacking = list(_check_modules(view, bus, inventory, mine))
    yield from lacking
    if not lacking:
        yield from check_nodes(view, inventory)
    yield from _check_drivers(bus)
    yield from _check_mode(view, mine)
    yield from _check_taken(view, bus, inventory, rules)
    if mine and inventory.physical:
        yield from _check_memory(memory_limit)


def _check_modules(
    view: HostView, bus: PciFunctions, inventory: Inventory, rules: Sequence[ResourceRule]
) -> Iterator[Finding]:
    """Report the kernel modules that are not loaded, each with what follows from it."""
    ids = {each.id for each in inventory.physical}
    cards = [each for each in bus.functions if each.address in ids and each.driver]
    if not cards:
        return
    makers = {each.driver for each in bus.functions if each.rdma_devices}
    for driver in sorted({each.driver for each in cards if each.driver} - makers):
        module = rdma_module(driver)
        if module is not None and not view.tree.exists(f"/sys/module/{module}"):
            count = sum(each.driver == driver for each in cards)
            what = f"{count} functions of {driver} have" if count > 1 else f"the function of {driver} has"
            yield _not_loaded(module, f"{what} no RDMA device")
    for module, (place, so) in _CLASSES.items():
        if not view.tree.exists(place):
            yield _not_loaded(module, so)
    asked = {word for rule in rules if rule.options for word in rule.options.requested_nodes}
    if asked & {UMAD, ISSM} and not view.tree.exists(_UMAD_CLASS):
        yield _not_loaded("ib_umad", "a rule asks for device nodes that nothing has")


def _not_loaded(module: str, so: str) -> Finding:
    return mend(
        f"the module {module} is not loaded: {so}",
        f"run modprobe {module} on the host; where a container brings the drivers, the gateway waits for it",
    )


def _check_drivers(bus: PciFunctions) -> Iterator[Finding]:
    without = [
        each.address for each in bus.functions if is_of_mellanox(each) and not each.driver and not each.manages_nvlink
    ]
    if without:
        yield mend(
            f"no kernel driver has {listed(without)}",
            "see in dmesg why the driver refused them; a driver for virtual machines holds those that it has",
        )


def rdma_is_exclusive(tree: Tree) -> bool | None:
    """Whether each RDMA device is in one network namespace only. None if the kernel does not say."""
    mode = tree.text(NETNS_MODE)
    return None if isinstance(mode, Unread) else _IS_EXCLUSIVE.get(mode.strip())


def _check_mode(view: HostView, rules: Sequence[ResourceRule]) -> Iterator[Finding]:
    """Report where the kernel gives an RDMA device to one network namespace only, and a rule to several containers."""
    if not rdma_is_exclusive(view.tree):
        return
    shared = [rule for rule in rules if rule.sharing.replicas > 1 or rule.sharing.is_pool]
    for rule in shared:
        yield mend(
            f"{rule.name} is shared, and RDMA is in exclusive mode: a pod in a network namespace of its own sees none "
            "of its devices",
            "run rdma system set netns shared on the host before any such namespace exists, or offer the devices with "
            "sharing: exclusive",
        )
    if len(shared) < len(rules):
        yield hint(
            "RDMA is in exclusive mode: a device reaches a pod only if a CNI plugin moves it there",
            "chain rdma-cni after the plugin that moves the interface",
        )


def _check_taken(
    view: HostView, bus: PciFunctions, inventory: Inventory, rules: Sequence[ResourceRule]
) -> Iterator[Finding]:
    """Report what the rules offer to one pod at a time and what such a pod needs besides."""
    chosen = zip(inventory.devices, takers(inventory.devices, rules), strict=True)
    alone = [
        device
        for device, number in chosen
        if number is not None and rules[number].name is not None and _is_exclusive(rules[number])
    ]
    counts = {each.address: each.vf_count for each in bus.functions}
    parents = [device.id for device in alone if _is(device, PHYSICAL) and counts.get(device.id)]
    if parents:
        yield hint(
            f"physical functions with virtual ones are offered as a whole: {listed(parents)}; a pod that has one can "
            "do what it wants with all of its virtual functions",
            "give the rule functions: vf, or set sriov_numvfs to 0",
        )
    if any(_is(device, VIRTUAL) for device in alone):
        yield from _check_multus(view)


def _is_exclusive(rule: ResourceRule) -> bool:
    return rule.sharing.replicas == 1 and not rule.sharing.is_pool


def _is(device: Device, function: str) -> bool:
    return function in device.physical.attributes.get(FUNCTION, ())


def _check_multus(view: HostView) -> Iterator[Finding]:
    """Report whether there is something that gives a pod the interface of its virtual function."""
    names = view.tree.names(CNI_FOLDER)
    if isinstance(names, Unread):
        yield hint(
            f"whether the node has Multus is not seen: {view.path(CNI_FOLDER)} is not there",
            "a virtual function reaches a pod with its interface only by Multus and sriov-cni",
        )
    elif not any(_MULTUS in name for name in names):
        yield mend(
            f"virtual functions are offered, and there is no Multus in {view.path(CNI_FOLDER)}: a pod gets the device "
            "nodes of its function and not its interface",
            "install Multus and sriov-cni, or offer the devices with sharing: shared",
        )
    else:
        yield well(f"Multus is in {view.path(CNI_FOLDER)}")


def _check_memory(limit: int) -> Iterator[Finding]:
    if limit == UNLIMITED:
        yield well("a process may lock as much memory as it needs for RDMA here")
        return
    yield hint(
        f"a process may lock {_size(limit)} of memory here, and RDMA locks all that it sends from; pods of the same "
        "container runtime have the same limit",
        "give pods that use RDMA the capability IPC_LOCK, or set LimitMEMLOCK=infinity for the container runtime",
    )


def _size(count: int) -> str:
    return f"{count >> 20} MiB" if count >= 1 << 20 else f"{count >> 10} KiB"
