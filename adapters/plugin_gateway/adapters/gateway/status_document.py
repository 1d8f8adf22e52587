"""The status as JSON. Its form follows from the types in `status`, see `typed_json`."""

from collections.abc import Mapping
from typing import Any

from plugin_gateway.adapters.gateway.status import VERSION, Status
from plugin_gateway.adapters.support import strict_json
from plugin_gateway.adapters.support.strict_json import MisfitError, shown
from plugin_gateway.adapters.support.typed_json import Readers, plain
from plugin_gateway.core.devices import FaultId
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.health.faults import Source, source_of
from plugin_gateway.core.resources.container_options import NAMES


def encode(part: object) -> Mapping[str, Any]:
    """Return the status, or a part of it that has fields, as values that JSON supports."""
    values: Mapping[str, Any] = plain(part)
    return values


def decode(value: object) -> Status:
    """Return the status that a gateway of any version sent.

    Raises:
        MisfitError: something is missing or wrong. The message begins with its place.
    """
    found = strict_json.names(value)
    try:
        status: Status = _READERS[Status]({**found, "version": VERSION})
    except InvalidValueError as error:
        raise MisfitError(f"{error}, which this version does not allow") from error
    except MisfitError as error:
        if (version := found.get("version", VERSION)) == VERSION:
            raise
        raise MisfitError(f"{error}; its form is version {shown(version)}, known is {VERSION}") from error
    return status


def _text(value: object) -> str:
    """Return a text of any length. A path that is no UTF-8 has half surrogate pairs."""
    if not isinstance(value, str):
        raise MisfitError(f"{shown(value)} is no text")
    return value


_READERS = Readers(
    {
        **dict.fromkeys((str, FaultId), _text),
        bool: strict_json.truth,
        int: strict_json.whole,
        float: strict_json.number,
        Source: lambda value: source_of(_text(value)),
    },
    NAMES,
)
