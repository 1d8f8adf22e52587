"""Logs what the rules for resources do not offer, and which of them may be a mistake: once while it lasts."""

from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest

from plugin_gateway.adapters.support.logs import log
from plugin_gateway.core.cards import is_card
from plugin_gateway.core.devices import MAX_NAMES, Device, Inventory
from plugin_gateway.core.health.state import State
from plugin_gateway.core.resources.rules import ResourceRule, excluded, unmatched


class RuleLog:
    """What was logged last."""

    def __init__(self) -> None:
        self._unmatched: tuple[Device, ...] = ()
        self._excluded: tuple[Device, ...] = ()
        self._doubts: tuple[str, ...] = ()
        self._without: tuple[ResourceRule, ...] = ()
        self._seen: Sequence[object] = ()

    def look(self, states: Sequence[State], rules: Sequence[ResourceRule], backends: Sequence[str] = ("",)) -> None:
        """Log what is not the same as before. ``states`` are those of all backends, in the order of their names.

        A rule can be about a backend that has not answered. So rules are doubted when all have.
        """
        inventories = [state.inventory for state in states if state.inventory is not None]
        seen = (rules, *inventories)
        if not inventories or all(new is old for new, old in zip_longest(seen, self._seen)):
            return
        self._seen = seen
        self._log_unmatched(tuple(each for state in states for each in unmatched(state.devices, rules)))
        self._log_excluded(tuple(each for state in states for each in excluded(state.devices, rules)))
        has_doubts = len(inventories) == len(states) and any(rule.origin for rule in rules)
        doubts = _doubts(inventories, rules) if has_doubts else ()
        for doubt in doubts:
            if doubt not in self._doubts:
                log.warning("a rule for resources may be a mistake", problem=doubt)
        self._doubts = doubts
        if any(rule.is_always_there for rule in rules):
            known = {
                name: state.inventory
                for name, state in zip(backends, states, strict=True)
                if state.inventory is not None
            }
            self._log_without(_without_devices(known, rules))

    def _log_unmatched(self, devices: tuple[Device, ...]) -> None:
        """Log them. Those that rules choose by their attributes are many, and mostly not meant to be offered."""
        before, self._unmatched = self._unmatched, devices
        others, cards = _others_and_cards(devices)
        others_before, cards_before = _others_and_cards(before)
        if others and others != others_before:
            _log_devices(log.warning, "devices match no rule under resources, they are not offered", others)
        if cards and cards != cards_before:  # a node has some for itself
            _log_devices(log.info, "network cards match no rule under resources, they are not offered", cards)

    def _log_without(self, rules: tuple[ResourceRule, ...]) -> None:
        before, self._without = self._without, rules
        for rule in (each for each in rules if each not in before):
            where = {"where": rule.origin} if rule.origin else {}
            log.warning("no device matches a rule for resources", resource=rule.name, rule=rule.words, **where)

    def _log_excluded(self, devices: tuple[Device, ...]) -> None:
        before, self._excluded = self._excluded, devices
        if devices != before:
            named = [device.id for device in devices[:MAX_NAMES]]
            log.info("devices that a rule excludes are not offered", count=len(devices), devices=named)


def _others_and_cards(devices: Sequence[Device]) -> tuple[Sequence[Device], Sequence[Device]]:
    found: dict[bool, list[Device]] = {False: [], True: []}
    for device in devices:
        found[is_card(device.physical.attributes)].append(device)
    return found[False], found[True]


def _log_devices(write: Callable[..., object], event: str, devices: Sequence[Device]) -> None:
    write(
        event,
        count=len(devices),
        devices=[device.id for device in devices[:MAX_NAMES]],
        products=sorted({device.physical.product for device in devices}),
    )


def _without_devices(inventories: Mapping[str, Inventory], rules: Sequence[ResourceRule]) -> tuple[ResourceRule, ...]:
    from plugin_gateway.core.resources.rule_reasons import without_devices  # noqa: PLC0415 - only with such rules

    return without_devices(inventories, rules)


def _doubts(inventories: Sequence[Inventory], rules: Sequence[ResourceRule]) -> tuple[str, ...]:
    from plugin_gateway.core.resources.rule_reasons import Doubt, doubtful_in_all  # noqa: PLC0415 - with such rules

    return tuple(
        each.words(rules)
        for each in doubtful_in_all(inventories, rules)
        if each.doubt is not Doubt.MATCHES_NOTHING or not rules[each.number].is_always_there  # said by itself
    )
