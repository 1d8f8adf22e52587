"""Logs what the rules for resources do not offer, and which of them may be a mistake: once while it lasts."""

from collections.abc import Sequence

from plugin_gateway.adapters.support.logs import log
from plugin_gateway.core.devices import MAX_NAMES, Device, Inventory
from plugin_gateway.core.health.state import State
from plugin_gateway.core.resources.assignment import excluded, unmatched
from plugin_gateway.core.resources.rules import ResourceRule


class RuleLog:
    """What was logged last."""

    def __init__(self) -> None:
        self._unmatched: tuple[Device, ...] = ()
        self._excluded: tuple[Device, ...] = ()
        self._doubts: tuple[str, ...] = ()
        self._seen: tuple[Inventory | None, Sequence[ResourceRule]] = (None, ())

    def look(self, state: State, rules: Sequence[ResourceRule]) -> None:
        """Log what is not the same as before."""
        seen = (state.inventory, rules)
        if state.inventory is None or all(new is old for new, old in zip(seen, self._seen, strict=True)):
            return
        self._seen = seen
        self._log_unmatched(unmatched(state, rules))
        self._log_excluded(excluded(state, rules))
        doubts = _doubts(state.inventory, rules) if any(rule.origin for rule in rules) else ()
        for doubt in doubts:
            if doubt not in self._doubts:
                log.warning("a rule for resources may be a mistake", problem=doubt)
        self._doubts = doubts

    def _log_unmatched(self, devices: tuple[Device, ...]) -> None:
        before, self._unmatched = self._unmatched, devices
        if devices and devices != before:
            log.warning(
                "devices match no rule under resources, they are not offered",
                count=len(devices),
                devices=[device.id for device in devices[:MAX_NAMES]],
                products=sorted({device.physical.product for device in devices}),
            )

    def _log_excluded(self, devices: tuple[Device, ...]) -> None:
        before, self._excluded = self._excluded, devices
        if devices != before:
            named = [device.id for device in devices[:MAX_NAMES]]
            log.info("devices that a rule excludes are not offered", count=len(devices), devices=named)


def _doubts(inventory: Inventory, rules: Sequence[ResourceRule]) -> tuple[str, ...]:
    from plugin_gateway.core.resources.rule_reasons import doubtful  # noqa: PLC0415 - only where somebody wrote rules

    return tuple(each.words(rules) for each in doubtful(inventory, rules))
