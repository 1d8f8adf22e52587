"""Then and now: whether the same was said, and what differs as people can read it."""

from collections.abc import Mapping, Sequence
from difflib import unified_diff
from typing import Any

from google.protobuf.json_format import MessageToJson
from google.protobuf.message import DecodeError, Message

from plugin_gateway.api.v1alpha import api_pb2 as wire19
from plugin_gateway.api.v1alpha1 import api_pb2 as wire18
from plugin_gateway.api.v1beta1 import api_pb2 as wire

_ANSWERS: Mapping[str, Mapping[str, type[Message]]] = {
    "v1beta1": {
        "ListAndWatch": wire.ListAndWatchResponse,
        "Allocate": wire.AllocateResponse,
        "GetPreferredAllocation": wire.PreferredAllocationResponse,
        "GetDevicePluginOptions": wire.DevicePluginOptions,
    },
    "v1alpha2": {"ListAndWatch": wire19.ListAndWatchResponse, "Allocate": wire19.AllocateResponse},
    "0.1": {"ListAndWatch": wire18.ListAndWatchResponse, "Allocate": wire18.AllocateResponse},
}
"""By version string and method."""


class MissedError(Exception):
    """The gateway does not do what it did then."""

    def __init__(self, what: str, details: Sequence[str] = ()) -> None:
        super().__init__(what)
        self.what = what
        self.details = details
        """Further lines."""


def compare(api_version: str, method: str, then: bytes | str, now: bytes | str) -> None:
    """See whether the same is said: an answer's bytes, or words where there was none.

    Raises:
        MissedError: it is not; with the difference.
    """
    if then == now:
        return
    before, after = (_lines(api_version, method, each) for each in (then, now))
    if before == after:  # only the bytes differ
        before, after = ([each.hex() if isinstance(each, bytes) else each] for each in (then, now))
    raise MissedError(f"{method} differs", tuple(unified_diff(before, after, "then", "now", lineterm="", n=1)))


def _lines(api_version: str, method: str, said: bytes | str) -> list[str]:
    if isinstance(said, str):
        return said.split("\n")
    parsed = parsed_answer(api_version, method, said)
    return [said.hex()] if parsed is None else MessageToJson(parsed).split("\n")


def parsed_answer(api_version: str, method: str, answer: bytes) -> Any:
    """Read an answer of this dialect; None where it is none that we know."""
    kind = _ANSWERS.get(api_version, {}).get(method)
    try:
        return kind.FromString(answer) if kind is not None else None
    except DecodeError:
        return None
