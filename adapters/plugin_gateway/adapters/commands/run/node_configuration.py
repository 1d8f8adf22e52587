"""The configuration of this node from a folder of files: chosen by ``--config-name`` or by the label of the node.

The label is kept in the state directory, and so is a copy of the last file that was in order. A start uses the label
that is kept, and reads it from the API server later. Without one it waits for the API server, and after 10 s takes the
default. Where the file is not there or not in order, a start uses the copy, and a running gateway keeps what it has.
"""

import asyncio
import contextlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from plugin_gateway.adapters.commands.flags import decide_all
from plugin_gateway.adapters.commands.run.config_watch import watch_file
from plugin_gateway.adapters.configuration.config_folder import (
    LABEL_FILE,
    Chosen,
    FolderVersion,
    choose_file,
    find_folder_version,
    kept_label,
)
from plugin_gateway.adapters.configuration.file_version import find_version
from plugin_gateway.adapters.configuration.option import GivenFlag
from plugin_gateway.adapters.configuration.options import Options
from plugin_gateway.adapters.configuration.reading import Decisions
from plugin_gateway.adapters.configuration.settings import Settings, make_settings
from plugin_gateway.adapters.support.logs import log
from plugin_gateway.adapters.support.problem import Problem
from plugin_gateway.adapters.support.tasks import to_its_end
from plugin_gateway.adapters.support.unix_files import open_at_once
from plugin_gateway.core.errors import CannotCheckError, InvalidValueError

if TYPE_CHECKING:
    from plugin_gateway.adapters.cluster.node_label import NodeLabel
    from plugin_gateway.adapters.commands.command_line import Parts
    from plugin_gateway.adapters.commands.run.reloading import Reloading

ASK_TIME = 10.0
"""Seconds for which a start without a kept label waits for the API server."""
LOOK_INTERVAL = 30.0
"""Seconds between two checks that what is kept is still there. Another gateway of the node may write it meanwhile."""
COPY = "last-good-configuration.yaml"
"""Name of the copy in the state directory."""
VERSION = 1
"""Version of the form of the file with the label."""
_NO_FILE = b"version: v1\n"
"""The copy where no file was chosen: all defaults hold."""


class NodeConfiguration:
    """Which file of the folder is in force on this node, and what is kept of that for the next start."""

    def __init__(self, folder: Path, options: Options) -> None:
        """``options`` has what flags and environment decide. `begin` and `decide` follow."""
        self._folder = folder
        self._options = options
        self._follower = _follower(options)
        self._label: str | None = None
        self._label_changed = asyncio.Event()
        self.refused: str | None = None
        """Why the start used the copy. None if it did not."""
        self.tried: FolderVersion | None = None
        """The version of the folder that the start has read."""
        self._good: bytes | None = None
        """The content of the last file that was in order. None before there was one."""
        self._unkept = asyncio.Event()
        self._problem = Problem(
            "a restart will not know the configuration of the node", "the configuration of the node is kept again"
        )

    @property
    def follows_label(self) -> bool:
        """Whether the label of the node decides."""
        return self._follower is not None

    @property
    def label_problem(self) -> str | None:
        """Why the label cannot be read. None if it can, or does not count."""
        return self._follower.problem if self._follower is not None else None

    def begin(self) -> None:
        """Find out what the label says. Waits for the API server, for a limited time, if nothing is kept."""
        if self._follower is None or self._options.config_file is not None:  # `decide` refuses both together
            return
        self._label = kept_label(self._options)
        if self._label is None and self._options.node_name:
            self._label = asyncio.run(self._follower.ask_within(ASK_TIME))
            if self._label is None:
                log.warning("the label of the node is not known, so the default holds", waited=ASK_TIME)

    def choose(self, folder: Path, options: Options) -> Chosen:
        """Return the file for this node.

        Raises:
            InvalidValueError: there is none.
        """
        return choose_file(folder, options, self._label)

    def _choose_copy(self, _folder: Path, _options: Options) -> Chosen:
        return Chosen(self._copy, "last good configuration")

    def decide(self, given: Mapping[str, GivenFlag], parts: "Parts") -> Decisions:
        """Return the decisions for the start, with the copy where the file is not there or not in order.

        Raises:
            InvalidValueError: something is not in order, and not with the copy either.
        """
        self.tried = self.find_version()
        try:
            return _in_order(decide_all(given, parts, self.choose))
        except InvalidValueError as error:
            try:
                decisions = _in_order(decide_all(given, parts, self._choose_copy))
            except InvalidValueError:
                raise error from None
            self.refused = str(error)
            if isinstance(error, CannotCheckError):
                self.tried = None
            log.error("configuration refused, the last good one holds", problem=self.refused)
            return decisions

    def find_version(self) -> FolderVersion | None:
        """Return the version of the folder now. None if it cannot be read."""
        return find_folder_version(self._folder)

    def accept(self, settings: Settings) -> None:
        """Take settings that are in force, to keep the content of their file, which may be another one soon."""
        content = self._content(settings)
        if content is not None:
            self._good = content
            self._unkept.set()

    async def run(self, reloading: "Reloading", may_write: Callable[[], bool]) -> None:
        """Follow the folder and the label until cancelled, and keep what was chosen.

        ``may_write`` says whether this is the gateway that writes, if several have one state directory.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(
                watch_file(reloading.find, lambda: reloading.tried, reloading.reload_logged), name="configuration files"
            )
            tasks.create_task(self._keep(may_write), name="memory of the configuration")
            if self._follower is not None:
                tasks.create_task(self._follower.follow(self._take), name="label of the node")
                tasks.create_task(self._reload(reloading), name="reload by label")

    def _take(self, value: str) -> None:
        if value != self._label:
            self._label = value
            self._label_changed.set()
            self._unkept.set()

    async def _reload(self, reloading: "Reloading") -> None:
        while True:
            await self._label_changed.wait()
            self._label_changed.clear()
            log.info("the label of the node is another one", label=self._options.config_label, value=self._label)
            await reloading.reload_logged()

    async def _keep(self, may_write: Callable[[], bool]) -> None:
        """Keep the label and the copy until cancelled, and once more at the end."""
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_INTERVAL):
                        await self._unkept.wait()
                self._unkept.clear()
                if may_write():
                    await to_its_end(asyncio.to_thread(self._write))
        finally:
            if may_write():
                self._write()

    def _write(self) -> None:
        """Write what is not there yet."""
        from plugin_gateway.adapters.gateway import state_file  # noqa: PLC0415 - after the start

        state_dir, value = self._options.state_dir, self._label
        try:
            if value is not None and value != kept_label(self._options):
                label = {"version": VERSION, "label": self._options.config_label, "value": value}
                state_file.write(state_dir / LABEL_FILE, label)
            if self._good is not None and self._good != _read(self._copy):
                state_file.replace(self._copy, self._good)
        except OSError as error:
            self._problem.log(f"{state_dir}: {error.strerror}")
        else:
            self._problem.log(None)

    def _content(self, settings: Settings) -> bytes | None:
        """Return the content of the file in force. None if the copy is in force, or the file is another one by now."""
        path = settings.config_file
        if path is None:
            return _NO_FILE
        content = _read(path) if path != self._copy else None
        return content if find_version(path) == settings.file_version else None

    @property
    def _copy(self) -> Path:
        return self._options.state_dir / COPY


def _follower(options: Options) -> "NodeLabel | None":
    if options.config_name:
        return None
    from plugin_gateway.adapters.cluster.kubernetes_api import KubernetesApi  # noqa: PLC0415 - only where asked for
    from plugin_gateway.adapters.cluster.node_label import NodeLabel, Target  # noqa: PLC0415 - the same

    return NodeLabel(Target(options.node_name, options.config_label), KubernetesApi(os.environ))


def _in_order(decisions: Decisions) -> Decisions:
    """Return the decisions if settings can be made of them.

    Raises:
        InvalidValueError: they cannot.
    """
    make_settings(decisions)
    return decisions


def _read(path: Path) -> bytes | None:
    try:
        with open(path, "rb", opener=open_at_once) as file:
            return file.read()
    except OSError:
        return None
