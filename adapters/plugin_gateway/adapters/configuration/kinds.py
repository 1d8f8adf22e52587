"""The kinds of values that options have: how each is written, checked, described to other programs, and used."""

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from plugin_gateway.adapters.configuration.parsers import (
    MAX_CONDITION_LENGTH,
    MAX_TIME,
    MAX_TIMES,
    Parse,
    parse_condition,
    parse_count,
    parse_healthchecks,
    parse_listen,
    parse_new_file,
    parse_node_name,
    parse_path,
    parse_switch,
    seconds_from,
    word_of,
)
from plugin_gateway.core.resources.names import parse_resource_name

if TYPE_CHECKING:
    from pathlib import Path

    from plugin_gateway.core.health.policy import Probation

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
R = TypeVar("R")
E = TypeVar("E", bound=Enum)
Schema = Mapping[str, object]
"""A JSON schema."""


class Kind(Generic[T_co]):
    """One kind of values. `kind` and `kind_made_later` make one, and compare the types. A plain class starts faster."""

    __slots__ = ("make", "metavar", "parse", "schema")

    def __init__(self, parse: Parse[object], make: Callable[[object], T_co], metavar: str, schema: Schema) -> None:
        """``parse`` checks a text, and returns what is kept of it, from which ``make`` returns the value.

        ``metavar`` is the name of the value in the help. ``schema`` is what YAML may have for it; it refuses no value
        that ``parse`` accepts.
        """
        self.parse = parse
        self.make = make
        self.metavar = metavar
        self.schema = schema


def _as_kept(kept: object) -> object:
    return kept


def kind(parse: Parse[T], metavar: str, schema: Schema) -> Kind[T]:
    """Return a kind whose parser returns the value itself."""
    return Kind(parse, cast("Callable[[object], T]", _as_kept), metavar, schema)


def kind_made_later(parse: Parse[R], make: Callable[[R], T], metavar: str, schema: Schema) -> Kind[T]:
    """Return a kind whose values need an import that should not delay the start."""
    return Kind(parse, cast("Callable[[object], T]", make), metavar, schema)


def one_of(words: Sequence[str], metavar: str) -> Kind[str]:
    """Return a kind of a few words."""
    return kind(word_of(words), metavar, {"enum": list(words)})


def member_of(choices: type[E]) -> Kind[E]:
    """Return a kind whose words are the values of an enum."""
    words = [choice.value for choice in choices]
    parse = word_of(words)
    return kind(lambda text: choices(parse(text)), "|".join(words), {"enum": words})


def seconds(*, at_least: int, at_most: int = MAX_TIME) -> Kind[float]:
    """Return a kind of times in seconds."""
    limits = {"type": "number", "minimum": at_least, "maximum": at_most}
    return kind(seconds_from(at_least=at_least, at_most=at_most), "SECONDS", limits)


def _path(kept: str) -> "Path":
    from pathlib import Path  # noqa: PLC0415 - `run` uses the first one while the driver initialises

    return Path(kept)


def _probation(kept: str) -> "Probation":
    from plugin_gateway.core.health.policy import Probation  # noqa: PLC0415 - likewise

    return Probation(kept)


_ABSOLUTE: Schema = {"type": "string", "pattern": "^/"}
SWITCH = kind(parse_switch, "true|false", {"type": "boolean"})
COUNT = kind(parse_count, "COUNT", {"type": "integer", "minimum": 1, "maximum": MAX_TIMES})
FOLDER = kind_made_later(parse_path, _path, "DIR", _ABSOLUTE)
FILE = kind_made_later(parse_path, _path, "FILE", _ABSOLUTE)
ROOT = kind(parse_path, "DIR", _ABSOLUTE)
"""A folder of the host, which need not be there for this process."""
NEW_FILE = kind(parse_new_file, "FILE", {"type": "string"})
RESOURCE = kind(parse_resource_name, "NAME", {"type": "string", "pattern": "^[^/]+/[^/]+$"})
LISTEN = kind(parse_listen, "[HOST:]PORT", {"type": ["string", "integer"]})
NODE_NAME = kind(parse_node_name, "NAME", {"type": "string"})
CONDITION = kind(
    parse_condition,
    "TYPE",
    {"type": "string", "pattern": f"^([A-Za-z][A-Za-z0-9]{{0,{MAX_CONDITION_LENGTH - 1}}})?$"},
)
XIDS = kind(parse_healthchecks, "XIDS", {"type": ["string", "integer"]})
PROBATION = kind_made_later(
    word_of(("quiet-time", "external")), _probation, "WHAT", {"enum": ["quiet-time", "external"]}
)
"""The words are those of `Probation`, which is imported later."""
