"""Watches the configuration file for `--watch-config`.

The file is looked at once a second. This also sees a ConfigMap, which the kubelet replaces by another folder behind two
links, and needs none of the inotify instances, which are few on a node.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from plugin_gateway.adapters.configuration.file_version import FileVersion, find_version

LOOK_INTERVAL = 1.0
"""Seconds between two looks at the file."""


async def watch_file(
    path: Path, tried: Callable[[], FileVersion | None], reload: Callable[[], Awaitable[object]]
) -> None:
    """Call ``reload`` after each change of the file, until cancelled.

    ``tried`` returns the version that was read last, or that could not be read. A change counts when the file stays the
    same for one more look, because an editor may still be writing.
    """
    before = tried()
    while True:
        await asyncio.sleep(LOOK_INTERVAL)
        found = find_version(path)
        if found != tried() and found == before:
            await reload()
        before = found
