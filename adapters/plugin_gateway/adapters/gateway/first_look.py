"""Reads the first inventory of a backend, for commands that end afterwards."""

import queue
import time
from contextlib import suppress
from dataclasses import replace

from plugin_gateway.core.cards import is_card
from plugin_gateway.core.devices import NO_LINKS, Inventory, Links
from plugin_gateway.core.health.faults import Moment
from plugin_gateway.core.health.observations import DriverUnavailable, InventorySeen, LinksSeen, Observation
from plugin_gateway.core.health.policy import HealthPolicy
from plugin_gateway.core.health.state import State
from plugin_gateway.core.health.state_function import advance
from plugin_gateway.core.ports import Backend, want_facts

TIMEOUT = 15.0
"""Seconds for the driver to answer."""


def ask_driver(backend: Backend) -> Inventory | DriverUnavailable:
    """Return the first inventory. If there is none, return why."""
    return ask_driver_for_links(backend, wanted=False)[0]


def ask_driver_for_links(backend: Backend, *, wanted: bool = True) -> tuple[Inventory | DriverUnavailable, Links]:
    """Return the first inventory, or why there is none, and how its devices are connected. That is not always known."""
    seen: queue.SimpleQueue[Observation] = queue.SimpleQueue()
    backend.start(seen.put)
    try:
        inventory = _first_inventory(seen)
        has_links = isinstance(inventory, Inventory) and not has_cards(inventory)
        return inventory, _links(seen) if wanted and has_links else NO_LINKS
    except queue.Empty:
        return DriverUnavailable(f"the driver did not answer within {TIMEOUT:.0f} s"), NO_LINKS
    finally:
        backend.stop()


def has_cards(inventory: Inventory) -> bool:
    """Whether the devices are network cards. Nobody says how those are connected with each other."""
    return bool(inventory.physical) and all(is_card(each.attributes) for each in inventory.physical)


def ask_driver_for_state(backend: Backend, health: HealthPolicy) -> State:
    """Return what a first look shows of a backend: inventory, check, and what it knows besides.

    What is not reported in time is missing in it.
    """
    tells_facts = want_facts(backend, wanted=True)
    seen: queue.SimpleQueue[Observation] = queue.SimpleQueue()
    state, end = State(), time.monotonic() + TIMEOUT
    backend.start(seen.put)
    try:
        while not _is_seen(state, tells_facts=tells_facts):
            observation = seen.get(timeout=max(end - time.monotonic(), 0.0))
            now = Moment(uptime=time.clock_gettime(time.CLOCK_BOOTTIME), epoch=time.time())
            state, _ = advance(state, observation, now, health)
    except queue.Empty:
        if state.inventory is None and state.driver_problem is None:
            state = replace(state, driver_problem=f"the driver did not answer within {TIMEOUT:.0f} s")
    finally:
        backend.stop()
    return state


def _is_seen(state: State, *, tells_facts: bool) -> bool:
    """Whether nothing more is to be expected of a first look."""
    if state.inventory is None or state.driver_problem is not None:
        return state.driver_problem is not None
    return not tells_facts or (state.facts is not None and state.facts.devices.keys() >= set(state.ids))


def _links(seen: "queue.SimpleQueue[Observation]") -> Links:
    """Return the links that follow an inventory. Nothing is known if the driver goes away, or does not answer."""
    with suppress(queue.Empty):
        while True:
            match seen.get(timeout=TIMEOUT):
                case LinksSeen(links):
                    return links
                case DriverUnavailable():
                    break
    return NO_LINKS


def _first_inventory(seen: "queue.SimpleQueue[Observation]") -> Inventory | DriverUnavailable:
    while True:
        match seen.get(timeout=TIMEOUT):
            case InventorySeen(inventory):
                return inventory
            case DriverUnavailable() as unavailable:
                return unavailable
