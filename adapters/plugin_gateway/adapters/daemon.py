"""`plugin-gateway run`: the gateway as a process that is told what to do by its settings and by signals."""

import asyncio
import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from enum import Enum

from plugin_gateway.adapters.configuration.settings import Settings
from plugin_gateway.adapters.device_nodes import DeviceNodes
from plugin_gateway.adapters.dialect import Dialect
from plugin_gateway.adapters.gateway import Gateway, Offering
from plugin_gateway.adapters.kubelet_directory import KubeletDirectory, check_directory
from plugin_gateway.adapters.logs import LogFormat, log, set_up_logs
from plugin_gateway.adapters.mailbox import Mailbox
from plugin_gateway.adapters.process import run_gateway
from plugin_gateway.adapters.registrar import Registrar
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.policy import AllocationPolicy
from plugin_gateway.core.ports import Backend


class Daemon:
    """One process: settings, a backend, and the gateway between it and the kubelet."""

    def __init__(
        self,
        *,
        settings: Settings,
        read_settings: Callable[[], Settings],
        mailbox: Mailbox,
        backend: Backend,
        make_backend: Callable[[str, str], Backend],
        dialects: Sequence[Dialect],
        api_versions: Mapping[str, Sequence[str]],
    ) -> None:
        check_directory(settings.kubelet_dir)
        self._settings = settings
        self._read_settings = read_settings
        self._mailbox = mailbox
        self._backend = backend
        self._make_backend = make_backend
        self._dialects = dialects
        self._api_versions = api_versions
        self._registrar = Registrar(
            directory=KubeletDirectory(settings.kubelet_dir), dialects=dialects, allowed=self._allowed(settings)
        )
        self._gateway = Gateway(
            mailbox=mailbox,
            registrar=self._registrar,
            offering=_offering(settings),
            silent_for=self._silent_for,
        )

    def run(self) -> int:
        """Run until a signal ends it; returns the exit status."""
        log.info("started", **_told(self._settings))
        try:
            return run_gateway(self._gateway, self._reload, self._finish_start)
        finally:
            self._set_up_logs()
            self._backend.stop()

    def _silent_for(self) -> float:
        return self._backend.silent_for()

    def _finish_start(self) -> None:
        """Do what nobody has to wait for."""
        self._set_up_logs()
        gc.freeze()
        gc.enable()

    def _set_up_logs(self) -> None:
        set_up_logs(self._settings.log_level, LogFormat(self._settings.log_format))

    async def _reload(self) -> None:
        """Read the settings again and apply what changed; settings that are wrong change nothing."""
        try:
            settings = await asyncio.to_thread(self._read_settings)
        except InvalidValueError as error:
            log.error("configuration refused, the old one stays", problem=str(error))
            return
        before, self._settings = self._settings, settings
        if settings == before:
            log.info("configuration read again, nothing changed")
            return
        self._set_up_logs()
        log.info("configuration changed", changed=_changed(before, settings))
        if settings.container_driver_root != before.container_driver_root:
            self._replace_backend(settings)
        self._registrar.allow(self._allowed(settings))
        self._gateway.apply(_offering(settings))

    def _replace_backend(self, settings: Settings) -> None:
        """Look for the driver elsewhere, as soon as the one before lets its thread go: only one thread may ask it."""
        log.info("looking for the driver below another root", driver_root=settings.container_driver_root)
        before = self._backend
        before.stop()
        self._backend = self._make_backend(settings.backend, settings.container_driver_root)
        self._backend.start(self._mailbox.put, after=before.join)

    def _allowed(self, settings: Settings) -> list[Dialect]:
        versions = self._api_versions[settings.api_version]
        return [dialect for dialect in self._dialects if dialect.version in versions]


def _offering(settings: Settings) -> Offering:
    return Offering(
        rules=settings.resources,
        policy=AllocationPolicy(
            pass_device_specs=settings.pass_device_specs,
            device_id_strategy=settings.device_id_strategy,
            dev_root=settings.dev_root,
        ),
        nodes=DeviceNodes(settings.visible_dev_root),
        fail_on_init_error=settings.fail_on_init_error,
        unhealthy_first=settings.unhealthy_first,
    )


def _changed(before: Settings, after: Settings) -> list[str]:
    """Tell each decision that is another one now."""
    names = [field.name for field in fields(Settings) if field.compare]
    told = {name: (_as_told(getattr(before, name)), _as_told(getattr(after, name))) for name in names}
    return [f"{name}: {old} -> {new}" for name, (old, new) in told.items() if old != new]


def _as_told(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(f"{rule.pattern}={rule.name}" for rule in value)
    return str(value.value if isinstance(value, Enum) else value)


def _told(settings: Settings) -> dict[str, object]:
    """What is in force, as log fields; only what somebody decided."""
    return {
        "kubelet_dir": str(settings.kubelet_dir),
        "backend": settings.backend,
        "api_version": settings.api_version,
        "resources": [f"{rule.pattern}={rule.name}" for rule in settings.resources],
        "decided_by": {name: source for name, source in settings.sources.items() if source != "default"} or None,
    }
