"""Which devices a node with GPUs in MIG mode has, by the strategy."""

from collections.abc import Callable

import pytest

from driver.driver import Call, Driver
from driver.mig import gi_minor
from plugin_gateway.core.devices import Device, DeviceId, Inventory, Kind
from plugin_gateway.core.health.observations import InventorySeen

from .conftest import MakeDriver
from .test_inventory import uuid
from .watcher import watch

NO_PERMISSION, UNKNOWN, GPU_IS_LOST = 4, 999, 15
NONE = "GPU 0 at 0000:10:00.0"
"""Where the first GPU is."""


def seen(driver: Driver, strategy: str) -> Inventory:
    with watch(driver, mig=strategy) as watcher:
        return watcher.next(InventorySeen).inventory


def described(inventory: Inventory) -> list[tuple[str, str]]:
    """Return the place and the profile of each device."""
    return [(each.place_words, each.profile) for each in inventory.devices]


def problems(inventory: Inventory) -> list[tuple[str, str]]:
    assert all(each.todo and each.physical in inventory.ids for each in inventory.rejected)
    return [(each.place, each.problem) for each in inventory.rejected]


def test_mixed_gives_out_each_mig_device_with_its_profile_and_whole_gpus_beside_them(make_driver: MakeDriver) -> None:
    driver = make_driver(gpus=3)
    driver.add(0, minor=4, memory=81559 << 20, numa_node=1)
    driver.mig("0:1g.10gb+me,-,3g.40gb/1c/2c;1:7g.80gb")
    inventory = seen(driver, "mixed")
    assert described(inventory) == [
        ("0:0", "1g.10gb+me"),
        ("0:2", "1c.3g.40gb"),
        ("0:3", "2c.3g.40gb"),
        ("1:0", "7g.80gb"),
        ("2", ""),
    ]
    first = inventory.devices[0]
    assert first == Device(
        id=DeviceId(driver.mig.uuid(0, 0)),
        physical=inventory.physical[0],
        kind=Kind("mig"),
        profile="1g.10gb+me",
        place=(0, 0),
        nodes=(
            "/dev/nvidia4",
            f"/dev/nvidia-caps/nvidia-cap{gi_minor(4, 7)}",
            f"/dev/nvidia-caps/nvidia-cap{gi_minor(4, 7) + 1}",
        ),
        memory_bytes=9876 * 2**20,
    )
    assert (first.physical.numa_node, len(inventory.physical), inventory.rejected) == (1, 3, ())


def test_none_gives_out_no_gpu_in_mig_mode_and_says_why(driver: Driver) -> None:
    driver.mig("0:3g.40gb")
    inventory = seen(driver, "none")
    assert [each.id for each in inventory.devices] == [uuid(1)]
    words = "it is in MIG mode, in which CUDA does not use it as a whole, and --mig-strategy is none"
    assert problems(inventory) == [(NONE, words)]
    assert len(inventory.physical) == 2, "it is watched all the same"
    assert driver.calls(Call.MIG_COUNT) == 0


@pytest.mark.parametrize("strategy", ["mixed", "single"])
def test_a_gpu_in_mig_mode_without_devices_is_said(driver: Driver, strategy: str) -> None:
    driver.mig("0:;1:3g.40gb")
    inventory = seen(driver, strategy)
    assert [each.place for each in inventory.devices] == [(1, 0)]
    assert problems(inventory) == [(NONE, "it is in MIG mode and has no MIG devices")]
    assert inventory.rejected[0].todo.startswith("make some: nvidia-smi mig -i 0 -cgi PROFILE -C")


@pytest.mark.parametrize("strategy", ["mixed", "single", "none"])
def test_gpus_without_mig_are_whole_with_every_strategy(driver: Driver, strategy: str) -> None:
    assert described(seen(driver, strategy)) == [("0", ""), ("1", "")]
    assert driver.calls(Call.MIG_COUNT) == 0


@pytest.mark.parametrize("strategy", ["mixed", "single", "none"])
def test_a_driver_that_does_not_know_mig_has_whole_gpus(make_driver: MakeDriver, strategy: str) -> None:
    assert described(seen(make_driver(old=True), strategy)) == [("0", ""), ("1", "")]


@pytest.mark.parametrize(
    ("layout", "offered", "left_out"),
    [
        ("0:3g.40gb,3g.40gb;1:3g.40gb,3g.40gb;2:3g.40gb", ["0:0", "0:1", "1:0", "1:1", "2:0"], []),
        ("", ["0", "1", "2"], []),
        ("0:3g.40gb,3g.40gb;1:4g.40gb,3g.40gb;2:", ["0:0", "0:1", "1:1"], ["MIG device 0 of GPU 1"]),
        ("0:7g.80gb", ["1", "2"], ["MIG device 0 of GPU 0"]),
        ("0:3g.40gb;1:3g.40gb", ["0:0", "1:0"], ["GPU 2 at 0000:12:00.0"]),
        (
            "0:1g.10gb,1g.10gb,1g.10gb;1:7g.80gb;2:7g.80gb",
            ["1:0", "2:0"],
            [f"MIG device {n} of GPU 0" for n in range(3)],
        ),
        ("0:1g.10gb+me;1:1g.10gb;2:", ["0:0"], ["MIG device 0 of GPU 1"]),
        ("0:;1:;2:", [], []),
    ],
)
def test_single_gives_out_what_most_gpus_have_and_says_what_is_left_out(
    make_driver: MakeDriver, layout: str, offered: list[str], left_out: list[str]
) -> None:
    driver = make_driver(gpus=3)
    driver.mig(layout)
    inventory = seen(driver, "single")
    assert [each.place_words for each in inventory.devices] == offered
    others = [each.place for each in inventory.rejected if "one kind of device" in each.problem]
    assert others == left_out


def test_what_single_leaves_out_is_said_in_words(driver: Driver) -> None:
    driver.mig("0:3g.40gb,4g.40gb;1:3g.40gb")
    words = (
        "it is a MIG device 4g.40gb, and --mig-strategy=single offers one kind of device, which is a MIG device "
        "3g.40gb here"
    )
    assert problems(seen(driver, "single")) == [("MIG device 1 of GPU 0", words)]


@pytest.mark.parametrize(
    ("nonsense", "reason"),
    [
        ({"uuid": b"MIG-a,b"}, "characters other than printable ones"),
        ({"uuid": b"MIG-" + b"x" * 80}, "expected 1 to 63"),
        ({"gi_slices": 5}, "its profile has no name"),
        ({"memory_mb": 0}, "its profile has no name"),
    ],
)
def test_one_device_of_which_the_driver_says_nonsense_is_rejected_alone(
    driver: Driver, nonsense: dict[str, int | bytes], reason: str
) -> None:
    driver.mig("0:3g.40gb,1g.10gb,2g.20gb")
    driver.mig.set(0, 1, **nonsense)
    inventory = seen(driver, "mixed")
    assert [each.place_words for each in inventory.devices] == ["0:0", "0:2", "1"]
    ((place, problem),) = problems(inventory)
    assert place == "MIG device 1 of GPU 0"
    assert reason in problem


@pytest.mark.parametrize("strategy", ["mixed", "single"])
@pytest.mark.parametrize(
    ("id_of", "place"),
    [
        (lambda driver: driver.mig.uuid(0, 0), "MIG device 0 of GPU 0"),
        (lambda driver: driver.uuid(0), "GPU 0 at 0000:10:00.0"),
        (lambda driver: driver.uuid(1), "GPU 1 at 0000:11:00.0"),
    ],
)
def test_a_device_with_the_id_of_another_one_is_rejected_alone(
    driver: Driver, id_of: Callable[[Driver], str], place: str, strategy: str
) -> None:
    driver.mig("0:1g.10gb,1g.10gb;1:1g.10gb,1g.10gb")
    driver.mig.set(1, 0, uuid=id_of(driver).encode())
    inventory = seen(driver, strategy)
    assert [each.place_words for each in inventory.devices if not each.is_whole] == ["0:0", "0:1", "1:1"]
    assert problems(inventory) == [("MIG device 0 of GPU 1", f"its UUID {id_of(driver)!r} belongs to {place} too")]


def test_devices_that_may_not_be_seen_are_rejected_and_the_reason_names_the_right(driver: Driver) -> None:
    driver.mig("0:3g.40gb,1g.10gb")
    driver.mig.permit(privileged=False)
    inventory = seen(driver, "mixed")
    assert described(inventory) == [("1", "")], "never a name without its suffix"
    assert all("the capability SYS_ADMIN" in each.todo for each in inventory.rejected)
    assert len(inventory.rejected) == 2


def test_devices_whose_nodes_are_not_known_are_rejected(driver: Driver) -> None:
    driver.mig("0:3g.40gb")
    driver.mig.remove_minors()
    inventory = seen(driver, "mixed")
    assert described(inventory) == [("1", "")]
    ((place, problem),) = problems(inventory)
    assert place == "MIG device 0 of GPU 0"
    assert problem.startswith("its device nodes are not known: ")


def test_ids_from_before_driver_470_are_ids(driver: Driver) -> None:
    driver.mig("0:3g.40gb/1c/2c", old_ids=True)
    assert [each.id for each in seen(driver, "mixed").devices] == [
        f"MIG-{uuid(0)}/1/0",
        f"MIG-{uuid(0)}/1/1",
        uuid(1),
    ]


def test_a_gpu_whose_mode_cannot_be_read_is_not_given_out_as_another_resource(driver: Driver) -> None:
    driver.mig("0:3g.40gb")
    driver.fail(Call.MIG, UNKNOWN)
    with watch(driver, mig="mixed") as watcher:
        first = watcher.next(InventorySeen).inventory
        assert (first.devices, len(first.rejected)) == ((), 2)
        driver.fail(Call.MIG, 0)
        assert [each.place_words for each in watcher.next(InventorySeen, 2).inventory.devices] == ["0:0", "1"]
