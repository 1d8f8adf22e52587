"""Watches the configuration file for `--watch-config`, and the folder of `--config-dir`.

It is looked at once a second. This also sees a ConfigMap, which the kubelet replaces by another folder behind two
links, and needs none of the inotify instances, which are few on a node.
"""

import asyncio
from collections.abc import Awaitable, Callable

LOOK_INTERVAL = 1.0
"""Seconds between two looks."""


async def watch_file(
    find: Callable[[], object], tried: Callable[[], object], reload: Callable[[], Awaitable[object]]
) -> None:
    """Call ``reload`` after each change of the file, until cancelled.

    ``find`` returns the version of now, and ``tried`` the one that was read last, or that could not be read. A change
    counts when it stays the same for one more look, because an editor may still be writing.
    """
    before = tried()
    while True:
        await asyncio.sleep(LOOK_INTERVAL)
        found = find()
        if found != tried() and found == before:
            await reload()
        before = found
