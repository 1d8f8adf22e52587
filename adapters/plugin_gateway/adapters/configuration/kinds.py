"""The kinds of values that options have: how each is checked, used, and described to people and other programs.

A parser makes a value from a text, or raises InvalidValueError with a message that says what is allowed. What the
options of one module alone take is in that module.
"""

import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar, cast

from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.resources.names import parse_resource_name

if TYPE_CHECKING:
    from pathlib import Path

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
R = TypeVar("R")
E = TypeVar("E", bound=Enum)
Schema = Mapping[str, object]
"""A JSON schema."""
Parse = Callable[[str], T]
"""Makes a value from the text of a flag, a variable or the file. Raises InvalidValueError."""

MAX_TIME = 10_000_000
"""Seconds; about four months."""
MAX_TIMES = 1000
"""The largest count."""
MAX_NODE_NAME_LENGTH = 253
"""Characters; the limit of Kubernetes for the name of an object, and of DNS for a host name."""
MAX_CONDITION_LENGTH = 63
"""Characters."""
MAX_PORT = 65535
KUBELETS_CONDITIONS = (
    "Ready",
    "MemoryPressure",
    "DiskPressure",
    "PIDPressure",
    "NetworkUnavailable",
    "OutOfDisk",
    "ConfigOK",
)
"""Types of node conditions that Kubernetes uses itself. A condition of ours would overwrite them."""
MAX_NUMBER_LENGTH, MAX_DURATION_LENGTH = 16, 40
"""Characters."""
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
"""Seconds in each unit that durations have in Go."""
_DURATION = r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(h|ms|m|s|us|µs|ns)"
"""A pattern. It is compiled where somebody writes a time with a unit."""
_TIME_PATTERN = r"^([0-9.]+(h|ms|m|s|us|µs|ns)?)+$"
_TRUE = ("1", "t", "true", "y", "yes", "on")
_FALSE = ("0", "f", "false", "n", "no", "off")


def parse_switch(text: str) -> bool:
    """Return true or false; accepts the words of Go's flags and of YAML."""
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise InvalidValueError(f"invalid value {text!r}; expected true or false")


def word_of(allowed: Sequence[str]) -> Parse[str]:
    """Return a parser that accepts the words of a list."""

    def parse(text: str) -> str:
        if text not in allowed:
            raise InvalidValueError(f"invalid value {text!r}; expected {', '.join(allowed)}")
        return text

    return parse


def seconds_from(*, at_least: float, at_most: int) -> Parse[float]:
    """Return a parser for a time in seconds."""

    def parse(text: str) -> float:
        value = parse_time(text)
        if value is None or not at_least <= value <= at_most:
            raise InvalidValueError(
                f"invalid value {text[:80]!r}; expected {at_least:g} to {at_most} seconds, also as 90s or 2m"
            )
        return value

    return parse


def parse_time(text: str) -> float | None:
    """Return seconds: of a number of them, or of a duration as Go writes it, such as ``90s`` or ``1h30m``.

    None for anything else.
    """
    number = parse_number(text)
    if number is not None:
        return number
    parts = re.findall(_DURATION, text[:MAX_DURATION_LENGTH], re.ASCII)
    found = sum(float(count) * _UNITS[unit] for count, unit in parts)
    return found if parts and "".join(map("".join, parts)) == text else None


def parse_number(text: str) -> float | None:
    """Return the number, or None for anything that is not a short decimal number in ASCII."""
    try:
        return float(text) if len(text) <= MAX_NUMBER_LENGTH and text.isascii() and "_" not in text else None
    except ValueError:
        return None


def parse_count(text: str) -> int:
    """Return a number of times, from 1 to 1000."""
    if not (text.isascii() and text.isdigit() and 1 <= len(text) <= MAX_NUMBER_LENGTH and 1 <= int(text) <= MAX_TIMES):
        raise InvalidValueError(f"invalid value {text[:80]!r}; expected 1 to {MAX_TIMES}")
    return int(text)


def parse_node_name(text: str) -> str:
    """Return the name of a node; an empty text is allowed and means that the name is not known."""
    allowed = set("abcdefghijklmnopqrstuvwxyz0123456789-.")
    if not set(text) <= allowed or len(text) > MAX_NODE_NAME_LENGTH:
        raise InvalidValueError(f"invalid value {text[:80]!r}; expected lower case letters, digits, - and .")
    return text


def parse_condition(text: str) -> str:
    """Return the type of a node condition; an empty text is allowed and means that none is wanted."""
    if text in KUBELETS_CONDITIONS:
        raise InvalidValueError(f"{text!r} is the kubelet's own condition; expected another one such as GpuProblem")
    if text and not (text.isascii() and text.isalnum() and text[0].isalpha() and len(text) <= MAX_CONDITION_LENGTH):
        raise InvalidValueError(f"invalid value {text[:80]!r}; expected letters and digits, such as GpuProblem")
    return text


class KubeletVersion(NamedTuple):
    """A release of the kubelet, without its patch."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


def parse_kubelet_version(text: str) -> KubeletVersion:
    """Return a release such as ``1.37``."""
    major, _, minor = text.partition(".")
    is_number = minor.isascii() and minor.isdigit() and len(minor) <= 2 and not minor.startswith("0")  # noqa: PLR2004
    if major != "1" or not is_number or int(minor) < 8:  # noqa: PLR2004
        raise InvalidValueError(f"invalid value {text[:80]!r}; expected 1.8 or later without a patch, such as 1.37")
    return KubeletVersion(1, int(minor))


class ListenAddress(NamedTuple):
    """The address of the HTTP listener; port 0 means that there is none."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}" if self.port else ""


def parse_listen(text: str) -> ListenAddress:
    """Return the address of ``PORT`` or ``HOST:PORT``; the default host is localhost.

    An empty text means that there is no listener.
    """
    if not text:
        return ListenAddress("", 0)
    host, _, port = text.rpartition(":")
    is_port = port.isascii() and port.isdigit() and len(port) <= len(str(MAX_PORT)) and 1 <= int(port) <= MAX_PORT
    if not is_port or len(host) > MAX_NODE_NAME_LENGTH or any(not each.isprintable() or each in " /" for each in host):
        raise InvalidValueError(f"invalid value {text[:80]!r}; expected PORT or HOST:PORT, such as 9400")
    return ListenAddress(host.strip("[]") or "127.0.0.1", int(port))


def parse_path(text: str) -> str:
    """Return an absolute path without a slash at its end. Nothing is looked up in the file system."""
    if not text.startswith("/") or "\0" in text or not _can_be_named(text):
        raise InvalidValueError(f"invalid value {text!r}; expected an absolute path")
    return text.rstrip("/") or "/"


def parse_path_or_none(text: str) -> str:
    """Return an absolute path. Empty for none."""
    return parse_path(text) if text else ""


def parse_root(text: str) -> str:
    """Return an absolute path that a container runtime can be told, so one that can be printed."""
    path = parse_path(text)
    if not path.isprintable():
        raise InvalidValueError(f"invalid value {text!r}; expected an absolute path without control characters")
    return path


def parse_root_or_none(text: str) -> str:
    """Return such a path. Empty for none."""
    return parse_root(text) if text else ""


def parse_new_file(text: str) -> str:
    """Return the absolute path of a file; a relative one begins at the working directory. Empty for none."""
    return parse_path(os.path.abspath(text)) if text else ""  # noqa: PTH100 - resolve() would follow symbolic links


def _can_be_named(text: str) -> bool:
    """Return whether the file system can have this name. YAML can write half a surrogate pair, which has no bytes."""
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return True


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


def one_of(words: Sequence[str], metavar: str, others: Mapping[str, str] | None = None) -> Kind[str]:
    """Return a kind of a few words. ``others`` are words of other programs, and what they are here."""
    parse, same = word_of(words), others or {}
    return kind(lambda text: parse(same.get(text, text)), metavar, {"enum": [*words, *same]})


def member_of(choices: type[E]) -> Kind[E]:
    """Return a kind whose words are the values of an enum."""
    words = [choice.value for choice in choices]
    parse = word_of(words)
    return kind(lambda text: choices(parse(text)), "|".join(words), {"enum": words})


class Several(frozenset[E]):
    """Some members of an enum. As a text it is as a flag has it, in the order of the enum."""

    __slots__ = ()

    def __str__(self) -> str:
        return ",".join(each.value for each in type(next(iter(self))) if each in self) if self else ""


def several_of(choices: Sequence[E]) -> Kind[Several[E]]:
    """Return a kind of one member or more, with commas between them, or as a list in YAML."""
    by_word = {choice.value: choice for choice in choices}

    def parse(text: str) -> Several[E]:
        return Several(by_word[word] for word in _words_in(text, by_word))

    return kind(parse, "|".join(by_word), {**_list_schema(by_word), "minItems": 1})


class Words(tuple[str, ...]):
    """Some words. As a text they are as a flag has them."""

    __slots__ = ()

    def __str__(self) -> str:
        return ",".join(self)


def list_of(allowed: Sequence[str], metavar: str) -> Kind[Words]:
    """Return a kind of words in an order, with commas between them, or as a list in YAML. There can be none."""

    def parse(text: str) -> Words:
        given = ",".join(word for word in text.split(",") if word.strip(" "))
        return Words(dict.fromkeys(_words_in(given, allowed) if given else ()))

    schema = _list_schema(allowed)
    return kind(parse, metavar, {**schema, "pattern": f"^[ ,]*$|{schema['pattern']}"})


def _words_in(text: str, allowed: Collection[str]) -> Sequence[str]:
    """Return the words between commas.

    Raises:
        InvalidValueError: one of them is not allowed.
    """
    words = [word.strip(" ") for word in text.split(",")]
    for word in words:
        if word not in allowed:
            raise InvalidValueError(f"invalid value {word[:80]!r}; expected {', '.join(allowed)}")
    return words


def _list_schema(allowed: Collection[str]) -> Schema:
    word = f" *({'|'.join(allowed)}) *"
    return {"type": ["string", "array"], "pattern": f"^{word}(,{word})*$", "items": {"enum": list(allowed)}}


def seconds(*, at_least: int, at_most: int = MAX_TIME) -> Kind[float]:
    """Return a kind of times in seconds."""
    limits = {"type": ["number", "string"], "minimum": at_least, "maximum": at_most, "pattern": _TIME_PATTERN}
    return kind(seconds_from(at_least=at_least, at_most=at_most), "TIME", limits)


def _path(kept: str) -> "Path":
    from pathlib import Path  # noqa: PLC0415 - `run` uses the first one while the driver initialises

    return Path(kept)


_ABSOLUTE: Schema = {"type": "string", "pattern": "^/"}
_ABSOLUTE_OR_NONE: Schema = {"type": "string", "pattern": "^(/|$)"}
SWITCH = kind(parse_switch, "true|false", {"type": "boolean"})
COUNT = kind(parse_count, "COUNT", {"type": "integer", "minimum": 1, "maximum": MAX_TIMES})
FOLDER = kind_made_later(parse_path, _path, "DIR", _ABSOLUTE)
FILE = kind_made_later(parse_path, _path, "FILE", _ABSOLUTE)
ROOT = kind(parse_root, "DIR", _ABSOLUTE)
"""A folder of the host, which need not be there for this process."""
ROOT_OR_NONE = kind(parse_root_or_none, "DIR", _ABSOLUTE_OR_NONE)
PROGRAM_OR_NONE = kind(parse_root_or_none, "FILE", _ABSOLUTE_OR_NONE)
KUBELET_SOCKET = kind(parse_path_or_none, "PATH", _ABSOLUTE_OR_NONE)
NEW_FILE = kind(parse_new_file, "FILE", {"type": "string"})
RESOURCE = kind(parse_resource_name, "NAME", {"type": "string", "pattern": "^[^/]+/[^/]+$"})
LISTEN = kind(parse_listen, "[HOST:]PORT", {"type": ["string", "integer"]})
KUBELET_VERSION = kind(parse_kubelet_version, "VERSION", {"type": "string", "pattern": r"^1\.([89]|[1-9][0-9])$"})
NODE_NAME = kind(parse_node_name, "NAME", {"type": "string"})
CONDITION = kind(
    parse_condition,
    "TYPE",
    {
        "type": "string",
        "pattern": f"^([A-Za-z][A-Za-z0-9]{{0,{MAX_CONDITION_LENGTH - 1}}})?$",
        "not": {"enum": list(KUBELETS_CONDITIONS)},
    },
)
