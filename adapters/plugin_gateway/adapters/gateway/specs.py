"""Keeps the CDI specs of the offered devices true, and says which devices are in none.

A container runtime resolves the names that `Allocate` gives when the container starts. So a device is listed as healthy
only when the spec that has it is in its folder. Specs are written in a thread, because a file system can hang.

The backends find the files of their drivers, each in its own thread, after their first inventory. The resources are
registered meanwhile. Their first lists are kept back until the specs are written: a list without a healthy device
would fail the pods that a node starts with.

Of several gateways on a node only the one that serves the kubelet writes. One that stands by can have other settings,
and so other names. It makes its specs without writing them, and writes them before the first list that it sends.
"""

import asyncio
import contextlib
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from plugin_gateway.adapters.support.logs import log
from plugin_gateway.core.cdi import CdiSpec, DriverId, file_name, kind_of
from plugin_gateway.core.devices import MAX_NAMES, Device, DeviceId
from plugin_gateway.core.health.state import State
from plugin_gateway.core.resources.cdi_specs import (
    ANOTHER_DRIVER,
    LOOKING,
    Described,
    HostDevices,
    Lack,
    Source,
    describe,
    needed_nodes,
    nodes_of_extras,
)
from plugin_gateway.core.resources.daemons import Wait
from plugin_gateway.core.resources.policy import AllocationPolicy

if TYPE_CHECKING:
    from plugin_gateway.adapters.gateway.gateway import Gateway
    from plugin_gateway.adapters.gateway.observation_queue import FilesBox
    from plugin_gateway.adapters.gateway.spec_files import KnownKinds
    from plugin_gateway.adapters.serving.resource import ServedResource

LOOK_INTERVAL = 5.0
"""Seconds between two looks at device nodes and at the folder. Somebody may have removed or replaced a file."""
MAX_KEPT_BACK = 10.0
"""Seconds for which the list of a new resource waits for the specs of its devices."""
FOLDER_TODO = "see that --cdi-spec-dir is a folder of the host that the gateway may write"
_PENDING = (LOOKING, ANOTHER_DRIVER)


class SpecSettings(NamedTuple):
    """What an administrator decided about the specs."""

    policy: AllocationPolicy
    folder: Path
    """Where they are written."""
    dev_root: str
    """Below which folder this process sees the device nodes."""


class _Written(NamedTuple):
    """What a device in a written spec was described by."""

    nodes: tuple[str, ...]
    driver: DriverId


class _Outcome(NamedTuple):
    described: Described
    problems: Mapping[str, str]
    """Why the spec of a kind cannot be written."""
    foreign: Sequence[str]


class Specs:
    """The CDI specs of one gateway."""

    def __init__(self, settings: SpecSettings, boxes: "Mapping[str, FilesBox]") -> None:
        """``boxes`` have what containers need of the driver of each backend."""
        self.settings = settings
        self.is_wanted = True
        """Whether specs are written. So they are a moment before the gateway uses them, too."""
        self.is_ready = asyncio.Event()
        """Set while it is known of all devices whether they are in a spec."""
        self.foreign: Sequence[str] = ()
        """Files of other programs that have devices of the same kinds."""
        self.problem = ""
        """Why a spec cannot be written. Empty if each one was."""
        self._boxes = boxes
        self._shown: Mapping[DeviceId, _Written] = {}
        """The devices of all backends, as they were published last."""
        self._written: dict[DeviceId, _Written] = {}
        self._logged: Mapping[str, CdiSpec] = {}
        """The specs that were logged as written, by their kind."""
        self._lacking: Mapping[DeviceId, Lack] = {}
        self._since: dict[DeviceId, float] = {}
        self._told: Mapping[str, Sequence[DeviceId]] = {}
        """The devices that were logged as being in no spec, by the reason."""
        self._kinds: KnownKinds = {}
        """What the files of other programs were found to be."""
        self._changed = asyncio.Event()
        self._stands_by = False
        """Whether the specs of now were made and not written, because another gateway serves the kubelet."""
        self._is_due = False
        """Whether the next look has to write them, because this gateway is about to serve the kubelet."""
        self._tasks: asyncio.TaskGroup | None = None

    @property
    def way(self) -> str:
        """How the loader of a container finds the libraries, for people. Empty if it is not known."""
        found = (box.latest.way for box in self._boxes.values() if box.latest is not None)
        return "; ".join(dict.fromkeys(filter(None, found)))

    def follow(self, settings: SpecSettings) -> None:
        """Follow other settings. If other specs follow from them, everything is written anew."""
        before, self.settings = self.settings, settings if settings != self.settings else self.settings
        if _for_specs(before) != _for_specs(settings):
            self._written, self._lacking, self._logged = {}, {}, {}
            self.is_ready.clear()
        self._changed.set()

    def waits(self, states: Iterable[State], unneeded: Collection[DeviceId] = frozenset()) -> Mapping[DeviceId, Wait]:
        """Return the devices that are not given out because they are in no spec.

        ``states`` are those of the backends. ``unneeded`` are devices that need no spec, because their
        kubelet does not pass on their names.
        """
        found: dict[DeviceId, Wait] = {}
        now, is_ready, shown = time.time(), not self._is_due, dict[DeviceId, _Written]()
        for state in states:
            for device in state.devices:
                shown[device.id] = _Written(device.nodes, _driver_of(state))
                lack = self._lack_of(device, state) if device.id not in unneeded else None
                if lack is not None:
                    is_ready &= lack.reason not in _PENDING
                    since = self._since.setdefault(device.id, now)
                    found[device.id] = Wait(lack.reason, since, lack.todo)
        self._since = {device: since for device, since in self._since.items() if device in found}
        self._log_lacking(found)
        if is_ready:
            self.is_ready.set()
        else:
            self.is_ready.clear()
        if shown != self._shown:
            self._shown = shown
            self._changed.set()
        return found

    def _lack_of(self, device: Device, state: State) -> Lack | None:
        if state.inventory is None or not state.inventory.recipes[device.kind].cdi_kind:
            return None
        driver = _driver_of(state)
        written = self._written.get(device.id)
        if written == _Written(device.nodes, driver):
            return None
        known = self._lacking.get(device.id)
        if known is not None:
            return known
        return Lack(LOOKING if written is None or written.driver == driver else ANOTHER_DRIVER)

    def keep_back(self, served: "ServedResource") -> None:
        """Send no list of a new resource until it is known which of its devices are in a spec."""
        if self._tasks is not None and not self.is_ready.is_set():
            self._tasks.create_task(served.keep_back(MAX_KEPT_BACK, self.is_ready), name="list before specs")

    def take_over(self, served: "Iterable[ServedResource]") -> None:
        """Write the specs before the next list of these resources, if another gateway had its own there until now."""
        if self._stands_by:
            self._stands_by, self._is_due = False, True
            self.is_ready.clear()
            for each in served:
                self.keep_back(each)
            self._changed.set()

    async def run(self, gateway: "Gateway") -> None:
        """Write the specs whenever something changes, until cancelled."""
        loop = asyncio.get_running_loop()
        for box in self._boxes.values():
            box.attach(lambda: loop.call_soon_threadsafe(self._changed.set))
        try:
            async with asyncio.TaskGroup() as self._tasks:
                while True:
                    self._changed.clear()
                    if self.is_wanted:
                        await self._write(gateway)
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(LOOK_INTERVAL):
                            await self._changed.wait()
        finally:
            self._tasks = None
            for box in self._boxes.values():
                box.attach(None)

    async def _write(self, gateway: "Gateway") -> None:
        """Write what has changed, and publish which devices are in a spec now."""
        settings, was_due = self.settings, self._is_due
        writes = was_due or gateway.registrar.leads()
        sources = [
            Source(backend.state.inventory, self._boxes[backend.name].latest, _driver_of(backend.state))
            for backend in gateway.backends
            if backend.state.inventory is not None
        ]
        host = _host_of(sources, settings, gateway)
        outcome = await asyncio.to_thread(_describe_and_write, settings, sources, host, self._kinds, writes=writes)
        if settings is not self.settings:
            return
        described = outcome.described
        gateway.tell_extras(
            {word: name for word, name in described.extras.items() if not outcome.problems[kind_of(name)]}
        )
        self.problem = "; ".join(each for each in outcome.problems.values() if each)
        self._note_foreign(outcome.foreign)
        before = self._written
        self._written, lacking = _written_and_lacking(sources, settings, outcome)
        self._stands_by, self._is_due = not writes, self._is_due and not was_due
        if writes:
            self._log_written(settings, [spec for spec in described.specs if not outcome.problems[spec.kind]])
        if self._written != before or lacking != self._lacking or was_due:
            self._lacking = lacking
            gateway.publish()
        if gateway.specs is not self:
            self.waits([backend.state for backend in gateway.backends])

    def _log_written(self, settings: SpecSettings, specs: Sequence[CdiSpec]) -> None:
        """Log the specs that are written now, and are others than before."""
        before, self._logged = self._logged, {spec.kind: spec for spec in specs}
        for spec in (each for each in specs if before.get(each.kind) != each):
            log.info(
                "CDI spec written",
                file=str(settings.folder / file_name(spec.kind)),
                version=spec.version,
                count=len(spec.devices),
                way=self.way,
            )

    def _log_lacking(self, waits: Mapping[DeviceId, Wait]) -> None:
        """Log which devices are in no spec, and why, if that has changed. What only takes a moment is not logged."""
        by_reason: dict[str, list[DeviceId]] = {}
        for device, wait in waits.items():
            if wait.reason not in _PENDING:
                by_reason.setdefault(wait.reason, []).append(device)
        for reason, devices in by_reason.items():
            if self._told.get(reason) != devices:
                log.warning(
                    "devices are in no CDI spec, so they are not given out",
                    count=len(devices),
                    devices=devices[:MAX_NAMES],
                    problem=reason,
                    hint=waits[devices[0]].todo or None,
                )
        self._told = by_reason

    def _note_foreign(self, foreign: Sequence[str]) -> None:
        """Log the files of other programs, if they are others than before."""
        if foreign and foreign != self.foreign:
            log.warning(
                "other files have CDI devices of this kind; a device in two files of one folder resolves to nothing",
                files=list(foreign),
                hint="remove what another device plugin has left, and run only one",
            )
        self.foreign = foreign


def _host_of(sources: Sequence[Source], settings: SpecSettings, gateway: "Gateway") -> HostDevices:
    """Return which device nodes the host has, of those that can be in the specs. Their numbers are read later."""
    wanted = nodes_of_extras(sources, settings.policy)
    extras = {word: gateway.nodes.seen(patterns) for word, patterns in wanted.items()}
    paths = needed_nodes(sources)
    present = gateway.nodes.present(paths)
    known = [*(path for path in paths if path in present), *chain.from_iterable(extras.values())]
    return HostDevices(dict.fromkeys(known), gateway.nodes.is_visible(), extras)


def _written_and_lacking(
    sources: Sequence[Source], settings: SpecSettings, outcome: _Outcome
) -> tuple[dict[DeviceId, _Written], Mapping[DeviceId, Lack]]:
    """Return the devices that containers can get by a written spec, and why the others lack one."""
    described, written = outcome.described, dict[DeviceId, _Written]()
    lacking = dict(described.lacking)
    names = (described.extras.get(word) for word in settings.policy.required_extras)
    required = [outcome.problems[kind_of(name)] for name in names if name is not None]
    for source in sources:
        for device in source.inventory.devices:
            kind = described.kind_of.get(device.id)
            if kind is None:
                continue
            if problem := next(filter(None, (outcome.problems[kind], *required)), None):
                lacking[device.id] = Lack(problem, FOLDER_TODO)
            else:
                written[device.id] = _Written(device.nodes, source.driver)
    return written, lacking


def _describe_and_write(
    settings: SpecSettings, sources: Sequence[Source], host: HostDevices, kinds: "KnownKinds", *, writes: bool
) -> _Outcome:
    """Make the specs, and write them if ``writes``. It is called in a thread, and reads the device nodes first."""
    # In this thread, because nothing before the first registration needs it.
    from plugin_gateway.adapters.gateway.spec_files import foreign_files, host_nodes, write_spec  # noqa: PLC0415

    numbers = host_nodes(settings.dev_root, host.nodes)
    nodes = {path: numbers.get(path) for path in host.nodes}
    described = describe(sources, settings.policy, host._replace(nodes=nodes))
    problems = {spec.kind: write_spec(settings.folder, spec) if writes else "" for spec in described.specs}
    return _Outcome(described, problems, foreign_files(problems, settings.folder, known=kinds))


def _for_specs(settings: SpecSettings) -> SpecSettings:
    """Return the settings without what makes no difference to a spec: how a container is told the names in it."""
    usual, policy = AllocationPolicy(), settings.policy
    same = policy._replace(
        pass_device_specs=usual.pass_device_specs,
        daemon_root=usual.daemon_root,
        list_strategies=usual.list_strategies,
        annotation_prefix=usual.annotation_prefix,
    )
    return settings._replace(policy=same)


def _driver_of(state: State) -> DriverId:
    return (state.driver.version, state.driver.instance) if state.driver is not None else (None, None)
