"""How the GPUs are connected, as `plugin-gateway devices` shows it."""

import json
from collections.abc import Callable

import pytest

from driver.driver import Driver
from driver.topology import DGX1_V100, RTX_8000
from harness.devices import device, inventory
from harness.process import run_to_end
from plugin_gateway.adapters.commands.device_links import links_as_json, links_as_table
from plugin_gateway.adapters.gateway.first_look import ask_driver_for_links
from plugin_gateway.core.devices import NO_LINKS, Inventory, Links, Pair
from plugin_gateway.core.health.observations import DriverUnavailable, InventorySeen
from plugin_gateway.core.ports import Report
from plugin_gateway.nvidia.simulated import SimulatedBackend

UNKNOWN = "nothing is known of the links between the GPUs"
V100 = """\
      GPU0  GPU1  GPU2  GPU3  GPU4  GPU5  GPU6  GPU7
GPU0  X     NV1   NV1   NV2   NV2   SYS   SYS   SYS
GPU1  NV1   X     NV2   NV1   SYS   NV2   SYS   SYS
GPU2  NV1   NV2   X     NV2   SYS   SYS   NV1   SYS
GPU3  NV2   NV1   NV2   X     SYS   SYS   SYS   NV1
GPU4  NV2   SYS   SYS   SYS   X     NV1   NV1   NV2
GPU5  SYS   NV2   SYS   SYS   NV1   X     NV2   NV1
GPU6  SYS   SYS   NV1   SYS   NV1   NV2   X     NV2
GPU7  SYS   SYS   SYS   NV1   NV2   NV1   NV2   X
NV#   so many NVLinks from one to the other; links to an NVSwitch do not count
SYS   different NUMA nodes
"""


async def shown(driver: Driver, *flags: str) -> str:
    arguments = ("devices", "--driver-root", str(driver.root), *flags)
    status, output, errors = await run_to_end(*arguments, environment=driver.environment)
    assert (status, errors) == (0, "")
    return output


async def test_the_table_shows_each_pair(driver: Driver) -> None:
    driver.topology.build(DGX1_V100, 8)
    assert (await shown(driver, "--links")).endswith(V100)


async def test_json_has_each_pair_once(driver: Driver) -> None:
    driver.topology.build(RTX_8000, 4)
    links = json.loads(await shown(driver, "--links", "--json"))["links"]
    assert len(links) == 8 * 7 // 2
    first = driver.uuid(0)
    assert [each for each in links if each["between"] == [first, driver.uuid(1)]] == [
        {"between": [first, driver.uuid(1)], "nearness": "NODE", "nvlinks": 0}
    ]
    assert [each["nvlinks"] for each in links if each["between"] == [first, driver.uuid(3)]] == [2]


async def test_they_are_shown_only_where_asked_for(driver: Driver) -> None:
    assert "GPU1  " not in await shown(driver)
    assert json.loads(await shown(driver, "--json"))["links"] is None


@pytest.mark.parametrize("flags", [("--links",), ("--links", "--json")])
async def test_what_is_not_known_is_said(driver: Driver, flags: tuple[str, ...]) -> None:
    output = await shown(driver, "--backend=simulated:17xH100", *flags)
    assert json.loads(output)["links"] == [] if "--json" in flags else output.endswith(f"{UNKNOWN}\n")


def test_each_nearness_has_the_word_of_nvidia_smi() -> None:
    near = [60, 50, 40, 30, 20, 10, 0, 77]
    size = len(near) + 1
    pairs = tuple(
        tuple(Pair(near[max(one, other) - 1], 0) if one != other else Pair(60, 0) for other in range(size))
        for one in range(size)
    )
    physical = [device(number).physical for number in range(size - 1)]
    links = Links((*(each.id for each in physical), device(30).physical.id), pairs)
    lines = list(links_as_table(links, physical))
    assert lines[0].split() == [*(f"GPU{number}" for number in range(size - 1)), "GPU-30"]
    assert [row.split()[1] for row in lines[1 : size + 1]] == ["X", "PIX", "PIX", "PXB", "PHB", "NODE", "SYS", "?", "?"]
    assert [line.split()[0] for line in lines[size + 1 :]] == ["PIX", "PXB", "PHB", "NODE", "SYS", "?"]
    assert list(links_as_table(NO_LINKS, physical)) == [UNKNOWN]
    assert not links_as_json(NO_LINKS)


class LeavingBackend(SimulatedBackend):
    """A backend whose driver goes away before it has told the links."""

    def start(self, report: Report, after: Callable[[], object] = lambda: None) -> None:
        after()
        report(InventorySeen(inventory(device(0), device(1))))
        report(DriverUnavailable("gone"))


def test_a_driver_that_goes_away_is_not_waited_for() -> None:
    seen, links = ask_driver_for_links(LeavingBackend("2xH100"))
    assert isinstance(seen, Inventory)
    assert links == NO_LINKS
