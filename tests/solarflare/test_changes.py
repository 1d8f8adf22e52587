"""Whatever befalls the cards and Onload, in whatever order: what is said is what somebody says who looks first now."""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from cards.builder import Cards
from plugin_gateway.solarflare.evidence import ONLOAD_MISSING

from .looking import DOWN, FIRST, SECOND, Look, at, host

NODE = "/dev/onload_epoll"


def _unplug(cards: Cards) -> None:
    if FIRST in cards.functions:
        cards.unplug(FIRST)


def _plug(cards: Cards) -> None:
    if FIRST in cards.unplugged:
        cards.plug(FIRST)


def _no_driver(cards: Cards) -> None:
    if FIRST in cards.functions:
        cards.no_driver(FIRST)


def _bind(cards: Cards) -> None:
    if FIRST in cards.functions:
        cards.bind(FIRST)
        cards.take_back(FIRST)


CHANGES: Mapping[str, Callable[[Cards], object]] = {
    "load": Cards.load_onload,
    "unload": Cards.unload_onload,
    "unplug": _unplug,
    "plug": _plug,
    "no driver": _no_driver,
    "bind": _bind,
    "give away": lambda cards: cards.give_away(SECOND),
    "take back": lambda cards: cards.take_back(SECOND),
    "link lost": lambda cards: _with_interface(cards, DOWN, lambda: cards.carrier(DOWN, is_up=False)),
    "link back": lambda cards: _with_interface(cards, DOWN, lambda: cards.carrier(DOWN, is_up=True)),
    "off": lambda cards: _with_interface(cards, DOWN, lambda: cards.switch_off(DOWN)),
    "no library": lambda cards: cards.files.remove("/opt/onload/usr/lib64/libonload.so"),
    "library": lambda cards: cards.install_onload(),
    "no node": lambda cards: cards.files.remove(NODE),
    "not accelerated": lambda cards: cards.accelerate(SECOND, is_on=False),
}


def _with_interface(cards: Cards, name: str, change: Callable[[], object]) -> None:
    if cards.files.at(f"/sys/class/net/{name}").exists():
        change()


def _told(look: Look) -> object:
    return look.ids, look.problems, look.ports, look.inventory.rejected, look.inventory.set_aside


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(sorted(CHANGES)), max_size=12), st.booleans())
def test_after_any_changes_the_cards_are_those_of_a_first_look(changes: list[str], loaded: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        cards = host(Path(folder), loaded=loaded)
        looker = at(cards)
        indexes: dict[str, int] = {}
        for change in ("", *changes):
            if change:
                CHANGES[change](cards)
            look = looker.look()
            assert _told(look) == _told(at(cards).look())
            assert look.ids == [each for each in (FIRST, SECOND) if each in cards.functions]
            for each in look.inventory.physical:
                assert indexes.setdefault(each.id, each.index) == each.index
            if look.problems[SECOND].get(ONLOAD_MISSING) is None:
                assert all(cards.files.at(node).exists() for node in ("/dev/onload", NODE, "/dev/sfc_char"))
            interface = look.inventory.physical[-1].attributes["interface"]
            assert interface == (DOWN,)
