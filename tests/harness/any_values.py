"""Any value of a type, as hypothesis draws it: for what is written and read by the types of its fields."""

from collections.abc import Mapping, Sequence
from enum import Enum
from types import NoneType, UnionType
from typing import Any, NewType, Union, get_args, get_origin

from hypothesis import strategies as st

from plugin_gateway.adapters.support.typed_json import field_names, hints_of
from plugin_gateway.core.resources.container_options import NAMES

Strategies = Mapping[Any, st.SearchStrategy[Any]]
SIMPLE: Strategies = {
    str: st.text(max_size=3),
    bool: st.booleans(),
    int: st.integers(0, 2**63 - 1),
    float: st.floats(0, 1e11),
    NoneType: st.none(),
}


def values_of(annotation: Any, known: Strategies = SIMPLE) -> st.SearchStrategy[Any]:
    """Any value that a field of this type can have. ``known`` are the types that have fewer values."""
    if annotation in known:
        return known[annotation]
    if isinstance(annotation, NewType):
        return values_of(annotation.__supertype__, known)
    if (origin := get_origin(annotation)) is not None:
        return several(origin, [values_of(each, known) for each in get_args(annotation) if each is not ...])
    if issubclass(annotation, Enum):
        return st.sampled_from(annotation)
    hints = hints_of(annotation, NAMES)
    return st.builds(annotation, **{name: values_of(hints[name], known) for name in field_names(annotation)})


def several(origin: Any, parts: list[st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
    """One of several types, or a collection of a few values."""
    if origin in {Union, UnionType}:
        return st.one_of(*parts)
    if origin in {tuple, Sequence}:
        return st.lists(*parts, max_size=2).map(tuple)
    return st.frozensets(*parts, max_size=2) if origin is frozenset else st.dictionaries(*parts, max_size=2)
