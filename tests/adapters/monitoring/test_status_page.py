"""The page by itself: its colours, its policy, its size, and that texts stay texts."""

import re
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from itertools import product

import pytest

from harness.pages import page_with
from harness.statuses import BARE, RESOURCE
from plugin_gateway.adapters.gateway.device_status import DeviceStatus, PortStatus
from plugin_gateway.adapters.gateway.status import GatewayIdentity, Status
from plugin_gateway.adapters.monitoring.device_tiles import tiles
from plugin_gateway.adapters.monitoring.page_look import POLICY, STYLE
from plugin_gateway.core.health.faults import Evidence, Stage
from plugin_gateway.nvidia.evidence import xid_kind
from plugin_gateway.nvidia.remedies import remedy_for

EVIL = "</style></script><script>alert(1)</script>' onload='alert(1)' \"&\x1b\u202e"
LIGHT, DARK = STYLE.split("prefers-color-scheme: dark")
TEXTS, GROUNDS = ("text", "soft", "good", "bad", "wait", "link"), ("page", "tile")


def colours(style: str) -> Mapping[str, str]:
    return dict(re.findall(r"--(\w+): #([0-9a-f]{6})", style))


def brightness(colour: str) -> float:
    """The relative luminance of WCAG 2."""
    parts = (int(colour[place : place + 2], 16) / 255 for place in (0, 2, 4))
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, bright = sorted((brightness(one), brightness(other)))
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("style", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize(("text", "ground"), [*product(TEXTS, GROUNDS)])
def test_every_text_can_be_read_on_what_is_behind_it(style: str, text: str, ground: str) -> None:
    known = colours(style)
    assert contrast(known[text], known[ground]) >= 4.5


@pytest.mark.parametrize("style", [LIGHT, DARK], ids=["light", "dark"])
def test_what_the_bars_show_can_be_told_from_what_is_beside_it(style: str) -> None:
    known = colours(style)
    assert all(
        contrast(known[shape], known[beside]) >= 3 for shape, beside in product(("good", "bad"), ("tile", "line"))
    )


def test_no_colour_is_used_but_the_compared_ones() -> None:
    assert set(re.findall(r"(?<![-\w])color: ([^;}]+)", STYLE)) <= {f"var(--{name})" for name in TEXTS} | {
        f"var(--{name}) " for name in TEXTS
    }
    assert {each.strip() for each in re.findall(r"background: ([^;}]+)", STYLE)} <= {
        "var(--page)",
        "var(--tile)",
        "var(--line)",
    }
    assert "opacity" not in STYLE
    assert len(re.findall(r"#[0-9a-f]{6}\b", STYLE)) == len(colours(LIGHT)) + len(colours(DARK))


def test_the_policy_allows_the_style_and_the_script_of_the_page_and_no_other() -> None:
    page = page_with(BARE)
    for tag in ("style", "script"):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        assert f"{tag}-src 'sha256-{b64encode(sha256(content.encode()).digest()).decode()}'" in POLICY
    assert "unsafe" not in POLICY
    assert not re.search(r"\s(style|on\w+)=|src=|url\(|@import", page)


class _Reader(HTMLParser):
    """Collects the elements, with their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, frozenset[str]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, frozenset(name for name, _ in attrs)))


def sick(words: str) -> DeviceStatus:
    return DeviceStatus(
        id=words, index=0, product=words, pci_address=words, resource=words, health=Stage.UNHEALTHY, reason=words,
        since=0.0, needs=words, evidence=(Evidence(words, 0.0, xid_kind(79)),), attributes={"function": (words,)},
        ports=(PortStatus(number=1, layer=words, is_up=False, words=words, changes=0),),
    )  # fmt: skip


def page_about(words: str) -> str:
    part = replace(sick(words), id=f"{words}1", physical=words, place=words, profile=words)
    status = replace(
        BARE,
        gateway=GatewayIdentity(host=words, version=words),
        devices=(replace(sick(words), id=f"{words}0"), part),
        resources=(replace(RESOURCE, name=words, fallback=words),),
    )
    held = tiles(status, {f"{words}0": words, f"{words}1": words}, remedy_for)
    return page_with(status) + held


def test_a_text_with_markup_makes_no_element_and_no_attribute() -> None:
    assert _Reader(page_about(EVIL)).found == _Reader(page_about("plain")).found
    assert "\x1b" not in page_about(EVIL)


def many() -> Iterator[DeviceStatus]:
    """16 GPUs with 7 MIG devices each, and 32 ports of network cards."""
    for index, part in product(range(16), range(7)):
        yield DeviceStatus(
            id=f"MIG-{index:08x}-{part:04x}-0000-0000-000000000000",
            physical=f"GPU-{index:08x}-0000-0000-0000-000000000000", profile="1g.10gb", place=f"{index}:{part}",
            index=index, product="NVIDIA H100 80GB HBM3", pci_address=f"0000:{index:02x}:00.0",
            resource="nvidia.com/mig-1g.10gb", health=Stage.UNHEALTHY if (index, part) == (9, 2) else Stage.HEALTHY,
            reason="XID 79", needs="a reset",
        )  # fmt: skip
    for index in range(32):
        address = f"0000:a{index // 16}:{index % 16:02x}.0"
        yield DeviceStatus(
            id=address, index=index, product="ConnectX-7", pci_address=address, resource="rdma/nic",
            health=Stage.HEALTHY, attributes={"function": ("pf",), "interface": (f"ens{index}np0",)},
            ports=(PortStatus(number=1, layer="Ethernet", is_up=True, words="ACTIVE", rate_gbps=400, changes=1),),
        )  # fmt: skip


def largest() -> Status:
    return replace(BARE, devices=tuple(many()))


def test_many_devices_are_a_small_page_with_the_sick_one_first() -> None:
    page = page_with(largest())
    sections = page.split("<section ")[1:]
    assert len(page.encode()) < 48 * 1024
    assert len(sections) == 16 + 32
    assert "<b>9</b> <span class=unhealthy>unhealthy" in sections[0]
    assert sections[0].count("<li ") == 7
    assert "<b>9:2</b> <span class=unhealthy>unhealthy</span> 1g.10gb" in sections[0]
    assert all("class='tile'" in each for each in sections[1:])


def test_making_the_largest_page_holds_up_nothing() -> None:
    status, took = largest(), []
    for _ in range(5):
        began = time.perf_counter()
        page_with(status)
        took.append(time.perf_counter() - began)
    assert min(took) < 0.05, "seconds in the event loop; here it takes some milliseconds"
