"""Values of JSON whose form follows from types: each field of a dataclass or a NamedTuple is a key of the same name.

Reading is strict about what is there, and lenient about what is missing: an older version leaves out fields that have a
default, and a newer one may have fields that this version does not know.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import reduce
from operator import or_
from types import NoneType, UnionType
from typing import Any, NewType, Union, get_args, get_origin, get_type_hints

from plugin_gateway.adapters.support import strict_json
from plugin_gateway.adapters.support.strict_json import Read

Names = Mapping[str, type]
"""Types of fields that the modules of their classes import for type checkers only, by their names there."""


def plain(value: Any, write: Callable[[Any], Any] | None = None) -> Any:
    """Return a value as values of JSON. ``write`` does so with its parts, if some of them have another form."""
    part = write or plain
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return {part(name): part(each) for name, each in value.items()}
    if is_dataclass(value) or hasattr(value, "_fields"):  # perhaps without a field
        return {name: part(getattr(value, name)) for name in field_names(type(value))}
    if isinstance(value, frozenset):
        return sorted(part(each) for each in value)
    return [part(each) for each in value] if isinstance(value, tuple | list) else value


def field_names(form: type) -> tuple[str, ...]:
    """Return the names of the fields that make a dataclass or a NamedTuple. Empty for any other type."""
    if not is_dataclass(form):
        return getattr(form, "_fields", ())
    return tuple(field.name for field in fields(form) if field.init)


def hints_of(form: type, names: Names) -> Mapping[str, Any]:
    """Return the types of the fields of a dataclass or a NamedTuple."""
    return get_type_hints(form, localns=dict(names))


class Readers(dict[Any, Read[Any]]):
    """Readers by type. One that is missing is made from the type."""

    def __init__(
        self, known: Mapping[Any, Read[Any]], names: Names, checked: Callable[[Any], Any] = lambda form: form
    ) -> None:
        """``known`` are the readers of simple types, and of those with a form of their own.

        ``checked`` gets each class with fields. It returns a function that makes the value or raises MisfitError.
        """
        super().__init__(known)
        self._names = names
        self._checked = checked

    def __missing__(self, annotation: Any) -> Read[Any]:
        """Make the reader of a type that a field can have."""
        self[annotation] = read = self._made(annotation)
        return read

    def _made(self, annotation: Any) -> Read[Any]:
        if isinstance(annotation, NewType):
            return self[annotation.__supertype__]
        arguments, origin = get_args(annotation), get_origin(annotation)
        if origin in {Union, UnionType} and NoneType in arguments:
            return strict_json.null_or(self[reduce(or_, (each for each in arguments if each is not NoneType))])
        if origin is Mapping:
            return strict_json.mapping(self[arguments[0]], self[arguments[1]])
        if origin in {tuple, Sequence, frozenset}:
            read = strict_json.list_of(self[arguments[0]])
            return (lambda value: frozenset(read(value))) if origin is frozenset else read
        return strict_json.one_of(annotation) if issubclass(annotation, Enum) else self._object(annotation)

    def _object(self, form: Any) -> Read[Any]:
        """Return the reader of a dataclass or a NamedTuple. A field that has a default may be missing."""
        hints, optional, make = hints_of(form, self._names), _optional(form), self._checked(form)
        readers = {name: self[hints[name]] for name in field_names(form)}
        read = strict_json.fields(
            {name: each for name, each in readers.items() if name not in optional},
            {name: each for name, each in readers.items() if name in optional},
        )
        return lambda value: make(**read(value))


def _optional(form: Any) -> Collection[str]:
    if is_dataclass(form):
        return {each.name for each in fields(form) if {each.default, each.default_factory} != {MISSING}}
    return set(form._field_defaults)
