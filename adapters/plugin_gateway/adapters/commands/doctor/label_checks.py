"""Checks whether the node has the labels and taints that the gateway wants it to have."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from plugin_gateway.adapters.cluster.label_way import LabelError, Way
from plugin_gateway.adapters.commands.doctor.findings import Finding, hint, mend, unseen, well
from plugin_gateway.adapters.commands.label_ways import make_way
from plugin_gateway.adapters.configuration.settings import Settings
from plugin_gateway.adapters.control.control_client import ControlError, ask_all
from plugin_gateway.adapters.gateway.status import LabelsStatus
from plugin_gateway.core.labels.ownership import key_of_taint

LIMIT = 5.0
"""Seconds for the one call of the API server."""
_SHOWN = 5
"""How many labels a finding names."""
_RIGHTS = "docs/labels.md says which rights and mounts each way needs"


def check_labels(settings: Settings, is_vendors_label: Callable[[str], bool]) -> Iterator[Finding]:
    """Compare what the gateways of this node want with what is there. Nothing is found where none writes labels."""
    told = _told(settings.state_dir)
    for labels in told:
        if labels.problem:
            yield mend(f"the labels of the node cannot be written: {labels.problem}", _RIGHTS)
        yield from left(labels)
    if told and settings.needs_labels:
        yield compare(make_way(settings, is_vendors_label), told)


def _told(state_dir: Path) -> Sequence[LabelsStatus]:
    """Return what the gateways that run here say of labels. What hangs is a finding of others."""
    try:
        gateways = ask_all(state_dir)
    except ControlError:
        return ()
    found = [each.status.labels for each in gateways if each.status is not None]
    return [each for each in found if each is not None and each.where is not None]


def left(labels: LabelsStatus) -> Iterator[Finding]:
    """Yield what is not written on purpose."""
    if labels.left_alone:
        yield hint(
            f"somebody else writes labels of the node: {_words(labels.left_alone)}",
            "end the other program, and take them over with --node-labels-adopt",
        )
    if labels.left_out:
        yield hint(f"labels are left out: {_words(labels.left_out)}")


def compare(way: Way, told: Sequence[LabelsStatus]) -> Finding:
    """Compare what is there with what gateways want. Of several gateways one writes."""
    try:
        found = asyncio.run(_read(way))
    except LabelError as error:
        return unseen(f"the labels of {way.where} cannot be read here: {error}", "run doctor in the pod of the gateway")
    except TimeoutError:
        return unseen(f"the labels of {way.where} could not be read within {LIMIT:g} s", "see the API server")
    differences = [_differences(each, found) for each in told]
    fewest = min(differences, key=len)
    if fewest:
        return mend(
            f"{way.where} has not the labels that it should have: {_words(fewest)}",
            "the gateway writes them again within 5 minutes; if they change back, see who else writes them",
        )
    count = len(told[0].wanted) + len(told[0].taints)
    return well(f"{way.where} has the {count} labels and taints that it should have")


async def _read(way: Way) -> Mapping[str, str]:
    async with asyncio.timeout(LIMIT):
        return await way.read()


def _differences(labels: LabelsStatus, found: Mapping[str, str]) -> Mapping[str, str]:
    """Return what is missing or other than it should be, except what is left alone."""
    wanted = {**labels.wanted, **dict(map(_key_and_value, labels.taints))}
    return {
        key: f"{found[key]!r} where {value!r} belongs" if key in found else f"{value!r} is missing"
        for key, value in wanted.items()
        if found.get(key) != value and key not in labels.left_alone
    }


def _key_and_value(taint: str) -> tuple[str, str]:
    """Return the key of a taint, with its effect, and its value."""
    name, _, rest = taint.partition("=")
    value, _, effect = rest.rpartition(":")
    return key_of_taint(name, effect), value


def _words(found: Mapping[str, str]) -> str:
    shown = "; ".join(f"{name}: {what}" for name, what in list(found.items())[:_SHOWN])
    more = len(found) - _SHOWN
    return f"{shown}; and {more} more" if more > 0 else shown
