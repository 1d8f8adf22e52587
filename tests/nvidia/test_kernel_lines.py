"""Lines of the kernel's log, in every form that drivers print, and lines that are no such thing."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugin_gateway.nvidia.kernel_lines import SxidLine, XidLine, parse
from plugin_gateway.nvidia.sub_codes import Registers


def record(message: str, prefix: int = 3) -> bytes:
    return f"{prefix},1234,5678901,-;{message}".encode()


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("NVRM: Xid (PCI:0000:1b:00): 79, pid=1, name=python, GPU has fallen off the bus.", ("0000:1b:00.0", 79, None)),
        ("NVRM: Xid (PCI:0000:1B:00): 31, pid='<unknown>', name=<unknown>, Ch 00000008", ("0000:1b:00.0", 31, None)),
        ("NVRM: Xid (PCI:00010000:1b:00.0): 13, Graphics Exception", ("10000:1b:00.0", 13, None)),
        ("NVRM: Xid (0000:03:00): 14, Channel 00000001", ("0000:03:00.0", 14, None)),
        (
            "NVRM: Xid (PCI:0018:01:00): 149, NETIR_LINK_EVT  Fatal   XC0 i0 Link 02 (0x004505c6 0x00000000 0x0 0x0)",
            ("0018:01:00.0", 149, Registers(0x004505C6, 0, says_fatal=True)),
        ),
        (
            "NVRM: Xid (PCI:0000:1e:00): 145, pid=4, name=<unknown>, RLW_SRC_TRACK Nonfatal XC0 i1 Link 00 (0x7 0x2)",
            ("0000:1e:00.0", 145, Registers(0x7, 0x2, says_fatal=False)),
        ),
        (
            "NVRM: Xid (PCI:0000:1e:00): 149, NETIR_LINK_EVT Fatal XC 1 i 2 Link 01 [0x000005c6]",
            ("0000:1e:00.0", 149, Registers(0x5C6, None, says_fatal=True)),
        ),
        ("NVRM: Xid (PCI:0000:1e:00): 144, SAW_MVB Nonfatal XC0 i0 Link 05", ("0000:1e:00.0", 144, None)),
        (
            "NVRM: Xid (PCI:0000:1e:00): 31, pid=1, name=x Fatal XC0 i0 Link 05 (0x1 0x2)",
            ("0000:1e:00.0", 31, None),
        ),
    ],
)
def test_the_forms_of_an_xid(message: str, line: tuple[str, int, Registers | None]) -> None:
    assert parse(record(message)) == XidLine(*line)


@pytest.mark.parametrize("word", ["Fatal", "Non-fatal"])
def test_an_error_of_a_switch(word: str) -> None:
    message = f"nvidia-nvswitch0: SXid (PCI:0000:c3:00.0): 12028, {word}, Link 46 egress non-posted PRIV error (First)"
    assert parse(record(message)) == SxidLine("0000:c3:00.0", 12028, is_fatal=word == "Fatal")


@pytest.mark.parametrize(
    "message",
    [
        "nvidia-nvswitch3: SXid (PCI:0000:08:00.0): 22013, Severity 0 Engine instance 60 Sub-engine instance 00",
        "nvidia-nvswitch3: SXid (PCI:0000:08:00.0): 22013, Data {0x0000003c}",
        "somebody said: NVRM: Xid (PCI:0000:1b:00): 79, GPU has fallen off the bus.",
        "NVRM: Xid (PCI:0000:1b:00): 79",
        "NVRM: Xid (PCI:0000:1b:00): ",
        "NVRM: Xid (PCI:0000:1b",
        "NVRM: Xid (PCI:zzzz:1b:00): 79, x",
        "NVRM: Xid (PCI:0000:1b:00): 123456789, x",
        "NVRM: GPU at PCI:0000:1b:00: GPU-1",
        "",
    ],
)
def test_what_is_no_such_line_or_was_cut_before_its_number_ends(message: str) -> None:
    assert parse(record(message)) is None


WHOLE = "NVRM: Xid (PCI:0000:1b:00): 145, RLW_REMAP Nonfatal XC0 i0 Link 13 (0x04000082 0x00000100 0x00000000)"


@settings(deadline=None)
@given(st.integers(0, len(WHOLE)))
def test_a_line_that_was_cut_says_the_same_or_less(end: int) -> None:
    line = parse(record(WHOLE[:end]))
    assert line in (
        None,
        XidLine("0000:1b:00.0", 145, None),
        XidLine("0000:1b:00.0", 145, Registers(0x04000082, 0x100, says_fatal=False)),
    )


@pytest.mark.parametrize("prefix", [8, 11, 14, 30, 187, 4_000_000_000])
def test_what_a_program_wrote_does_not_count(prefix: int) -> None:
    assert parse(record("NVRM: Xid (PCI:0000:1b:00): 79, GPU has fallen off the bus.", prefix)) is None


@pytest.mark.parametrize("prefix", range(8))
def test_every_level_of_the_kernel_counts(prefix: int) -> None:
    assert parse(record("NVRM: Xid (PCI:0000:1b:00): 79, GPU has fallen off the bus.", prefix)) is not None


def test_another_encoding_does_no_harm() -> None:
    message = b"3,1,2,-;NVRM: Xid (PCI:0000:1b:00): 31, name=\xff\xfe\\xe4\xe4, Ch 00000008"
    assert parse(message) == XidLine("0000:1b:00.0", 31, None)


@pytest.mark.parametrize("raw", [b"", b"\n", b";", b" SUBSYSTEM=pci", b"3;NVRM: Xid", b"x,1,2,-;NVRM: Xid", b"\0" * 99])
def test_a_record_without_a_prefix_is_none(raw: bytes) -> None:
    assert parse(raw) is None


@settings(deadline=None)
@given(st.binary() | st.text().map(str.encode) | st.text().map(record))
def test_no_bytes_are_an_error(raw: bytes) -> None:
    parse(raw)
