"""Reads the first inventory of a backend, for commands that end afterwards."""

import queue

from plugin_gateway.core.devices import Inventory
from plugin_gateway.core.health.observations import DriverUnavailable, InventorySeen, Observation
from plugin_gateway.core.ports import Backend

TIMEOUT = 15.0
"""Seconds for the driver to answer."""


def ask_driver(backend: Backend) -> Inventory | DriverUnavailable:
    """Return the first inventory. If there is none, return why."""
    seen: queue.SimpleQueue[Observation] = queue.SimpleQueue()
    backend.start(seen.put)
    try:
        return _first_inventory(seen)
    except queue.Empty:
        return DriverUnavailable(f"the driver did not answer within {TIMEOUT:.0f} s")
    finally:
        backend.stop()


def _first_inventory(seen: "queue.SimpleQueue[Observation]") -> Inventory | DriverUnavailable:
    while True:
        match seen.get(timeout=TIMEOUT):
            case InventorySeen(inventory):
                return inventory
            case DriverUnavailable() as unavailable:
                return unavailable
