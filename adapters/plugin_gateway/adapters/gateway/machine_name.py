"""What the firmware of the machine says of its model."""

import os
from typing import NamedTuple

from plugin_gateway.adapters.support.unix_files import open_at_once

_MAX_LENGTH = 4096
"""Bytes that are read. A label has room for 63 characters."""


class MachineName(NamedTuple):
    """The model of the machine."""

    name: str | None
    """None if it cannot be read."""
    problem: str = ""
    """Why it cannot be read, for people."""


def read_machine_name(path: str) -> MachineName:
    """Return the model of the machine from a file such as /sys/class/dmi/id/product_name."""
    try:
        with open(path, "rb", opener=open_at_once) as file:
            data = file.read(_MAX_LENGTH) or b""  # None if it is a pipe in which nothing is yet
            name = data.decode(errors="replace").strip()
    except OSError as error:
        return MachineName(None, f"{path}: {error.strerror or os.strerror(error.errno or 0)}")
    return MachineName(name) if name else MachineName(None, f"{path} is empty")
