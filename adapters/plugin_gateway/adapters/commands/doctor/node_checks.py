"""Checks of the node: driver, device nodes, limits, privileges, state directory and container runtime."""

import errno
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from inotify_simple import INotify

from plugin_gateway.adapters.commands.doctor.findings import Finding, hint, mend, unseen, unwritable, well
from plugin_gateway.adapters.gateway.device_nodes import DeviceNodes
from plugin_gateway.adapters.gateway.state_folder import TODO, lost_with, lost_words
from plugin_gateway.adapters.support.unix_files import explain_unwritable
from plugin_gateway.core.devices import Inventory
from plugin_gateway.core.health.observations import DriverUnavailable
from plugin_gateway.core.health.state import State
from plugin_gateway.core.resources.assignment import kept_names
from plugin_gateway.core.resources.names import ResourceName
from plugin_gateway.core.resources.rule_reasons import doubtful_in_all
from plugin_gateway.core.resources.rules import ResourceRule, excluded, named, unmatched
from plugin_gateway.core.resources.side_by_side import TODO_NAME, advertise_side_by_side

OWN_STATUS = Path("/proc/self/status")
INOTIFY_LIMIT = Path("/proc/sys/fs/inotify/max_user_instances")
CAPABILITIES = "NVIDIA_DRIVER_CAPABILITIES"
"""The variable that tells NVIDIA's container runtime which parts of the driver a container gets."""
UVM_NODE = "/dev/nvidia-uvm"
"""The device node that a container gets only with the capability compute."""
NUMA_NODES = Path("/sys/devices/system/node")
_NUMA_NODE = re.compile(r"node\d+")
MAX_NUMA_NODES = 8
"""The most NUMA nodes with which the Topology Manager starts unless it is told otherwise."""
RUNTIME_FILES = (
    "/etc/nvidia-container-runtime/config.toml",
    "/usr/bin/nvidia-container-runtime",
    "/usr/local/nvidia/toolkit/nvidia-container-runtime",
)
"""Where NVIDIA's container runtime is installed: by packages, and by the GPU Operator."""
_FILE_SYSTEM = "the file system of this process"
CDI_FOLDERS = ("/etc/cdi", "/var/run/cdi")
"""Where runtimes look for CDI specifications."""
CAPABILITY_NODES = "/dev/nvidia-caps/"
"""Where the device nodes of MIG devices are."""
_SYS_ADMIN = 21
"""The number of this capability in the kernel."""
_GPU_NODE = re.compile(r"/dev/nvidia\d+")
"""The device node of one GPU."""


def check_inventory(inventory: Inventory | DriverUnavailable, rules: Sequence[ResourceRule]) -> Iterator[Finding]:
    """Check the devices of the driver, and that each is offered."""
    if isinstance(inventory, DriverUnavailable):
        todo = inventory.todo or (
            "install or load the driver; where it is not at /, give --driver-root; where it has no GPU, see `dmesg` "
            "for NVRM, and `lspci -d 10de:`"
        )
        yield mend(f"driver: {inventory.problem}", todo)
        return
    if inventory.devices:
        products = sorted({device.physical.product for device in inventory.devices})
        gpus = len({device.physical.id for device in inventory.devices})
        of_gpus = f" of {gpus} GPUs" if gpus != len(inventory.devices) else ""
        yield well(f"the driver shows {len(inventory.devices)} devices{of_gpus}: {', '.join(products)}")
    elif not inventory.physical:
        yield mend("the driver is there and shows no device", "see `dmesg` for NVRM, and `lspci -d 10de:`")
    for rejected in inventory.rejected:
        yield mend(
            f"{rejected.place} cannot be offered: {rejected.problem}",
            rejected.todo or "see `dmesg` for NVRM and for PCIe errors; a reset or a reboot may help",
        )
    for aside in inventory.set_aside:
        yield hint(f"{aside.place} is left to others: {aside.problem}")
    for device in unmatched(inventory.devices, rules):
        yield mend(
            f"{device.id} is not offered: no rule matches {device.physical.product!r}",
            "add a rule under resources in the configuration file",
        )
    never = excluded(inventory.devices, rules)
    if never:
        yield hint(f"not offered, as a rule says: {', '.join(device.id for device in never)}")
    deaf = [device.id for device in inventory.physical if not device.reports_faults]
    if deaf:
        yield hint(f"the driver does not report faults of {', '.join(deaf)}; only checks find them")


def check_rules(inventories: Sequence[Inventory], rules: Sequence[ResourceRule]) -> Iterator[Finding]:
    """Report the rules that may be a mistake. ``inventories`` are those of all backends."""
    for each in doubtful_in_all(inventories, rules):
        yield hint(each.words(rules), "plugin-gateway devices --explain tells which rule takes which device")


def check_names_taken(inventories: Mapping[str, Inventory], rules: Sequence[ResourceRule]) -> Iterator[Finding]:
    """Report the devices that are not offered, because an earlier backend has the name of their resource."""
    states = {name: State(inventory=inventory) for name, inventory in inventories.items()}
    for taken in advertise_side_by_side(states, rules).taken:
        yield mend(f"{len(taken.devices)} devices of backend {taken.backend} are not offered: {taken}", TODO_NAME)


def check_nodes(inventory: Inventory, dev_root: str) -> Iterator[Finding]:
    """Check that all device nodes exist that containers need. ``dev_root`` is a path of this process."""
    own = inventory.nodes
    needed = [*own, *inventory.shared_nodes]
    if not needed:
        return
    nodes = DeviceNodes(dev_root)
    present = nodes.present(needed)
    if not nodes.is_visible():
        yield hint(
            f"the device nodes are not seen here: {os.path.join(dev_root, 'dev')} is missing or empty; containers get "  # noqa: PTH118 - a name, to be shown
            f"{', '.join(needed)} unseen, and others not",
            "see on the host that they are there: a container does not start with one that is missing",
        )
        return
    missing = [node for node in own if node not in present]
    shared = [node for node in inventory.shared_nodes if node not in present]
    if missing:
        yield mend(f"device nodes are missing below {dev_root}: {', '.join(missing)}", _todo_for_own(missing))
    if shared:
        yield mend(f"device nodes are missing below {dev_root}: {', '.join(shared)}", _todo_for(shared))
    if not missing and not shared:
        yield _all_there(nodes.unseen)
    yield from _check_surplus(inventory, present)


def _all_there(unseen: Collection[str]) -> Finding:
    if not unseen:
        return well("every device node is there")
    return well(
        f"every device node is there, as far as it is seen: {', '.join(sorted(unseen))} came after this container was "
        "started, and containers get them unseen"
    )


def _check_surplus(inventory: Inventory, present: Collection[str]) -> Iterator[Finding]:
    """Report nodes of GPUs that are in no list. A node can outlive its GPU, so this is no fault by itself."""
    surplus = sorted(node for node in present if _GPU_NODE.fullmatch(node) and node not in inventory.nodes)
    if surplus and not inventory.rejected and not inventory.set_aside:
        yield hint(
            f"no GPU is in the driver's list for {', '.join(surplus)}: the driver failed to start it, or it was "
            "removed since the boot",
            "see `lspci -d 10de:`, whether the machine has it, and `dmesg` for NVRM",
        )


def _todo_for_own(missing: Sequence[str]) -> str:
    """Return what to do about missing device nodes of single devices."""
    if any(node.startswith(CAPABILITY_NODES) for node in missing):
        return "run nvidia-modprobe -c 0, and nvidia-modprobe -f with the path of each MIG device's capability"
    return "run nvidia-modprobe -c 0"


def _todo_for(shared: Sequence[str]) -> str:
    """Return what to do about missing device nodes that all GPUs share."""
    capabilities = os.environ.get(CAPABILITIES)
    if UVM_NODE in shared and capabilities and not {"compute", "all"} & set(capabilities.split(",")):
        return (
            f"set {CAPABILITIES}=compute,utility: it is {capabilities[:80]!r} here, and NVIDIA's container runtime "
            f"then leaves {UVM_NODE} out of this container"
        )
    return "run nvidia-modprobe -u -c 0 on the host"


def check_numa(inventory: Inventory, folder: Path = NUMA_NODES) -> Iterator[Finding]:
    """Report so many NUMA nodes that a kubelet that is told those of the devices can stand still."""
    try:
        count = sum(1 for path in folder.iterdir() if _NUMA_NODE.fullmatch(path.name))
    except OSError:
        return
    if count > MAX_NUMA_NODES and any(device.numa_node is not None for device in inventory.physical):
        yield hint(
            f"this machine has {count} NUMA nodes: a kubelet up to 1.35 whose Topology Manager has a policy tries "
            "every combination of them, and stands still when a pod asks for a GPU",
            "with such a kubelet, give the gateway --numa-hints=false (numaHints in the chart)",
        )


def check_limits() -> Iterator[Finding]:
    """Check that inotify works, which the gateway uses to see a restart of the kubelet at once."""
    try:
        INotify().close()
    except OSError as error:
        if error.errno != errno.EMFILE:
            yield mend(f"inotify: {error.strerror}", "the gateway looks once a second instead")
            return
        yield mend(
            f"all {_read(INOTIFY_LIMIT)} inotify instances of this user are in use: a kubelet's restart is seen late",
            "sysctl fs.inotify.max_user_instances=1024",
        )
        return
    yield well(f"inotify works ({_read(INOTIFY_LIMIT)} instances are allowed)")


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return "unknown"


def check_privileges(*, needs_mig: bool) -> Iterator[Finding]:
    """Report the user and its capabilities. In the gateway's container they are those of the gateway."""
    effective = next((line for line in _read(OWN_STATUS).splitlines() if line.startswith("CapEff:")), None)
    if effective is None:
        yield unseen(f"{OWN_STATUS} does not tell the capabilities", "look as whom the gateway runs")
        return
    capabilities = int(effective.split()[1], 16)
    count = capabilities.bit_count()
    if needs_mig:
        is_there = bool(capabilities >> _SYS_ADMIN & 1)
        yield hint(
            f"this is user {os.geteuid()} {'with' if is_there else 'without'} the capability SYS_ADMIN, with which "
            "NVML tells the profiles of MIG devices; the gateway needs no other one where that user may write to the "
            "kubelet's directory",
            "" if is_there else "where MIG devices are refused, give it to the container, as the chart does",
        )
        return
    yield hint(
        f"this is user {os.geteuid()} with {count or 'no'} capabilities; the gateway needs none where that user may "
        "write to the kubelet's directory",
        "drop all of them from a container" if count else "",
    )


def check_state_directory(directory: Path) -> Iterator[Finding]:
    """Check that the gateway can save which devices are unhealthy, so that it knows it after a restart."""
    above = (directory, *directory.parents)
    nearest = next((path for path in above if os.path.exists(path)), Path("/"))  # noqa: PTH110 - raises nothing
    error = explain_unwritable(nearest)
    if (lost := lost_with(directory)) is not None:
        yield mend(lost_words(str(directory), lost), TODO.format(directory))
    if error is None:
        yield well(f"{directory} can be written")
    else:
        so = "; a restart of the gateway forgets which devices are unhealthy"
        yield unwritable(str(directory), error, "--state-dir", so)


def check_runtime(*, pass_device_specs: bool) -> Iterator[Finding]:
    """Report what gives containers the libraries of the driver. The gateway only gives them devices."""
    runtime = [name for name in RUNTIME_FILES if os.path.exists(name)]  # noqa: PTH110 - names, to be shown
    specs = [name for name in CDI_FOLDERS if _has_cdi(Path(name))]
    if runtime:
        yield hint(
            f"NVIDIA's container runtime is in {_FILE_SYSTEM}: {runtime[0]}; whether it is the default one decides its "
            "own file"
        )
    if specs:
        yield hint(f"CDI specifications of NVIDIA's devices are in {_FILE_SYSTEM}: {', '.join(specs)}")
    if not runtime and not specs:
        told = (
            "they get device nodes all the same"
            if pass_device_specs
            else "and no device nodes: --pass-device-specs=false"
        )
        yield hint(
            f"neither NVIDIA's container runtime nor a CDI specification is in {_FILE_SYSTEM}; where the node has "
            f"neither, containers bring the libraries themselves; {told}",
            "look on the node, not in the image of a container",
        )


def _has_cdi(folder: Path) -> bool:
    try:
        return any("nvidia" in path.name for path in folder.iterdir())
    except OSError:
        return False


def offered_names(rules: Sequence[ResourceRule], inventory: Inventory) -> Sequence[ResourceName]:
    """Return the names of all resources in the rules. A profile in a name is that of a device that is there."""
    return list(dict.fromkeys((*kept_names(rules), *(name for _, name, _ in named(inventory.devices, rules)))))
