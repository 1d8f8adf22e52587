"""The causes of a fault, and the line that names them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.health.story import EPOCH, GPU, OTHER, Story
from plugin_gateway.core.devices import MAX_NAMES, DeviceId, FaultId
from plugin_gateway.core.health.faults import Evidence, Fault, Source
from plugin_gateway.core.health.observations import EvidenceReported
from plugin_gateway.core.health.policy import EvidenceKind, Needs
from plugin_gateway.core.health.remedies import Cause, Remedies, Remedy, causes_of, of_several, summarize
from plugin_gateway.nvidia.evidence import xid_kind

EVIDENCE = st.builds(
    Evidence, st.text(max_size=3), st.floats(0, 10), since=st.none() | st.floats(0, 10), source=st.sampled_from(Source)
)
FAULTS = st.builds(
    Fault, since=st.just(0.0), evidence=st.lists(EVIDENCE, min_size=1).map(tuple), needs=st.just(Needs.CHECK)
)


def remedy(evidence: Evidence) -> Remedy:
    return Remedy(action=f"DO_{evidence.kind}".upper()) if evidence.kind else Remedy()


def test_what_came_again_is_one_cause_with_its_first_and_its_last_time() -> None:
    story = Story().see(EvidenceReported(xid_kind(79), GPU))
    for seconds, xid in ((1.0, 48), (2.0, 79), (3.0, 48)):
        story.now = seconds
        story.see(EvidenceReported(xid_kind(xid), GPU))
    assert causes_of(story.fault.evidence, lambda _: Remedy()) == (
        Cause(xid_kind(79), "XID 79", Source.EVENT, EPOCH, EPOCH + 2, Remedy()),
        Cause(xid_kind(48), "XID 48", Source.EVENT, EPOCH + 1, EPOCH + 3, Remedy()),
    )


@pytest.mark.parametrize(
    ("limit", "line"),
    [
        (200, "{0}: a (DO_A), b, c (DO_C); {1}: a (DO_A)"),
        (40, "{0}: a (DO_A); {1}: a (DO_A)"),
        (20, "{0}: a; {1}: a"),
        (5, "{0}"),
    ],
)
def test_a_line_says_as_much_as_fits(limit: int, line: str) -> None:
    def fault(*kinds: str) -> Fault:
        evidence = tuple(Evidence(each, 0.0, EvidenceKind(each if each != "b" else "")) for each in kinds)
        return Fault(since=0.0, evidence=evidence, needs=Needs.CHECK)

    faults: dict[FaultId, Fault] = {GPU: fault("a", "b", "c"), OTHER: fault("a")}
    assert summarize(faults, remedy, limit) == line.format(GPU, OTHER)[:limit]


@given(st.dictionaries(st.integers(0, 99).map(lambda n: DeviceId(f"GPU-{n}")), FAULTS), st.integers(0, 2000))
def test_a_line_keeps_its_limits_and_every_cause_has_its_times_in_order(
    faults: dict[FaultId, Fault], limit: int
) -> None:
    line = summarize(faults, remedy, limit)
    assert len(line) <= limit
    assert line.count("GPU-") <= MAX_NAMES
    for fault in faults.values():
        causes = causes_of(fault.evidence, remedy)
        assert [cause.what for cause in causes] == list(dict.fromkeys(each.what for each in fault.evidence))


def test_what_several_vendors_know_is_told_with_the_words_for_their_devices() -> None:
    known = {"a": Remedy(action="RESET", todo="reset it"), "both": Remedy(todo="look at it"), "same": Remedy(todo="x")}
    others = {"b": Remedy(todo="plug it in"), "both": Remedy(todo="look at its cable"), "same": Remedy(todo="x")}

    def about(remedies: dict[str, Remedy]) -> Remedies:
        return lambda evidence: remedies.get(evidence.kind, Remedy())

    one, both = about(known), of_several({"GPU": about(known), "card": about(others)})
    assert of_several({"GPU": one}) is one
    told = {kind: both(Evidence(kind, 0.0, EvidenceKind(kind))) for kind in ("a", "b", "both", "c")}
    assert told == {
        "a": known["a"],
        "b": others["b"],
        "both": Remedy(todo="GPU: look at it; card: look at its cable"),
        "c": Remedy(),
    }
    assert both(Evidence("same", 0.0, EvidenceKind("same"))) == Remedy(todo="x")
