"""Compares what was recorded with what the gateway does now, and describes the difference for people."""

import json
from collections.abc import Iterable, Mapping, Sequence
from difflib import unified_diff

from google.protobuf.json_format import MessageToJson
from google.protobuf.message import DecodeError, Message

from plugin_gateway.adapters.dialects.dialect import Dialect, MalformedMessageError, RegisterRequest
from plugin_gateway.core.cdi import qualified
from plugin_gateway.core.devices import Extra
from plugin_gateway.core.resources.allocation import ContainerEdits
from plugin_gateway.core.resources.id_words import group_of, grouped_ids

LIST = "ListAndWatch"
"""The method whose answers are lists of devices."""


class MissedError(Exception):
    """The gateway does not do now what was recorded."""

    def __init__(self, what: str, details: Sequence[str] = ()) -> None:
        super().__init__(what)
        self.what = what
        self.details = details
        """Further lines, with the difference."""


class LeftOutError(Exception):
    """A line cannot be played. The message says why."""


def compare_registers(then: RegisterRequest, now: RegisterRequest) -> None:
    """Compare two registrations without their endpoints, whose names always differ.

    Raises:
        MissedError: they differ; with the difference.
    """
    if then._replace(endpoint="") != now._replace(endpoint=""):
        raise MissedError("Register differs", _difference(_fields(then), _fields(now)))


def _fields(request: RegisterRequest) -> list[str]:
    options = request.options._asdict() if request.options is not None else None
    return json.dumps({**request._asdict(), "endpoint": "", "options": options}, indent=2).split("\n")


def compare(dialect: Dialect, method: str, then: bytes | str, now: bytes | str) -> None:
    """Compare two answers: messages as bytes, or errors as text.

    Raises:
        MissedError: they differ; with the difference. It is shown in JSON, and in hexadecimal if that is the same. Of a
            list, it is shown with a line for each device, if that is not the same.
    """
    if then == now:
        return
    kind = dialect.answer_type(method)
    shown = [(_lines(kind, then), _lines(kind, now)), (_in_hexadecimal(then), _in_hexadecimal(now))]
    if method == LIST:
        shown.insert(0, (_device_lines(dialect, then), _device_lines(dialect, now)))
    before, after = next((each for each in shown if each[0] != each[1]), shown[-1])
    raise MissedError(f"{method} differs", _difference(before, after))


def describe_further(dialect: Dialect, before: bytes, lists: Sequence[bytes]) -> MissedError:
    """Return the error for lists that were not recorded. It shows what the last of them changes."""
    what = "a list is sent now that was not sent then" if len(lists) == 1 else f"{len(lists)} more lists than then"
    return MissedError(what, _difference(_device_lines(dialect, before), _device_lines(dialect, lists[-1])))


def _difference(before: Sequence[str], after: Sequence[str]) -> tuple[str, ...]:
    return tuple(unified_diff(before, after, "then", "now", lineterm="", n=1))


def _lines(kind: type[Message] | None, said: bytes | str) -> list[str]:
    """Return a message as lines of JSON, or in hexadecimal if it cannot be decoded. An error stays a text."""
    if isinstance(said, str):
        return said.split("\n")
    try:
        return MessageToJson(kind.FromString(said)).split("\n") if kind is not None else [said.hex()]
    except DecodeError:
        return [said.hex()]


def _device_lines(dialect: Dialect, said: bytes | str) -> list[str]:
    """Return a list with a line for each device, and its replicas of the same health together."""
    if isinstance(said, str):
        return said.split("\n")
    alike: dict[tuple[str, str, tuple[int, ...]], list[str]] = {}
    try:
        for each in dialect.read_list(said):
            alike.setdefault((group_of(each.id), each.health, tuple(each.numa_nodes)), []).append(each.id)
    except MalformedMessageError:
        return _in_hexadecimal(said)
    return [
        f"{words} {health}" + (f", NUMA {' '.join(map(str, nodes))}" if nodes else "")
        for (_, health, nodes), ids in alike.items()
        for words in grouped_ids(ids)
    ]


def _in_hexadecimal(said: bytes | str) -> list[str]:
    return [said.hex() if isinstance(said, bytes) else said]


def named_nodes(dialect: Dialect, answer: bytes | None, extras: Iterable[Extra]) -> frozenset[str]:
    """Return the device nodes in a recorded answer to Allocate, and those without which it would not be this one.

    Containers need not be given the device nodes of ``extras``, but some of them are named only if these are there.
    """
    try:
        containers = dialect.allocation.read_answer(answer or b"")
    except MalformedMessageError:
        return frozenset()
    named = (node.container_path for edits in containers for node in edits.device_nodes)
    implied = (path for each in extras if _shows(containers, each) for path in each.nodes)
    return frozenset((*named, *implied))


def described_extras(dialect: Dialect, answer: bytes | None, extras: Mapping[str, Extra]) -> Mapping[str, str]:
    """Return the names of those ``extras`` that a recorded answer to Allocate names in a CDI spec, by their words."""
    try:
        containers = dialect.allocation.read_answer(answer or b"")
    except MalformedMessageError:
        return {}
    return {
        word: qualified(each.cdi_kind, each.cdi_name)
        for word, each in extras.items()
        if any(_is_named(each, edits) for edits in containers)
    }


def _is_named(extra: Extra, edits: ContainerEdits) -> bool:
    """Return whether a container was told the name of something in a CDI spec."""
    by_annotations = (name for value in edits.annotations.values() for name in value.split(","))
    return bool(extra.cdi_kind) and qualified(extra.cdi_kind, extra.cdi_name) in (*edits.cdi_devices, *by_annotations)


def _shows(containers: Sequence[ContainerEdits], extra: Extra) -> bool:
    """Return whether a container was told of something that is only there with its device nodes."""
    return extra.needs_nodes and any(
        bool(extra.names and extra.names.items() <= edits.environment.items())
        or any(extra.mount and mount.container_path.endswith(f"/{extra.mount}") for mount in edits.mounts)
        or _is_named(extra, edits)
        for edits in containers
    )
