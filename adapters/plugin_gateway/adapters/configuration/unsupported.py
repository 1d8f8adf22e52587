"""Settings of NVIDIA's plugin that this one does not support. They are errors, unless their value asks for nothing.

If they were ignored, an administrator who replaces NVIDIA's plugin in a DaemonSet would lose a feature and not learn of
it.
"""

from collections.abc import Mapping
from typing import NamedTuple

from plugin_gateway.adapters.configuration.option import GivenFlag
from plugin_gateway.adapters.configuration.options import DEFAULT_KUBELET_DIR
from plugin_gateway.core.errors import InvalidValueError


class Unsupported(NamedTuple):
    """One setting of NVIDIA's plugin, with the names that it has there."""

    file_key: str | None = None
    flag: str | None = None
    variable: str | None = None
    neutral: tuple[str, ...] = ()
    """Values that ask for nothing, in lower case. They are accepted."""
    silent: tuple[str, ...] = ("",)
    """Values in the file that say nothing. They are accepted, too. The empty one stands for null."""


NOT_SUPPORTED = "is not supported by plugin-gateway"
_OFF = ("false",)
_NO_KEYS = ("", "{}")
_CDI_FEATURES = (
    "disable-nvsandboxutils",
    "disable-multiple-csv-devices",
    "no-additional-gids-for-device-nodes",
)
"""What CDI specs of this gateway never have."""

UNSUPPORTED = (
    Unsupported("flags.useNodeFeatureAPI", neutral=_OFF),
    Unsupported(
        "flags.deviceDiscoveryStrategy", "--device-discovery-strategy", "DEVICE_DISCOVERY_STRATEGY", ("auto", "nvml")
    ),
    Unsupported("flags.gfd", silent=_NO_KEYS),
    Unsupported(flag="--cdi-feature-flags", variable="CDI_FEATURE_FLAGS", neutral=_CDI_FEATURES),
    Unsupported(
        flag="--kubelet-socket",
        variable="KUBELET_SOCKET",
        neutral=(f"{DEFAULT_KUBELET_DIR}/kubelet.sock",),
    ),
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
        InvalidValueError: the message names the culprit, the value and what is allowed.
    """
    if not all(word.strip().lower() in row.neutral for word in text.split(",")):
        raise InvalidValueError(f"{culprit}: {text[:80]!r} {NOT_SUPPORTED}{only(row)}")


def only(row: Unsupported) -> str:
    """Return the end of the error message: what is allowed instead."""
    allowed = " or ".join(row.neutral)
    return f", allowed is {allowed}" if allowed else "; take it out"
