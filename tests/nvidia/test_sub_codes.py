"""Every row of NVIDIA's table of the sub-codes of NVLink 5 errors, in both forms of the registers."""

import csv
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugin_gateway.nvidia.sub_codes import ROWS, SEVEREST, Registers, SubCodeAction, decode

with (Path(__file__).parent / "xid-144-150.csv").open() as file:
    SHEET = list(csv.DictReader(file))


def registers(pattern: str, status: str, word: str, *, filler: str = "0") -> Registers:
    """The registers that a pattern of the sheet stands for; what it leaves open is filled."""
    value = int(pattern.replace("-", filler), 2)
    number = int((status or "0x00000000").split("/")[0], 16)
    return Registers(value, number, says_fatal=word.startswith(("Fatal", "Link Fatal")))


def described(row: dict[str, str]) -> str:
    return f"{row['xid']}-{row['subcode']}-{row['error_status'] or row['intrinfo_v1_below_r575'][6:12]}"


@pytest.mark.parametrize("column", ["intrinfo_v1_below_r575", "intrinfo_v2_r575"])
@pytest.mark.parametrize("row", SHEET, ids=described)
def test_every_row_in_both_forms(row: dict[str, str], column: str) -> None:
    for filler in "01":
        asked = registers(row[column], row["error_status"], row["severity"], filler=filler)
        for branch in (570, 575, 580, None):
            decoded = decode(int(row["xid"]), asked, branch)
            assert decoded.action.name == row["recovery_action"]
            assert decoded.what.startswith(f"XID {row['xid']} ")
            # Below R575, two units of XID 146 have the same number.
            assert row["subcode"].rstrip("01") in decoded.what or row["xid"] == "150"


@pytest.mark.parametrize("column", ["v1_decode_action2", "v2_decode_action2"])
@pytest.mark.parametrize("row", [row for row in SHEET if row["action2"]], ids=described)
def test_a_row_with_a_second_action_has_it_for_its_second_pattern(row: dict[str, str], column: str) -> None:
    asked = registers(row[column], row["error_status"], row["severity"])
    assert decode(int(row["xid"]), asked, None).action.name == row["action2"]


def test_there_is_no_other_row() -> None:
    rows = {(int(row["xid"]), row["subcode"]) for row in SHEET}
    assert {(row.xid, row.unit) for row in ROWS} == rows
    assert len(SHEET) == 95
    second, both_statuses = sum(bool(row["action2"]) for row in SHEET), 1
    assert len(ROWS) == 95 + second + both_statuses


def test_the_two_forms_of_an_xid_have_no_value_in_common() -> None:
    """So it does no harm to try the other form too."""
    for xid in set(SEVEREST) - {150}:
        below = {row.below_r575[-7:] for row in ROWS if row.xid == xid}
        assert below.isdisjoint({row.from_r575[-7:] for row in ROWS if row.xid == xid})


def test_several_bits_have_the_severest_action() -> None:
    remap = 0b0010000010
    for status, action in {
        0x300: SubCodeAction.IGNORE,
        0x301: SubCodeAction.XID_154_EVAL,
        0x341: SubCodeAction.RESET_GPU,
    }.items():
        assert decode(145, Registers(remap, status, says_fatal=False), 570).action is action


@pytest.mark.parametrize(
    "asked",
    [
        Registers(0b0010000010, 0x400, says_fatal=False),
        Registers(0b0010000010, 0x500, says_fatal=False),
        Registers(0b0010000010, 0, says_fatal=False),
        Registers(0b0010000010, None, says_fatal=False),
        Registers(0b0010000010, 0x100, says_fatal=True),
        Registers(0b0010000010 | 1 << 20, 0x100, says_fatal=False),
        Registers(0, 0x100, says_fatal=False),
    ],
    ids=["a bit", "a bit beside another", "no bit", "no status", "the word Fatal", "a number", "a unit"],
)
def test_what_the_table_does_not_have_is_the_severest_of_its_xid(asked: Registers) -> None:
    assert decode(145, asked, 570) == (
        SubCodeAction.RESET_GPU,
        "XID 145 with a sub-code that NVIDIA's table does not have",
    )


def test_a_status_that_is_a_whole_value_is_no_set_of_bits() -> None:
    event = 0b0010100
    assert decode(149, Registers(event, 0x3, says_fatal=False), 580).action is SubCodeAction.IGNORE
    assert decode(149, Registers(event, 0x2, says_fatal=False), 580).action is SubCodeAction.RESET_GPU
    assert "does not have" in decode(149, Registers(event, 0x6, says_fatal=False), 580).what


@settings(deadline=None)
@given(
    st.sampled_from(sorted(SEVEREST)),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.booleans(),
    st.sampled_from((None, 535, 570, 575, 580)),
)
def test_whatever_the_registers_say_there_is_an_action(
    xid: int, intrinfo: int, status: int, says_fatal: bool, branch: int | None
) -> None:
    decoded = decode(xid, Registers(intrinfo, status, says_fatal=says_fatal), branch)
    assert decoded.action <= SEVEREST[xid]
    assert decoded.what.isprintable()
