"""The process of `plugin-gateway run`: makes the gateway and what runs beside it, and applies a new configuration."""

import asyncio
import gc
import os
import socket
import sys
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from importlib import import_module
from typing import TYPE_CHECKING

from plugin_gateway.adapters.commands.run.backend_set import BackendSet
from plugin_gateway.adapters.commands.run.backends import RunningBackend, record
from plugin_gateway.adapters.commands.run.cluster_side import ClusterSide
from plugin_gateway.adapters.commands.run.pods import Pods
from plugin_gateway.adapters.commands.run.process import ServiceManager, run_process, start_is_over
from plugin_gateway.adapters.commands.run.reloading import Reloading
from plugin_gateway.adapters.commands.run.serving_policy import expected_number, serving_policy
from plugin_gateway.adapters.commands.run.settings_in_words import decided_words, log_remarks
from plugin_gateway.adapters.configuration.settings import Settings
from plugin_gateway.adapters.dialects import dialects_for, load_dialects
from plugin_gateway.adapters.gateway.gateway import Gateway
from plugin_gateway.adapters.kubelet.directory import KubeletDirectory, check_directory
from plugin_gateway.adapters.registration.registrar import Registrar
from plugin_gateway.adapters.support.about import installed_version
from plugin_gateway.adapters.support.logs import LogFormat, log, set_up_logs
from plugin_gateway.core.health.changes import Changes
from plugin_gateway.core.health.memory import Memory
from plugin_gateway.core.health.state import State
from plugin_gateway.core.ports import Backend

if TYPE_CHECKING:
    from plugin_gateway.adapters.commands.command_line import Parts
    from plugin_gateway.adapters.commands.run.cdi_writer import CdiWriter
    from plugin_gateway.adapters.commands.run.command import StartedBackend
    from plugin_gateway.adapters.commands.run.node_configuration import NodeConfiguration
    from plugin_gateway.adapters.configuration.chosen_backends import ChosenBackend
    from plugin_gateway.adapters.control.handover import Successors
    from plugin_gateway.adapters.control.operator_commands import OperatorCommands
    from plugin_gateway.adapters.gateway.device_counter import DeviceCounter
    from plugin_gateway.adapters.gateway.health_document import WrittenBy
    from plugin_gateway.adapters.gateway.status import ProcessStatus
    from plugin_gateway.core.health.remedies import Remedies

HOLDS_SEVERAL = (1, 37)
"""The first release of the kubelet that holds several endpoints of one resource, each with its own path."""
_GATEWAY = "plugin_gateway.adapters.gateway"
_CHOICE = "plugin_gateway.core.resources.choice"
_CONTROL = "plugin_gateway.adapters.control.control_socket"
_COMMANDS = (
    f"{_GATEWAY}.device_counter",
    "plugin_gateway.adapters.control.operator_commands",
    "plugin_gateway.adapters.commands.run.process_status",
)
"""The modules that `Daemon._commands` uses."""


class Daemon:
    """One process: settings, backend, gateway, control socket, HTTP listener, reports and recording."""

    def __init__(
        self,
        *,
        settings: Settings,
        read_settings: Callable[[], Settings],
        started: "Sequence[StartedBackend]",
        parts: "Parts",
        node: "NodeConfiguration | None" = None,
        begin_cards: Callable[[], None] = lambda: None,
    ) -> None:
        """``begin_cards`` lets the threads of network cards begin, which wait for it."""
        check_directory(settings.kubelet_dir)
        self._listener = _listen(settings) if settings.listen.port else None
        self._parts = parts
        self._registrar = Registrar(
            directory=KubeletDirectory(settings.kubelet_dir, registers=settings.registers),
            dialects=load_dialects(),
            allowed=dialects_for(settings.api_version),
        )
        self._backends = BackendSet(started, settings, self._start_cards, self._running)
        self._turn_of_cards = self._backends.turn_of_cards(self._registrar.has_sent, begin_cards)
        self._gateway = Gateway(
            backends=[each.watched for each in self._backends],
            registrar=self._registrar,
            serving_policy=serving_policy(settings, self._backends.look_again),
        )
        self._reloading = Reloading(settings, read_settings, self._gateway, self._apply, self._prepare, node)
        self._node = node
        self._cdi: CdiWriter | None = None
        self._needs_specs = asyncio.Event()
        self._follow_specs(settings)
        self._pods = Pods(self._gateway, settings, self._may_write, self._read_again)
        self._registrar.before_register = self._pods.before_register
        self._successors: Successors | None = None
        self._leads = False
        """Whether this gateway was the one that writes at the last question, of those with one state directory."""
        self._counter: DeviceCounter | None = None
        self._cluster = ClusterSide(
            settings,
            self._backends,
            parts,
            lambda: self._settings,
            self._remedies,
            self._may_write,
            self._is_alone,
        )
        self._service_manager = ServiceManager(os.environ.get("NOTIFY_SOCKET"))
        self._importing = asyncio.Lock()
        self._needs_daemons = asyncio.Event()
        # Last, so that a start that fails leaves no file behind.
        self._recorder = record(settings, self._backends) if settings.record else None

    def _running(self, started: "StartedBackend", settings: Settings, is_first: bool) -> RunningBackend:  # noqa: FBT001 - called by the set of backends alone
        return RunningBackend(
            started,
            settings,
            make=self._new_cards if started.chosen.has_cards else self._new_backend,
            written_by=self._written_by,
            may_write=self._may_write,
            keep=self._keep,
            is_first=is_first,
        )

    @property
    def _settings(self) -> Settings:
        return self._reloading.settings

    def run(self) -> int:
        """Run until a signal or an error ends the process, and return the exit status."""
        log.info("started", version=installed_version, **decided_words(self._settings))
        log_remarks(self._settings)
        return run_process(
            self._work, self._reloading.reload_logged, self._turn_of_cards.is_over, self._finish_start, self._let_go
        )

    def _let_go(self) -> None:
        self._set_up_logs()
        self._backends.stop(self._turn_of_cards)
        if self._recorder is not None:
            self._recorder.close()

    async def _work(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._offer_devices(), name="gateway")
            # Before the first fault, which could be lost otherwise, and the first question what is preferred.
            tasks.create_task(
                self._import_later(f"{_GATEWAY}.state_file", f"{_GATEWAY}.health_document", _CHOICE), name="import"
            )
            tasks.create_task(self._count_devices(), name="number of devices")
            tasks.create_task(self._serve_operators(), name="operators")
            tasks.create_task(self._await_other_gateways(), name="other gateways")
            tasks.create_task(self._pods.look(self._import_later), name="holders of devices")
            tasks.create_task(self._watch_for_conflicts(), name="conflicts with other plugins")
            tasks.create_task(self._watch_daemons(), name="daemons that share devices")
            if self._listener is not None:
                tasks.create_task(self._serve_http(self._listener), name="HTTP")
            if self._node is not None:
                tasks.create_task(self._follow_node(self._node), name="configuration of the node")
            elif self._settings.watch_config and self._settings.config_file is not None:
                tasks.create_task(self._watch_file(), name="configuration file")
            self._cluster.begin(tasks, self._import_later, self._reloading.tell_to)

    async def _offer_devices(self) -> None:
        """Run the gateway, and tell who stands by for it when its streams have ended and its memory is in the file."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._write_specs(), name="CDI specs")  # before the first list
                tasks.create_task(self._gateway.run(), name="gateway")
                tasks.create_task(self._backends.run(self._turn_of_cards), name="memory of health")
                tasks.create_task(self._pods.keep_parts(), name="memory of parts")
        finally:
            if self._successors is not None:
                self._successors.leave()

    async def _import_later(self, *modules: str) -> None:
        """Import modules in a thread, when the first registration is under way. One thread does it for all tasks."""
        await start_is_over(self._turn_of_cards.is_over)
        async with self._importing:
            for module in modules:
                await asyncio.to_thread(import_module, module)

    def _written_by(self, memory: Memory) -> "WrittenBy":
        """Return the header of the file with the faults; called in the thread that writes it."""
        from plugin_gateway.adapters.gateway.health_document import WrittenBy  # noqa: PLC0415 - only needed to write
        from plugin_gateway.adapters.support.about import about  # noqa: PLC0415 - only needed to write

        driver = memory.driver.version if memory.driver is not None else None
        return WrittenBy(*about(self._settings.node_name), driver, self._registrar.kubelet_agent())

    def _keep(self, backend: RunningBackend, state: State, changes: Changes) -> None:
        """Pass a new state on to the reports, and to the counter if it is of the first backend; say when all settle."""
        self._pods.keep(backend.name, state)
        if self._counter is not None and backend is self._backends.first:
            self._counter.keep(state)
        self._cluster.keep(state, changes, backend.name)
        if all(each.watched.state.is_settled for each in self._backends):
            self._service_manager.say_ready()

    async def _count_devices(self) -> None:
        # What writes asks the control socket.
        await self._import_later(f"{_GATEWAY}.device_counter", f"{_GATEWAY}.known_devices", _CONTROL)
        counter = self._device_counter()
        counter.keep(self._gateway.state)
        await counter.run()

    def _device_counter(self) -> "DeviceCounter":
        """Return the counter of devices. It is made when it is used first, after the start."""
        if self._counter is None:
            from plugin_gateway.adapters.gateway.device_counter import DeviceCounter  # noqa: PLC0415 - after the start

            settings, word = self._settings, self._backends.first.device_word
            self._counter = DeviceCounter(
                settings.state_dir, word, expected_number(settings), self._cluster.tell_missing, self._may_write
            )
        return self._counter

    def _may_write(self) -> bool:
        """Whether this gateway writes the files of the state directory. One that stands by does if they are its own."""
        led, self._leads = self._leads, self._registrar.leads() or self._is_alone()
        if self._leads and not led:
            self._read_again()  # what the other one wrote last must not be overwritten
        return self._leads

    def _is_alone(self) -> bool:
        from plugin_gateway.adapters.control.control_socket import is_shared  # noqa: PLC0415 - only with two gateways

        return not is_shared(self._settings.state_dir, self._registrar.instance)

    def _read_again(self) -> None:
        """Take over what a gateway that served the kubelet until now knew of the devices."""
        for each in self._backends:
            each.read_again()

    async def _serve_operators(self) -> None:
        """Serve the control socket. It is imported after the first registration, because no operator is that fast."""
        await self._import_later(_CONTROL, *_COMMANDS)
        from plugin_gateway.adapters.control.control_socket import ControlServer  # noqa: PLC0415 - see above

        await ControlServer(self._settings.state_dir, self._registrar.instance, self._commands.answer).run()

    async def _await_other_gateways(self) -> None:
        handover = self._registrar.handover
        await handover.has_others.wait()
        from plugin_gateway.adapters.control.handover import OtherGateways  # noqa: PLC0415 - only with two gateways

        can_share = tuple(self._settings.kubelet_version or ()) >= HOLDS_SEVERAL
        registered, folder = self._pods.registered, self._settings.state_dir
        ready = self._until_ready
        await OtherGateways(folder, handover, can_share=can_share, registered=registered, until_ready=ready).run()

    async def _watch_for_conflicts(self) -> None:
        await self._import_later("plugin_gateway.adapters.gateway.conflict_watch")
        from plugin_gateway.adapters.gateway.conflict_watch import ConflictWatch  # noqa: PLC0415 - see above

        await ConflictWatch(self._settings.kubelet_dir, self._gateway).run()

    async def _watch_daemons(self) -> None:
        if not self._settings.needs_daemons:
            await self._needs_daemons.wait()
        await self._import_later(f"{_GATEWAY}.daemon_watch")
        from plugin_gateway.adapters.configuration.nvidias_defaults import visible_daemon_root  # noqa: PLC0415 - only where asked for
        from plugin_gateway.adapters.gateway.daemon_watch import watch_daemons  # noqa: PLC0415 - the same

        def root() -> str:
            return visible_daemon_root(self._settings.daemon_root, sys.argv[0])

        puts = {each.name: each.put for each in self._backends}  # those with network cards have no daemons
        await watch_daemons(self._gateway, root, lambda name, seen: puts[name](seen))

    def _cdi_for(self, settings: Settings) -> "CdiWriter | None":
        """Return what writes CDI specs. None if no settings have asked for any yet."""
        if self._cdi is None and settings.needs_specs:
            from plugin_gateway.adapters.commands.run.cdi_writer import CdiWriter  # noqa: PLC0415 - only where asked for

            self._cdi = CdiWriter(self._gateway, self._backends, settings)
            self._needs_specs.set()
        return self._cdi

    def _follow_specs(self, settings: Settings) -> None:
        """Have CDI specs written while the settings ask for them."""
        if (cdi := self._cdi_for(settings)) is not None:
            cdi.follow(settings)

    async def _prepare(self, settings: Settings) -> None:
        if (cdi := self._cdi_for(settings)) is not None:
            await cdi.prepare(settings)
        await self._backends.prepare(settings, lambda each: self._parts.make_cards(each.text, settings, False))  # noqa: FBT003 - a callable has no names

    async def _until_ready(self) -> None:
        """Wait until it is known which devices can be given out."""
        if self._cdi is not None:
            await self._cdi.until_ready()

    async def _write_specs(self) -> None:
        await self._needs_specs.wait()
        if self._cdi is not None:
            await self._cdi.run()

    async def _serve_http(self, listener: socket.socket) -> None:
        await self._import_later("plugin_gateway.adapters.monitoring.pages", *_COMMANDS)
        from plugin_gateway.adapters.monitoring.http_listener import serve  # noqa: PLC0415 - only where asked for
        from plugin_gateway.adapters.monitoring.pages import make_pages  # noqa: PLC0415 - see above

        pages = make_pages(
            self._gateway,
            self._commands.status,
            self._backends.is_watching,
            remedies=await asyncio.to_thread(self._remedies),  # it imports what they are about
        )
        await serve(listener, pages)

    @cached_property
    def _commands(self) -> "OperatorCommands":
        from plugin_gateway.adapters.control.handover import Successors  # noqa: PLC0415 - after the start
        from plugin_gateway.adapters.control.operator_commands import OperatorCommands  # noqa: PLC0415 - after the start

        counter, self._successors = self._device_counter(), Successors(self._registrar.handover)
        drivers = self._backends.drivers
        return OperatorCommands(
            self._gateway, counter, self._status, self._reloading.for_operator, drivers, self._successors
        )

    def _status(self) -> "ProcessStatus":
        from plugin_gateway.adapters.commands.run.process_status import process_status  # noqa: PLC0415 - after the start

        return process_status(self._reloading, self._registrar.instance, self._cluster.labels())

    def _finish_start(self) -> None:
        """Do what the first registration does not need. Objects that exist now are not collected any more."""
        self._set_up_logs()
        gc.freeze()
        gc.enable()

    def _set_up_logs(self) -> None:
        set_up_logs(self._settings.log_level, LogFormat(self._settings.log_format))

    async def _follow_node(self, node: "NodeConfiguration") -> None:
        await self._import_later(_CONTROL)  # what writes asks it
        await node.run(self._reloading, self._may_write)

    async def _watch_file(self) -> None:
        await self._import_later("plugin_gateway.adapters.commands.run.config_watch")
        from plugin_gateway.adapters.commands.run.config_watch import watch_file  # noqa: PLC0415 - see above

        await watch_file(self._reloading.find, lambda: self._reloading.tried, self._reloading.reload_logged)

    def _apply(self, before: Settings, settings: Settings) -> None:
        if self._recorder is not None:
            self._recorder.note_configured(settings)
        if settings.container_driver_root != before.container_driver_root:
            log.info("looking for the driver below another root", driver_root=settings.container_driver_root)
        self._registrar.allow(dialects_for(settings.api_version))
        for name in self._backends.exchange(settings, self._gateway):
            self._cluster.forget(name)
        is_recut = settings.mig_strategy != before.mig_strategy
        policy = serving_policy(settings, self._backends.look_again)
        offer = partial(self._gateway.apply, policy, is_recut=is_recut)
        apply = self._backends.following(before, settings, offer)
        self._follow_specs(settings)
        apply()
        self._cluster.follow(before, settings)
        if settings.needs_daemons:
            self._needs_daemons.set()
        if self._counter is not None:
            self._counter.expect(expected_number(settings))

    def _new_backend(self, text: str) -> Backend:
        return self._parts.make_backend(text, self._settings, True)  # noqa: FBT003 - a callable has no names

    def _new_cards(self, text: str) -> Backend:
        return self._parts.make_cards(text, self._settings, True)  # noqa: FBT003 - a callable has no names

    def _start_cards(self, chosen: "ChosenBackend", settings: Settings) -> "StartedBackend":
        from plugin_gateway.adapters.commands.run.command import start_cards  # noqa: PLC0415 - it imports this module

        return start_cards(chosen, settings, self._parts)

    def _remedies(self) -> "Remedies":
        """Return what the vendors of the devices say. It imports them."""
        return self._backends.remedies(self._parts.remedies)


def _listen(settings: Settings) -> socket.socket:
    from plugin_gateway.adapters.commands.run.http_address import open_address  # noqa: PLC0415 - only where asked for

    return open_address(settings.listen)
