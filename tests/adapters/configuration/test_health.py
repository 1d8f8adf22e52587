"""What an admin can decide about health, and where and how every mistake in it is told."""

from pathlib import Path

import pytest

from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.health.policy import NOT_ANSWERING, Action, Decision, Probation, family_of
from plugin_gateway.nvidia.evidence import DOUBLE_BIT_ECC, HEALTH_POLICY, PENDING_RETIREMENT, xid_kind

from .conftest import Read

WHOLE = """\
version: v1
health:
  quietTime: 90
  probation: external
  decisionTime: 8
  driverTimeout: 45.5
  flapCount: 5
  flapWindow: 600
  unknownXid: report
  xids:
    79: unhealthy-until-reset
    126-135: ignore
    "48": unhealthy-until-reboot
  evidence:
    pending-retirement: report
"""
ACTIONS = (
    "expected ignore, report, unhealthy, unhealthy-until-driver-decides, unhealthy-until-reset, "
    "unhealthy-until-reboot-or-recovery, unhealthy-until-reboot"
)
COUNTING = (
    "expected unhealthy, unhealthy-until-driver-decides, unhealthy-until-reset, "
    "unhealthy-until-reboot-or-recovery, unhealthy-until-reboot"
)
COUNTS = "expected 2 to 100"
WINDOWS = "expected 1 to 10000000 seconds, also as 90s, 10m or 2h"
XIDS = "expected 1 to 9999 or ranges such as 126-135"


def test_every_key_is_read(read: Read, config_file: Path) -> None:
    policy = read((), {}, WHOLE).health
    assert policy.probation is Probation.EXTERNAL
    times = policy.quiet_time, policy.decision_time, policy.driver_timeout, policy.flap_count, policy.flap_window
    assert times == (90.0, 8.0, 45.5, 5, 600.0)
    assert policy.about(xid_kind(79)) == Decision(Action.UNTIL_RESET, f"file {config_file}:11")
    assert policy.about(xid_kind(48)) == Decision(Action.UNTIL_REBOOT, f"file {config_file}:13")
    assert {policy.about(xid_kind(xid)) for xid in range(126, 136)} == {
        Decision(Action.IGNORE, f"file {config_file}:12")
    }
    assert policy.about(xid_kind(136)) == HEALTH_POLICY.about(xid_kind(136))
    assert policy.about(xid_kind(4000)) == Decision(Action.REPORT, f"file {config_file}:9")
    assert policy.about(PENDING_RETIREMENT) == Decision(Action.REPORT, f"file {config_file}:15")
    assert policy.about(NOT_ANSWERING) == HEALTH_POLICY.about(NOT_ANSWERING)


def health(text: str) -> str:
    """A file with this section, which begins in line 3."""
    return f"version: v1\nhealth:\n{text}\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("  xids: {79: reset}", f"3:14: health.xids.79: invalid value 'reset'; {ACTIONS}"),
        ("  xids: {79: [ignore]}", f"3:14: health.xids.79 is a list; {ACTIONS}"),
        ("  xids: {79: yes}", f"3:14: health.xids.79 is 'yes'; {ACTIONS}"),
        ("  xids: [79]", "3:9: health.xids is a list; expected keys with values"),
        ("  xids: {-5: ignore}", f"3:10: health.xids: '-5' is no XID; {XIDS}"),
        ("  xids: {0: ignore}", f"3:10: health.xids: '0' is no XID; {XIDS}"),
        ("  xids: {9-7: ignore}", f"3:10: health.xids: '9-7' is no XID; {XIDS}"),
        ("  xids: {1-: ignore}", f"3:10: health.xids: '1-' is no XID; {XIDS}"),
        ("  xids: {1-2-3: ignore}", f"3:10: health.xids: '1-2-3' is no XID; {XIDS}"),
        ("  xids: {10000: ignore}", f"3:10: health.xids: '10000' is no XID; {XIDS}"),
        ("  xids: {1-99999999999: ignore}", f"3:10: health.xids: '1-99999999999' is no XID; {XIDS}"),
        ("  xids: {0x4F: ignore}", f"3:10: health.xids: '0x4F' is no XID; {XIDS}"),
        ("  xids: {٣: ignore}", f"3:10: health.xids: '٣' is no XID; {XIDS}"),
        (
            "  xids:\n    10-20: ignore\n    15-30: report",
            "5:5: health.xids.15-30: XID 15 was decided about before, by health.xids.10-20",
        ),
        (
            "  xids:\n    '079': ignore\n    79: report",
            "5:5: health.xids.79: XID 79 was decided about before, by health.xids.79",
        ),
        (
            "  xids: {79: {action: ignore, count: 5, window: 10m}}",
            f"3:23: health.xids.79.action: invalid value 'ignore'; {COUNTING}",
        ),
        ("  xids: {79: {action: unhealthy}}", "3:14: count and window missing in health.xids.79"),
        (
            "  xids: {79: {action: unhealthy, count: 1, window: 10m}}",
            f"3:41: health.xids.79.count: invalid value '1'; {COUNTS}",
        ),
        (
            "  xids: {79: {action: unhealthy, count: 101, window: 10m}}",
            f"3:41: health.xids.79.count: invalid value '101'; {COUNTS}",
        ),
        (
            "  xids: {79: {action: unhealthy, count: ٣, window: 10m}}",
            f"3:41: health.xids.79.count: invalid value '٣'; {COUNTS}",
        ),
        (
            "  xids: {79: {action: unhealthy, count: 2, window: 0}}",
            f"3:52: health.xids.79.window: invalid value '0'; {WINDOWS}",
        ),
        (
            "  xids: {79: {action: unhealthy, count: 2, window: 5d}}",
            f"3:52: health.xids.79.window: invalid value '5d'; {WINDOWS}",
        ),
        (
            "  xids: {79: {action: unhealthy, count: 2, window: nanm}}",
            f"3:52: health.xids.79.window: invalid value 'nanm'; {WINDOWS}",
        ),
        (
            "  xids: {79: {action: unhealthy, count: 2, window: 9999h}}",
            f"3:52: health.xids.79.window: invalid value '9999h'; {WINDOWS}",
        ),
        ("  xids: {79: {action: unhealthy, count: 2, window: []}}", "3:52: health.xids.79.window is an empty list"),
        (
            "  xids: {79: {action: unhealthy, count: 2, windw: 5}}",
            "3:44: unknown key health.xids.79.windw, known are action, count, window",
        ),
        (
            "  evidence: {recovery-action: {action: unhealthy, count: 2, window: 5m}}",
            "3:31: health.evidence.recovery-action is a mapping; expected an action: a check finds this evidence, ",
        ),
        ("  unknownXid: maybe", f"3:15: health.unknownXid: invalid value 'maybe'; {ACTIONS}"),
        ("  evidence: {row-remap: ignore}", "3:14: unknown key health.evidence.row-remap, known are double-bit-ecc, "),
        ("  evidence: {driver-gone: off}", f"3:27: health.evidence.driver-gone is 'off'; {ACTIONS}"),
        ("  quietTme: 5", "3:3: unknown key health.quietTme, did you mean health.quietTime?"),
        ("  kernelLog: true", "3:3: unknown key health.kernelLog, it can only be given by --kernel-log or KERNEL_LOG"),
        ("  quietTime: -1", "3:14: health.quietTime: invalid value '-1'; expected 0 to 10000000 seconds"),
        ("  quietTime: .nan", "3:14: health.quietTime: invalid value '.nan'; expected 0 to 10000000 seconds"),
        ("  quietTime: 1_0", "3:14: health.quietTime: invalid value '1_0'; expected 0 to 10000000 seconds"),
        ("  quietTime: nan", "3:14: health.quietTime: invalid value 'nan'; expected 0 to 10000000 seconds"),
        ("  probation: never", "3:14: health.probation: invalid value 'never'; expected quiet-time, external"),
        ("  decisionTime: 0.5", "3:17: health.decisionTime: invalid value '0.5'; expected 1 to 600 seconds"),
        ("  decisionTime: 601", "3:17: health.decisionTime: invalid value '601'; expected 1 to 600 seconds"),
        ("  driverTimeout: 5", "3:18: health.driverTimeout: invalid value '5'; expected 10 to 10000000 seconds"),
        ("  flapCount: 0", "3:14: health.flapCount: invalid value '0'; expected 1 to 1000"),
        ("  flapWindow: 1e99", "3:15: health.flapWindow: invalid value '1e99'; expected 1 to 10000000 seconds"),
    ],
)
def test_a_mistake_is_told_with_its_place(text: str, words: str, read: Read, config_file: Path) -> None:
    with pytest.raises(InvalidValueError) as caught:
        read((), {}, health(text))
    assert str(caught.value).replace(f"{config_file}:", "").startswith(words)


@pytest.mark.parametrize(
    ("window", "seconds"),
    [("90", 90.0), ("1.5", 1.5), ("90s", 90.0), ("10m", 600.0), ("1.5h", 5400.0), ("'600'", 600.0)],
)
def test_evidence_can_be_asked_to_be_repeated(window: str, seconds: float, read: Read, config_file: Path) -> None:
    repeated = f"{{action: unhealthy-until-reset, count: 5, window: {window}}}"
    text = health(
        f"  xids: {{90-94: {repeated}}}\n  unknownXid: {repeated}\n  evidence: {{double-bit-ecc: {repeated}}}"
    )
    policy = read((), {}, text).health
    for line, kind in enumerate((xid_kind(94), xid_kind(4000), DOUBLE_BIT_ECC), 3):
        assert policy.about(kind) == Decision(Action.UNTIL_RESET, f"file {config_file}:{line}", 5, seconds)


@pytest.mark.parametrize("section", ["", "{}", "{xids: {}}"])
def test_an_empty_section_decides_nothing(section: str, read: Read) -> None:
    assert read((), {}, f"version: v1\nhealth: {section}\n").health == HEALTH_POLICY


def test_disabled_xids_are_ignored_and_enabled_ones_count(read: Read) -> None:
    policy = read((), {"DP_DISABLE_HEALTHCHECKS": "79, 31", "DP_ENABLE_HEALTHCHECKS": "13,31,48"}).health
    assert policy.about(xid_kind(79)) == Decision(Action.IGNORE, "environment DP_DISABLE_HEALTHCHECKS")
    assert policy.about(xid_kind(31)) == Decision(Action.UNHEALTHY, "environment DP_ENABLE_HEALTHCHECKS")
    assert policy.about(xid_kind(13)).action is Action.UNHEALTHY
    assert policy.about(xid_kind(48)).action is Action.UNTIL_RESET
    others = [kind for kind in HEALTH_POLICY.kinds if family_of(kind) is None]
    assert [policy.about(kind) for kind in others] == [HEALTH_POLICY.about(kind) for kind in others]


@pytest.mark.parametrize("word", ["all", "ALL", "xids", "1,xids"])
def test_an_enabled_xid_counts_although_all_are_disabled(word: str, read: Read) -> None:
    """NVIDIA's own comment says so; its code does not."""
    policy = read((), {"DP_DISABLE_HEALTHCHECKS": word, "DP_ENABLE_HEALTHCHECKS": "79"}).health
    assert policy.about(xid_kind(79)).action is Action.UNTIL_REBOOT_OR_RECOVERY
    others = {policy.about(xid_kind(xid)).action for xid in range(1, 200) if xid != 79}
    assert others == {Action.IGNORE}
    assert {policy.about(kind).action for kind in policy.kinds if family_of(kind) is None} == {Action.IGNORE}


def test_all_can_be_enabled(read: Read) -> None:
    policy = read((), {"DP_ENABLE_HEALTHCHECKS": "all"}).health
    assert all(policy.about(xid_kind(xid)).action.needs is not None for xid in range(1, 200))


def test_the_environment_beats_the_file(read: Read) -> None:
    text = health("  xids: {79: ignore}")
    assert (
        read((), {"DP_ENABLE_HEALTHCHECKS": "79"}, text).health.about(xid_kind(79)).action
        is Action.UNTIL_REBOOT_OR_RECOVERY
    )
    text = health("  xids: {31: unhealthy}")
    assert read((), {"DP_DISABLE_HEALTHCHECKS": "31"}, text).health.about(xid_kind(31)).action is Action.IGNORE


@pytest.mark.parametrize("word", ["some", "-1", "1;2", "1 2", "٣", "9" * 99])
def test_what_is_no_list_of_xids_is_refused(word: str, read: Read) -> None:
    with pytest.raises(InvalidValueError, match=r"DP_DISABLE_HEALTHCHECKS: .* expected XIDs with commas"):
        read((), {"DP_DISABLE_HEALTHCHECKS": word})
