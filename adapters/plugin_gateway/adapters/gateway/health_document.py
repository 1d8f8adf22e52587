"""The faults of the devices as JSON values, in a form that other versions of the gateway can read.

Faults are kept by the id of the physical device, or of the part of one, that has them. Version 2 has a header that says
who wrote it: gateway, node, kernel, driver and kubelet. Version 1 had none. Reading is lenient, so that a device that
was unhealthy is never forgotten because of one unknown word:

- A key that this version does not know is ignored. A key that is missing takes its default.
- A kind of evidence that this version does not know is kept as a word.
- An unknown requirement counts as a reset, because a device must not come back by itself.
- An entry that cannot be read at all makes its device unhealthy until a reset, or until an operator clears it.

What could not be read is returned in words, for the log.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from plugin_gateway.adapters.gateway.state_file import Decoded
from plugin_gateway.adapters.support.strict_json import MisfitError, Read, null_or, number, plain, truth
from plugin_gateway.core.devices import FaultId, parse_device_id
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.health.faults import MAX_EVIDENCE, Evidence, Fault, source_of
from plugin_gateway.core.health.memory import Memory
from plugin_gateway.core.health.observations import DriverSeen
from plugin_gateway.core.health.policy import EvidenceKind, Needs
from plugin_gateway.core.health.repetition import MAX_COUNT

VERSION = 2
"""Version of the form. Every version can be read."""
MAX_TEXT = 4096
"""Characters of one text."""
MAX_PROBLEMS = 8
"""Problems that are returned in words."""
UNREADABLE = "unhealthy before, its record cannot be read"
"""The evidence against a device whose entry says nothing that can be read."""
_NEEDS = {needs.name.lower(): needs for needs in Needs}
_Value = TypeVar("_Value")


class WrittenBy(NamedTuple):
    """Who wrote a file, for people and for support."""

    gateway: str
    """Version of the gateway."""
    node: str
    kernel: str
    driver: str | None
    """Version of the driver that answered last. None if it is not known."""
    kubelet: str | None
    """User agent of the kubelet that opened the last stream. None if there was none."""


def encode(memory: Memory, written_by: WrittenBy | None = None) -> Mapping[str, object]:
    """Return the memory as values that JSON supports."""
    return {
        "version": VERSION,
        "written_by": _encode_words(written_by) if written_by is not None else None,
        "boot_id": _plain(memory.boot_id),
        "driver": _encode_words(memory.driver) if memory.driver is not None else None,
        "faults": {device: _encode_fault(fault) for device, fault in memory.faults.items()},
        "taken_out": {device: list(times) for device, times in memory.taken_out.items()},
        "repeated": {
            device: {_plain(kind): list(times) for kind, times in kinds.items()}
            for device, kinds in memory.repeated.items()
        },
        "unseen": sorted(memory.unseen),
    }


def _encode_words(words: DriverSeen | WrittenBy) -> Mapping[str, object]:
    return {name: None if each is None else _plain(each) for name, each in words._asdict().items()}


def _plain(words: str) -> str:
    """Return the text without line breaks and control characters, and not too long to be read again."""
    return plain(words, MAX_TEXT)


def _encode_fault(fault: Fault) -> Mapping[str, object]:
    return {
        "since": fault.since,
        "evidence": [_encode_evidence(evidence) for evidence in fault.evidence],
        "needs": fault.needs.name.lower(),
        "problems": {_plain(kind): _plain(what) for kind, what in fault.problems.items()},
        "asked_for_recovery": fault.asked_for_recovery,
        "was_reset": fault.was_reset,
        "is_damped": fault.is_flapping,
        "quiet_time": fault.quiet_time,
        "is_drivers_to_decide": fault.is_drivers_to_decide,
    }


def _encode_evidence(evidence: Evidence) -> Mapping[str, object]:
    return {
        "what": _plain(evidence.what),
        "at": evidence.at,
        "kind": _plain(evidence.kind),
        "source": evidence.source.value,
        "since": evidence.since,
    }


def decode(value: object) -> Decoded[Memory]:
    """Return the memory that a file of any version contains.

    Raises:
        InvalidValueError: it contains nothing that a gateway writes.
    """
    if not isinstance(value, dict) or not value.keys() & {"faults", "taken_out", "unseen"}:
        raise InvalidValueError(f"{_shown(value)} where the faults of devices belong")
    if not isinstance(value.get("faults", {}), dict):
        raise InvalidValueError(f"faults: {_shown(value['faults'])} where the faults of devices belong")
    return _Reader().read(value)


class _Reader:
    """Reads what it can, and notes the rest."""

    def __init__(self) -> None:
        self._problems: list[str] = []

    def read(self, found: Mapping[str, Any]) -> Decoded[Memory]:
        memory = Memory(
            boot_id=self._get(found, "boot_id", _text, ""),
            driver=self._driver(found.get("driver")),
            faults=self._by_device(found.get("faults"), "faults", self._fault),
            taken_out=self._by_device(found.get("taken_out"), "taken_out", self._times),
            unseen=frozenset(self._devices(found.get("unseen"))),
            repeated=self._by_device(found.get("repeated"), "repeated", self._repeated),
        )
        return Decoded(memory, tuple(self._problems[:MAX_PROBLEMS]))

    def _note(self, place: str, value: object) -> None:
        self._problems.append(f"{place}: {_shown(value)}")

    def _get(self, found: Mapping[str, Any], name: str, read: Read[_Value], default: _Value) -> _Value:
        """Return a field; the default where it is missing, or not what belongs there."""
        if name not in found:
            return default
        try:
            return read(found[name])
        except MisfitError:
            self._note(name, found[name])
            return default

    def _mapping(self, value: object, place: str) -> Mapping[str, Any]:
        if isinstance(value, dict):
            return value
        if value is not None:
            self._note(place, value)
        return {}

    def _list(self, value: object, place: str) -> list[Any]:
        if isinstance(value, list):
            return value
        if value is not None:
            self._note(place, value)
        return []

    def _driver(self, value: object) -> DriverSeen | None:
        if value is None:
            return None
        found = self._mapping(value, "driver")
        return DriverSeen(*(self._get(found, name, null_or(_text), None) for name in ("version", "instance")))

    def _by_device(self, value: object, place: str, read: Callable[[object, str], _Value]) -> Mapping[FaultId, _Value]:
        entries: dict[FaultId, _Value] = {}
        for name, entry in self._mapping(value, place).items():
            for device in self._devices([name]):
                entries[device] = read(entry, f"{place} of {device}")
        return entries

    def _devices(self, value: object) -> list[FaultId]:
        devices: list[FaultId] = []
        for each in self._list(value, "unseen"):
            try:
                devices.append(parse_device_id(_text(each)))
            except (InvalidValueError, MisfitError):
                self._note("device", each)
        return devices

    def _times(self, value: object, place: str) -> tuple[float, ...]:
        times = []
        for each in self._list(value, place):
            try:
                times.append(number(each))
            except MisfitError:
                self._note(place, each)
        return tuple(times)

    def _repeated(self, value: object, place: str) -> Mapping[EvidenceKind, tuple[float, ...]]:
        entries = self._mapping(value, place).items()
        return {EvidenceKind(_plain(kind)): self._times(times, place)[-MAX_COUNT:] for kind, times in entries}

    def _fault(self, value: object, place: str) -> Fault:
        found = self._mapping(value, place)
        evidence = [each for each in map(self._evidence, self._list(found.get("evidence"), place)) if each is not None]
        since = self._get(found, "since", number, evidence[0].at if evidence else 0.0)
        is_readable = bool(evidence)
        if not is_readable:
            self._note(f"{place}: evidence", found.get("evidence"))
        needs = self._needs(found.get("needs"), place) if is_readable else Needs.RESET
        is_drivers = self._get(found, "is_drivers_to_decide", truth, default=False)
        return Fault(
            since=since,
            evidence=tuple(evidence[:MAX_EVIDENCE]) or (Evidence(UNREADABLE, since),),
            needs=needs,
            problems=self._kinds(found.get("problems"), place),
            asked_for_recovery=self._get(found, "asked_for_recovery", truth, default=False),
            was_reset=self._get(found, "was_reset", truth, default=False),
            is_flapping=self._get(found, "is_damped", truth, default=False),
            quiet_time=self._get(found, "quiet_time", null_or(number), None),
            is_drivers_to_decide=is_drivers and needs <= Needs.DRIVER,
        )

    def _needs(self, value: object, place: str) -> Needs:
        if isinstance(value, str) and value in _NEEDS:
            return _NEEDS[value]
        self._note(f"{place}: needs", value)
        return Needs.RESET

    def _kinds(self, value: object, place: str) -> Mapping[EvidenceKind, str]:
        kinds: dict[EvidenceKind, str] = {}
        for kind, what in self._mapping(value, place).items():
            try:
                kinds[EvidenceKind(_text(kind))] = _text(what)
            except MisfitError:
                self._note(f"{place}: problems", {kind: what})
        return kinds

    def _evidence(self, value: object) -> Evidence | None:
        if not isinstance(value, dict) or not isinstance(value.get("what"), str):
            return None
        return Evidence(
            what=_plain(value["what"]),
            at=self._get(value, "at", number, 0.0),
            kind=EvidenceKind(self._get(value, "kind", _text, "")),
            source=source_of(self._get(value, "source", _text, "")),
            since=self._get(value, "since", null_or(number), None),
        )


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT or not (value.isprintable() or not value):
        raise MisfitError(_shown(value))
    return value


def _shown(value: object) -> str:
    return repr(value)[:80]
