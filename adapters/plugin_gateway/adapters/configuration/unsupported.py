"""Settings of NVIDIA's plugin that this one does not support. They are errors, unless their value asks for nothing.

If they were ignored, an administrator who replaces NVIDIA's plugin in a DaemonSet would lose a feature and not learn of
it.
"""

from collections.abc import Mapping
from typing import NamedTuple

from plugin_gateway.adapters.configuration.option import GivenFlag
from plugin_gateway.core.errors import InvalidValueError


class Unsupported(NamedTuple):
    """One setting of NVIDIA's plugin, with the names that it has there."""

    file_key: str | None = None
    flag: str | None = None
    variable: str | None = None
    neutral: tuple[str, ...] = ()
    """Values that ask for nothing, in lower case. They are accepted."""
    why: str = ""
    """Why it is refused, for people."""


class UnsupportedSettingError(InvalidValueError):
    """A setting asks for something that NVIDIA's plugin does, and this one does not."""


NOT_SUPPORTED = "is not supported by plugin-gateway"
CDI_FEATURES = (
    "disable-nvsandboxutils",
    "disable-multiple-csv-devices",
    "no-additional-gids-for-device-nodes",
)
"""What CDI specs of this gateway never have."""

UNSUPPORTED = (
    Unsupported(
        "flags.deviceDiscoveryStrategy",
        "--device-discovery-strategy",
        "DEVICE_DISCOVERY_STRATEGY",
        ("auto", "nvml"),
        why="GPUs are found through NVML",
    ),
    Unsupported(flag="--cdi-feature-flags", variable="CDI_FEATURE_FLAGS", neutral=CDI_FEATURES),
)
UNSUPPORTED_KEYS = {row.file_key: row for row in UNSUPPORTED if row.file_key}
UNSUPPORTED_FLAGS = {row.flag: row for row in UNSUPPORTED if row.flag}


def refuse_unsupported(flags: Mapping[str, GivenFlag], environment: Mapping[str, str]) -> None:
    """Refuse unsupported flags and environment variables. ``flags`` has them by their own name.

    Raises:
        InvalidValueError: one of them asks for something.
    """
    for row in UNSUPPORTED:
        if row.flag and row.flag in flags:
            for given in flags[row.flag].all():
                refuse(row, row.flag, given.text)
        if row.variable and environment.get(row.variable):
            refuse(row, f"environment variable {row.variable}", environment[row.variable])


def refuse(row: Unsupported, culprit: str, text: str) -> None:
    """Refuse one value, or each value of a list with commas, unless it asks for nothing.

    Raises:
        UnsupportedSettingError: the message names the culprit, the value and what is allowed.
    """
    if not all(word.strip().lower() in row.neutral for word in text.split(",")):
        raise UnsupportedSettingError(f"{culprit}: {text[:80]!r} {NOT_SUPPORTED}{only(row)}")


def only(row: Unsupported) -> str:
    """Return the end of the error message: what is allowed instead."""
    allowed = " or ".join(row.neutral)
    instead = f"; expected {allowed}" if allowed else "; take it out"
    return f"{instead}: {row.why}" if row.why else instead
