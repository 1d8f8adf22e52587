"""Checks of the gateways that run on this node, through their control sockets."""

import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path

from plugin_gateway.adapters.commands.device_lines import HeldBy
from plugin_gateway.adapters.commands.doctor.findings import Finding, Verdict, hint, mend, unseen, well
from plugin_gateway.adapters.control.control_client import Asked, ControlError, FormError, NoAnswerError, ask_all
from plugin_gateway.adapters.gateway.device_counter import BY_MEMORY
from plugin_gateway.adapters.gateway.device_status import DeviceStatus
from plugin_gateway.adapters.gateway.status import CountStatus, DriverStatus, OfferedResource, Status
from plugin_gateway.adapters.kubelet.holders import find_holders
from plugin_gateway.adapters.registration.client import CURES
from plugin_gateway.adapters.support.terminal import local_time
from plugin_gateway.core.devices import MAX_NAMES
from plugin_gateway.core.health.faults import Evidence, Stage
from plugin_gateway.core.health.policy import DRIVER_GONE
from plugin_gateway.core.health.remedies import Remedies, Remedy, causes_of

_DRIVER_TODO = "see dmesg and `nvidia-smi` on the host"
_CARDS_TODO = "see dmesg on the host"
NO_BACKENDS: Mapping[str, Remedies] = {}
GPU = "GPU"
"""The word for a device of which NVIDIA's driver can be asked, and that of gateways that do not say any."""
_HANGS = "it hangs or was stopped: see the end of its log, and end it; the kubelet's pods run on"
_OTHER_VERSION = "run the plugin-gateway of that gateway's version, for example in its pod"
_KERNEL_LOG_TODO = (
    "mount /dev/kmsg and make the container privileged (the chart's kernelLog does both), or leave out --kernel-log"
)


def check_gateway(
    state_dir: Path, remedies: Remedies, of_backends: Mapping[str, Remedies] = NO_BACKENDS
) -> Generator[Finding, None, bool]:
    """Ask the gateways for their status, the active one first, and report the problems in it.

    ``remedies`` says what the vendor recommends for each cause, and ``of_backends`` what that of each backend does.
    Returns whether one has said if it can read the kernel's log.
    """
    try:
        gateways = ask_all(state_dir)
    except (NoAnswerError, FormError) as error:
        yield _check_silent(error)
        return False
    except ControlError as error:
        if os.geteuid() != 0:
            yield unseen(str(error))
        else:
            yield mend(f"{error}", "start it, or give the --state-dir in which its control socket is")
        return False
    for gateway in gateways:
        found = f"{gateway.name} runs here, {gateway.role}" if len(gateways) > 1 else "a gateway runs here"
        yield from _check_one(gateway, found, is_first=gateway is gateways[0])
        if gateway is gateways[0] and gateway.status is not None:
            yield from _check_devices(gateway.status, remedies, of_backends)
    return any(
        driver.kernel_log is not None
        for each in gateways
        if each.status is not None
        for _, driver in each.status.drivers
    )


def _check_one(gateway: Asked, found: str, *, is_first: bool) -> Iterator[Finding]:
    """Report the problems of one gateway. What is wrong with a device is told once, by the first one."""
    status, name = gateway.status, "the gateway" if is_first else gateway.name
    if status is None:
        yield _check_silent(gateway.problem)
        return
    versions = " and ".join(driver.version for _, driver in status.drivers if driver.version)
    yield well(f"{found}{f', with driver {versions}' if versions else ''}")
    words = {each.name: each.device_word or GPU for each in status.backends}
    for backend, driver in status.drivers:
        word = words.get(backend) if backend is not None else next(iter(words.values()), GPU)
        todo = _DRIVER_TODO if word == GPU else _CARDS_TODO
        yield from _check_driver(driver, name if backend is None else f"{name} (backend {backend})", todo)
    yield from _check_configuration(status, name)
    yield from _check_label(status)
    if is_first:
        yield from _check_number(status.device_count)
    for conflict in status.conflicts:
        yield mend(conflict.what, conflict.todo)
    for resource in status.resources:
        yield check_resource(resource)
    yield from _check_daemons(status)
    yield from _check_specs(status)


def _check_silent(problem: ControlError | None) -> Finding:
    """Report a gateway that gave no status, or one that cannot be read."""
    return mend(f"{problem}", _OTHER_VERSION if isinstance(problem, FormError) else _HANGS)


def _check_devices(status: Status, remedies: Remedies, of_backends: Mapping[str, Remedies]) -> Iterator[Finding]:
    """Report what is wrong with each device. ``remedies`` are for one whose backend is not known."""
    unhealthy = status.unhealthy
    is_released = any(driver.released is not None for _, driver in status.drivers)
    holders = HeldBy(find_holders(Path(status.kubelet_dir)).holders if unhealthy else ())
    for device in unhealthy:
        held = holders.words(device)
        its_own = of_backends.get(device.backend or "", remedies)
        yield _check_device(
            device, [f"held by {held}"] if held else [], _during_release(its_own) if is_released else its_own
        )


def _check_daemons(status: Status) -> Iterator[Finding]:
    """Report devices that are not given out because a daemon, or something that every container needs, is missing."""
    for what, devices in status.waiting.items():
        wait = devices[0].waits_for
        todo = (wait.todo if wait is not None else None) or "share other GPUs in this way, or these in another way"
        yield mend(what, todo, [f"it is about {', '.join(device.id for device in devices[:MAX_NAMES])}"])


def _check_specs(status: Status) -> Iterator[Finding]:
    """Report what is wrong with the CDI specs, as the gateway sees it."""
    for resource in status.resources:
        if resource.fallback is not None:
            yield hint(
                f"{resource.name}: containers get device nodes and the variable instead of CDI devices: "
                f"{resource.fallback}",
                "cdi-cri needs kubelet 1.29, and cdi-annotations 1.10",
            )
    if status.cdi is not None and status.cdi.foreign_files:
        yield mend(
            f"the gateway sees other files with the same CDI devices: {', '.join(status.cdi.foreign_files)}",
            "remove what another device plugin has left, and run only one",
        )


def _during_release(remedies: Remedies) -> Remedies:
    """Return what to do about evidence while an operator has released the driver. Who asks it by hand would hold it."""
    take = Remedy(todo="plugin-gateway driver take, when the work on the driver is done")
    return lambda evidence: take if evidence.kind == DRIVER_GONE else remedies(evidence)


def _check_device(device: DeviceStatus, held: Sequence[str], remedies: Remedies) -> Finding:
    """Report a device that is not healthy. On probation, nothing has to be done a second time."""
    name, reason, needs = device.id, device.reason, device.needs
    clear = f"plugin-gateway health clear {name}"
    if device.health is Stage.PROBATION:
        details = (*_explain(device.evidence, None), *held)
        what = f"{name} is on probation and not given out yet: {reason}"
        if device.quiet_left is not None:
            return Finding(Verdict.HINT, what, f"it is given out again after {needs}, if nothing happens", details)
        return mend(what, f"it needs {needs}; {clear} is an operator's word", details)
    if device.hides_reset:
        todo = f"it needs {needs}; after a reset that the driver does not report: {clear}"
    else:
        todo = f"it needs {needs}" + (f"; {clear} is an operator's word" if device.clear_helps else "")
    return mend(f"{name} is not given out: {reason}", todo, (*_explain(device.evidence, remedies), *held))


def _explain(evidence: Sequence[Evidence], remedies: Remedies | None) -> Iterator[str]:
    """Yield lines about each cause: where it came from and when, and what the vendor says to do, unless it was done."""
    for cause in causes_of(evidence, remedies or (lambda _: Remedy())):
        first = f", first at {local_time(cause.first)}" if cause.first != cause.last else ""
        yield f"{cause.what}: from {cause.source.value}, at {local_time(cause.last)}{first}"
        remedy = cause.remedy
        for title, word, sentence in (
            ("do", remedy.action, remedy.todo),
            ("then", remedy.investigation, remedy.to_investigate),
        ):
            if sentence and (title == "do" or sentence != remedy.todo):
                yield f"  {title}{f' {word}' if word else ''}: {sentence}"


def _check_number(number: CountStatus) -> Iterator[Finding]:
    """Report devices that are missing, and more devices than were expected."""
    if number.expected is None or number.present is None:
        return
    word = number.word or GPU
    if number.problem:
        yield mend(
            f"{word}s are missing: {number.problem} (expected by: {number.decided_by})",
            f"{_look_for(word)}; if they were taken out on purpose: {_accepting(number)}",
        )
    elif number.present > number.expected:
        more = f"there are {number.present} {word}s, and {number.expected} are expected by {number.decided_by}"
        yield hint(more)


def _look_for(word: str) -> str:
    """Return where to look for devices that are missing."""
    if word != GPU:
        return f"see `lspci`, whether the machine sees every {word}, and `dmesg` for PCIe errors"
    return "see `lspci -d 10de:`, whether the machine sees them, and `dmesg` for NVRM and for PCIe errors"


def _accepting(number: CountStatus) -> str:
    """Return how the number becomes the expected one. The gateway accepts no number before it has seen any device."""
    if number.decided_by != BY_MEMORY:
        return "set the right number there"
    if number.present:
        return "`plugin-gateway health accept`"
    return f"end the gateway, delete {number.kept_in}, and start it again"


def _check_configuration(status: Status, gateway: str) -> Iterator[Finding]:
    file = status.configuration_file
    if status.configuration_problem:
        yield mend(
            f"{gateway} refused its configuration file and goes on with an older one: {status.configuration_problem}",
            "mend the file, then plugin-gateway reload",
        )
    elif file is not None and file.changed:
        yield hint(
            f"the configuration file {file.path} was changed after {gateway} read it",
            "plugin-gateway reload; with --watch-config the gateway reads it by itself",
        )


def _check_label(status: Status) -> Iterator[Finding]:
    if status.label_problem:
        yield mend(
            f"the label of the node that chooses the configuration cannot be read: {status.label_problem}",
            "allow the service account get and watch of nodes, or name the file with --config-name",
        )


def _check_driver(driver: DriverStatus, gateway: str, otherwise: str) -> Iterator[Finding]:
    """Report what is wrong with a driver. ``otherwise`` says what to do where the gateway does not know it."""
    if driver.released is not None:
        yield hint(
            driver.problem or "an operator has released the driver", "plugin-gateway driver take takes it again at once"
        )
    elif driver.problem:
        yield mend(f"{gateway} waits for the driver: {driver.problem}", driver.todo or otherwise)
    if driver.events_problem:
        yield mend(f"the driver's events cannot be waited for: {driver.events_problem}", otherwise)
    if driver.kernel_log is not None:
        yield check_kernel_log(driver.kernel_log.problem)


def check_kernel_log(problem: str | None) -> Finding:
    """Report whether the kernel's log can be read."""
    if problem is None:
        return well("the kernel's log can be read")
    return mend(f"the kernel's log cannot be read: {problem}", _KERNEL_LOG_TODO)


def check_resource(resource: OfferedResource) -> Finding:
    """Report whether a resource is registered, and if not, why."""
    name = resource.name
    if resource.stream_opened is not None:
        return well(f"{name} is registered as {resource.api_version}")
    if resource.stands_by:
        return hint(f"{name}: another gateway of this node has it, this one stands by")
    last = resource.problem
    if last is None and resource.is_asked_for:
        return hint(
            f"{name} is not registered yet: the kubelet was asked, and has opened no stream", "look again in 30 s"
        )
    if last is None:
        return mend(f"{name} is not registered: the gateway waits for a kubelet", "see the first lines")
    words = f": {last.words}" if last.words else ""
    cure = next((cure for failure, cure in CURES.items() if failure.value == last.cause), None)
    return mend(f"{name} is not registered: {last.cause}{words}", cure or "see the kubelet's log for its side")
