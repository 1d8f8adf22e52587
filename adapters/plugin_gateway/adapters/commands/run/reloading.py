"""Reads the settings of a running gateway again, and has what changed applied."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from plugin_gateway.adapters.commands.run.settings_in_words import differences, log_remarks
from plugin_gateway.adapters.configuration.file_version import find_version
from plugin_gateway.adapters.configuration.settings import Settings
from plugin_gateway.adapters.support.logs import LogFormat, log, set_up_logs
from plugin_gateway.core.errors import CannotCheckError, GatewayError, InvalidValueError

if TYPE_CHECKING:
    from plugin_gateway.adapters.commands.run.node_configuration import NodeConfiguration
    from plugin_gateway.adapters.gateway.gateway import Gateway


class Reloading:
    """The settings that are in force, and what came of reading them again."""

    def __init__(
        self,
        settings: Settings,
        read_settings: Callable[[], Settings],
        gateway: "Gateway",
        apply: Callable[[Settings, Settings], None],
        prepare: Callable[[Settings], Awaitable[None]],
        node: "NodeConfiguration | None" = None,
    ) -> None:
        """``apply`` is called with the settings before and those of now, which are in force already.

        ``prepare`` waits for what they need, while those of before are in force.
        ``node`` chooses the file, if there is a folder of files.
        """
        self.settings = settings
        self._gateway = gateway
        self._read_settings = read_settings
        self._apply = apply
        self._prepare = prepare
        self._node = node
        if node is not None and node.refused is None:
            node.accept(settings)
        self.problem = node.refused if node is not None else None
        """Why the configuration that was read last was refused. None if it was not."""
        self.refusals = int(self.problem is not None)
        """Number of times that a configuration was refused."""
        self.tried: object = settings.file_version if node is None else node.tried
        """The version of what was read last, also if it was refused for what is in it."""
        self._tell: Callable[[str | None], None] = lambda _problem: None
        self._lock = asyncio.Lock()

    @property
    def has_file(self) -> bool:
        """Whether there is something to read again."""
        return self.settings.config_file is not None or self._node is not None

    def find(self) -> object:
        """Return the version of what would be read now. None if there is nothing."""
        if self._node is not None:
            return self._node.find_version()
        return None if self.settings.config_file is None else find_version(self.settings.config_file)

    @property
    def is_outdated(self) -> bool:
        """Whether what would be read now is neither in force nor was tried."""
        known = {self.tried} if self._node is not None else {self.tried, self.settings.file_version}
        return self.find() not in known

    @property
    def label_problem(self) -> str | None:
        """Why the label of the node cannot be read that chooses the file. None if it can, or none does."""
        return self._node.label_problem if self._node is not None else None

    def tell_to(self, tell: Callable[[str | None], None]) -> None:
        """Call ``tell`` with the problem of now, and with the one after each reading."""
        self._tell = tell
        tell(self.problem)

    async def for_operator(self) -> Mapping[str, object]:
        """Return what `plugin-gateway reload` shows: what changed, or why nothing did.

        Raises:
            GatewayError: there is no file to read.
        """
        if not self.has_file:
            raise GatewayError("this gateway was started without --config-file and --config-dir")
        try:
            return {"changed": await self.reload(), "problems": []}
        except InvalidValueError as error:
            return {"changed": [], "problems": list(error.problems)}

    async def reload_logged(self) -> None:
        """Read the settings again. The log says what is wrong with them."""
        with contextlib.suppress(InvalidValueError):
            await self.reload()

    async def reload(self) -> list[str]:
        """Read the settings again, apply what changed, and return that as texts. Settings with an error change nothing.

        Raises:
            InvalidValueError: there is an error, which was logged.
        """
        from plugin_gateway.adapters.gateway.held_elsewhere import see_holders_before  # noqa: PLC0415 - not at the start

        async with self._lock:  # a signal, an operator and a change of the file can come together
            if self.has_file:
                self.tried = self.find()
            try:
                settings = await asyncio.to_thread(self._read_settings)
                await self._prepare(settings)
                is_recut = settings.mig_strategy != self.settings.mig_strategy
                await see_holders_before(
                    self._gateway,
                    settings.resources,
                    settings.kubelet_dir,
                    is_recut=is_recut,
                    backends=[each.name for each in settings.chosen],
                )
            except InvalidValueError as error:
                self._refuse(error)
                raise
            return self._accept(settings)

    def _refuse(self, error: InvalidValueError) -> None:
        if isinstance(error, CannotCheckError):
            self.tried = None  # so it is not the file that has to change before the next try
        if self.tried is not None or self.problem != str(error):
            self.refusals += 1
            log.error("configuration refused, the old one stays", problem=str(error))
        self.problem = str(error)
        self._tell(self.problem)

    def _accept(self, settings: Settings) -> list[str]:
        """Apply the settings, and return what changed."""
        self.problem = None
        self._tell(None)
        before, self.settings = self.settings, settings
        if self._node is not None:
            self._node.accept(settings)
        if (settings.remarks, settings.unlike_nvidia) != (before.remarks, before.unlike_nvidia):
            log_remarks(settings)
        if settings == before:
            log.info("configuration read again, nothing changed")
            return []
        changed = differences(before, settings)
        set_up_logs(settings.log_level, LogFormat(settings.log_format))
        log.info("configuration changed", changed=changed)
        self._apply(before, settings)
        return changed
