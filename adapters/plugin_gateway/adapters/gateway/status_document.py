"""The status as JSON. Its form follows from the types in `status`: each field is a key with the same name.

Reading is strict about what is there, and lenient about what is missing: an older gateway leaves out fields that have a
default, and a newer one may have fields that this version does not know.
"""

from collections.abc import Collection, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, NewType, get_args, get_origin, get_type_hints

from plugin_gateway.adapters.gateway.status import VERSION, Status
from plugin_gateway.adapters.support import strict_json
from plugin_gateway.adapters.support.strict_json import MisfitError, Read, shown
from plugin_gateway.core.health.faults import Source, source_of


def encode(part: object) -> Mapping[str, Any]:
    """Return the status, or a part of it that has fields, as values that JSON supports."""
    return {name: _plain(getattr(part, name)) for name in field_names(type(part))}


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if field_names(type(value)):
        return encode(value)
    if isinstance(value, frozenset):
        return sorted(value)
    return [_plain(each) for each in value] if isinstance(value, tuple) else value


def decode(value: object) -> Status:
    """Return the status that a gateway of any version sent.

    Raises:
        MisfitError: something is missing or wrong. The message begins with its place.
    """
    found = strict_json.names(value)
    try:
        status: Status = _reader(Status)({**found, "version": VERSION})
    except MisfitError as error:
        if (version := found.get("version", VERSION)) == VERSION:
            raise
        raise MisfitError(f"{error}; its form is version {shown(version)}, known is {VERSION}") from error
    return status


def field_names(form: type) -> tuple[str, ...]:
    """Return the names of the fields of a dataclass or a NamedTuple. Empty for any other type."""
    return tuple(field.name for field in fields(form)) if is_dataclass(form) else getattr(form, "_fields", ())


@cache
def _reader(annotation: Any) -> Read[Any]:
    """Return the reader for a type that a field of the status can have."""
    if isinstance(annotation, NewType):
        return _reader(annotation.__supertype__)
    arguments = get_args(annotation)
    if get_origin(annotation) is UnionType:
        (known,) = (each for each in arguments if each is not NoneType)
        return strict_json.null_or(_reader(known))
    if get_origin(annotation) is tuple:
        return strict_json.list_of(_reader(arguments[0]))
    if get_origin(annotation) is Mapping:
        return strict_json.mapping(_text, _reader(arguments[1]))
    if issubclass(annotation, Enum):
        return _READERS.get(annotation) or strict_json.one_of(annotation)
    return _READERS[annotation] if annotation in _READERS else _object(annotation)


def _object(form: Any) -> Read[Any]:
    """Return the reader for a dataclass or a NamedTuple. A field that has a default may be missing."""
    hints, optional = get_type_hints(form), _optional(form)
    readers = {name: _reader(hints[name]) for name in field_names(form)}
    read = strict_json.fields(
        {name: each for name, each in readers.items() if name not in optional},
        {name: each for name, each in readers.items() if name in optional},
    )
    return lambda value: form(**read(value))


def _optional(form: Any) -> Collection[str]:
    if is_dataclass(form):
        return {field.name for field in fields(form) if field.default is not MISSING}
    return set(form._field_defaults)


def _text(value: object) -> str:
    """Return a text of any length. A path that is no UTF-8 has half surrogate pairs."""
    if not isinstance(value, str):
        raise MisfitError(f"{shown(value)} is no text")
    return value


_READERS: Mapping[type, Read[Any]] = {
    str: _text,
    bool: strict_json.truth,
    int: strict_json.whole,
    float: strict_json.number,
    Source: lambda value: source_of(_text(value)),
}
