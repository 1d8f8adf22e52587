"""MIG devices, as the driver lists them while instances come and go."""

import threading
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from driver.driver import Call, Driver
from driver.mig import CARDS, Card, gi_minor, instances
from plugin_gateway.core.devices import PhysicalId
from plugin_gateway.nvidia.mig import scan
from plugin_gateway.nvidia.mig_layout import MigDevice, MigLayout, RejectedSlot
from plugin_gateway.nvidia.mig_nodes import CapabilityMinors, read_minors
from plugin_gateway.nvidia.mig_reader import MigReader
from plugin_gateway.nvidia.naming import MigStrategy
from plugin_gateway.nvidia.nvml_error import NvmlError

from .asking import asked
from .conftest import MakeDriver
from .watcher import eventually

NOT_SUPPORTED, NO_PERMISSION, NOT_FOUND, UNKNOWN = 3, 4, 6, 999
MEMORY = {
    "NVIDIA H100 80GB HBM3": 81559,
    "NVIDIA A100-SXM4-80GB": 81920,
    "NVIDIA A100-SXM4-40GB": 40960,
    "NVIDIA H200": 143771,
    "NVIDIA B200": 183359,
    "NVIDIA A30": 24576,
    "NVIDIA RTX PRO 6000 Blackwell Server Edition": 97887,
}
"""In MiB."""
A30 = "NVIDIA A30"
RIGHTS = (
    "give the container the capability SYS_ADMIN and NVIDIA_MIG_MONITOR_DEVICES=all, which the chart's migStrategy "
    "does, or access to "
)
NO_MINORS = CapabilityMinors({})


def scanned(driver: Driver, index: int = 0, minor: int | None = 0) -> MigLayout:
    with asked(driver) as gpus:
        return scan(gpus[index], minor, read_minors(str(driver.proc)))


def profiles(layout: MigLayout) -> list[str]:
    return [device.profile for device in layout.devices]


def reasons(layout: MigLayout) -> list[tuple[int | None, str]]:
    return [(each.slot, each.reason) for each in layout.rejected]


def cards() -> Iterator[tuple[str, str, Card]]:
    return ((name, profile, card) for name, card in CARDS.items() for profile in card.profiles)


def test_a_device_is_read_with_everything_that_it_is(driver: Driver) -> None:
    driver.add(0, minor=4, memory=81559 << 20)
    driver.mig("0:3g.40gb/1c/2c,1g.10gb+me;1:")
    layout = scanned(driver, minor=4)
    first, second, third = layout.devices
    assert third == MigDevice(
        uuid=driver.mig.uuid(0, 2),
        slot=2,
        gi=7,
        ci=0,
        profile="1g.10gb+me",
        memory_mb=9876,
        nodes=(
            "/dev/nvidia4",
            f"/dev/nvidia-caps/nvidia-cap{gi_minor(4, 7)}",
            f"/dev/nvidia-caps/nvidia-cap{gi_minor(4, 7) + 1}",
        ),
    )
    assert [(each.profile, each.slot, each.gi, each.ci) for each in (first, second)] == [
        ("1c.3g.40gb", 0, 1, 0),
        ("2c.3g.40gb", 1, 1, 1),
    ]
    assert first.nodes[:2] == second.nodes[:2]
    assert first.nodes[2] != second.nodes[2]
    assert not layout.rejected
    assert scanned(driver, 1) == MigLayout()


@pytest.mark.parametrize(("product", "profile", "card"), list(cards()), ids=str)
def test_each_profile_of_each_card_has_the_name_that_nvidia_gives_it(
    make_driver: MakeDriver, product: str, profile: str, card: Card
) -> None:
    driver = make_driver(gpus=0)
    driver.add(0, name=product, memory=MEMORY[product] << 20)
    driver.mig(f"0:{profile}")
    layout = scanned(driver)
    assert profiles(layout) == [profile]
    assert not layout.rejected
    assert driver.calls(Call.MIG_HANDLE) == card.max_devices


@pytest.mark.parametrize("mode", ["off", "not capable", "old driver"])
def test_a_gpu_that_is_not_in_mig_mode_is_asked_one_question(make_driver: MakeDriver, mode: str) -> None:
    driver = make_driver(gpus=0, old=mode == "old driver")
    driver.add(0, name="Tesla T4" if mode == "not capable" else "NVIDIA H100 80GB HBM3")
    with asked(driver) as (gpu,):
        assert MigReader(MigStrategy.MIXED, str(driver.proc)).read(PhysicalId(""), gpu, 0, lambda: None) is None
    asked_for = {call for call in Call if driver.calls(call)} - {Call.INIT, Call.COUNT, Call.HANDLE, Call.SHUTDOWN}
    assert asked_for <= {Call.MIG}
    assert driver.calls(Call.MIG) <= 1


def test_slots_have_holes(driver: Driver) -> None:
    driver.mig("0:3g.40gb,-,-,1g.10gb,-,2g.20gb")
    layout = scanned(driver)
    assert [(device.slot, device.profile) for device in layout.devices] == [
        (0, "3g.40gb"),
        (3, "1g.10gb"),
        (5, "2g.20gb"),
    ]
    assert not layout.rejected


def test_ids_from_before_driver_470_are_taken_as_they_are(driver: Driver) -> None:
    driver.mig("0:3g.40gb/1c/2c", old_ids=True)
    gpu = driver.uuid(0)
    assert [device.uuid for device in scanned(driver).devices] == [f"MIG-{gpu}/1/0", f"MIG-{gpu}/1/1"]


def test_every_scan_sees_the_layout_of_its_moment(driver: Driver) -> None:
    driver.mig("0:3g.40gb,3g.40gb;1:7g.80gb")
    minors = read_minors(str(driver.proc))
    with asked(driver) as gpus:
        assert [profiles(scan(gpu, None, minors)) for gpu in gpus] == [["3g.40gb"] * 2, ["7g.80gb"]]
        driver.mig("0:1g.10gb,2g.20gb,3g.40gb;1:")
        assert [profiles(scan(gpu, None, minors)) for gpu in gpus] == [["1g.10gb", "2g.20gb", "3g.40gb"], []]


def test_the_profiles_of_a_gpu_are_read_once_in_a_session(driver: Driver) -> None:
    driver.mig("0:3g.40gb,3g.40gb")
    reader = MigReader(MigStrategy.MIXED, str(driver.proc))
    gpu = PhysicalId(driver.uuid(0))
    with asked(driver) as gpus:
        before = driver.calls(Call.GI_PROFILE)
        found = [reader.read(gpu, gpus[0], 0, lambda: None) for _ in range(3)]
        once = driver.calls(Call.GI_PROFILE) - before
        assert [profiles(each) for each in found if each is not None] == [["3g.40gb"] * 2] * 3
        reader.begin_session()
        reader.read(gpu, gpus[0], 0, lambda: None)
        assert driver.calls(Call.GI_PROFILE) - before == 2 * once
        assert once > 0


@pytest.mark.parametrize("call", [Call.GI, Call.GI_INFO, Call.GI_PROFILE, Call.ATTRIBUTES])
def test_without_the_right_a_device_is_rejected_and_the_reason_names_the_right(driver: Driver, call: Call) -> None:
    driver.mig("0:3g.40gb,1g.10gb")
    driver.fail(call, NO_PERMISSION)
    layout = scanned(driver)
    reason, todo = (
        "the driver does not tell what it is: Insufficient Permissions",
        f"{RIGHTS}/dev/nvidia-caps/nvidia-cap2",
    )
    rejected = [RejectedSlot(slot, reason, True, driver.mig.uuid(0, slot), todo) for slot in range(2)]
    assert layout == MigLayout((), tuple(rejected))


def test_the_privileges_that_a_container_lacks_reject_all_devices(driver: Driver) -> None:
    driver.mig("0:3g.40gb,1g.10gb")
    driver.mig.permit(privileged=False)
    assert all(RIGHTS in each.todo for each in scanned(driver).rejected)
    driver.mig.permit(privileged=True)
    assert profiles(scanned(driver)) == ["3g.40gb", "1g.10gb"]


@pytest.mark.parametrize(
    ("nonsense", "reason"),
    [
        ({"gi_slices": 2}, "the driver says 2 slices, and the GPU instance profile 0 has 1"),
        ({"ci_slices": 9}, "a compute instance of 9 slices; expected 1 to 1"),
        ({"memory_mb": 2**64 - 1}, "expected 1 to 81920, which the GPU has"),
        ({"memory_mb": 0}, "a memory of 0 MiB"),
        ({"profile_id": 77}, "NVML does not list the GPU instance profile with the id 77"),
        ({"uuid": b"MIG-\xff"}, "its UUID b'MIG-\\xff' is not valid UTF-8"),
    ],
)
def test_nonsense_about_one_device_takes_no_other_out(
    driver: Driver, nonsense: dict[str, int | bytes], reason: str
) -> None:
    driver.mig("0:3g.40gb,1g.10gb,2g.20gb")
    driver.mig.set(0, 1, **nonsense)
    layout = scanned(driver)
    assert profiles(layout) == ["3g.40gb", "2g.20gb"]
    ((slot, words),) = reasons(layout)
    assert slot == 1
    assert reason in words
    assert not layout.rejected[0].is_unread


def test_a_profile_number_that_nobody_knows_rejects_its_devices_alone(driver: Driver) -> None:
    driver.mig("0:1g.10gb+me,1g.10gb")
    driver.mig.set_profile_number(0, 7, 0x12, known=0x13)
    layout = scanned(driver)
    assert profiles(layout) == ["1g.10gb"]
    assert reasons(layout) == [
        (0, "its profile has no name: the GPU instance profile 18 of NVML is not known here"),
    ]


def test_the_same_id_in_two_slots_is_one_device(driver: Driver) -> None:
    driver.mig("0:3g.40gb,1g.10gb")
    driver.mig.set(0, 1, uuid=driver.mig.uuid(0, 0).encode())
    layout = scanned(driver)
    assert profiles(layout) == ["3g.40gb"]
    assert reasons(layout) == [(1, f"its UUID {driver.mig.uuid(0, 0)!r} belongs to slot 0 too")]


def test_the_same_instances_in_two_slots_are_one_device(driver: Driver) -> None:
    driver.mig("0:1g.10gb,1g.10gb")
    driver.mig.set(0, 1, gi=7)
    layout = scanned(driver)
    assert [device.slot for device in layout.devices] == [0]
    assert reasons(layout) == [(1, "its GPU instance 7 and compute instance 0 are those of slot 0 too")]


CALLS_FOR_A_DEVICE = (Call.MIG_HANDLE, Call.UUID, Call.GI_ID, Call.CI_ID, Call.ATTRIBUTES, Call.GI, Call.GI_INFO)


@pytest.mark.parametrize("call", CALLS_FOR_A_DEVICE)
def test_a_call_that_fails_for_one_device_takes_no_other_out(driver: Driver, call: Call) -> None:
    driver.mig("0:3g.40gb,1g.10gb,2g.20gb")
    driver.mig.fail(0, 1, UNKNOWN, call)
    layout = scanned(driver)
    assert profiles(layout) == ["3g.40gb", "2g.20gb"]
    assert reasons(layout) == [(1, "the driver does not tell what it is: Unknown Error")]
    assert layout.rejected[0].is_unread


@pytest.mark.parametrize("call", CALLS_FOR_A_DEVICE)
def test_a_call_that_fails_for_a_moment_rejects_nothing(driver: Driver, call: Call) -> None:
    driver.mig("0:3g.40gb,1g.10gb")
    driver.fail(call, UNKNOWN, times=1)
    layout = scanned(driver)
    assert (profiles(layout), layout.rejected) == (["3g.40gb", "1g.10gb"], ())


@pytest.mark.parametrize("calls", range(12))
def test_a_device_that_goes_between_two_calls_is_an_empty_slot(driver: Driver, calls: int) -> None:
    driver.mig("0:3g.40gb,1g.10gb,2g.20gb")
    driver.mig.vanish(0, 1, after=calls)
    layout = scanned(driver)
    read_before = calls >= 8  # the handle, the UUID twice, two numbers, the attributes, and two calls for the profile
    assert profiles(layout) == ["3g.40gb", *(["1g.10gb"] if read_before else []), "2g.20gb"]
    assert not layout.rejected


@pytest.mark.parametrize("other", ["3g.40gb", "1g.10gb+me"])
@pytest.mark.parametrize("call", [Call.GI_ID, Call.ATTRIBUTES, Call.GI, Call.GI_INFO])
def test_a_handle_that_stands_for_another_device_meanwhile_mixes_no_two_devices(
    driver: Driver, call: Call, other: str
) -> None:
    driver.mig("0:1g.10gb")
    found: list[MigLayout] = []
    driver.hang(call)
    with asked(driver) as (gpu, _):
        thread = threading.Thread(target=lambda: found.append(scan(gpu, None, NO_MINORS)))
        thread.start()
        eventually(lambda: driver.calls(call) == 1)
        driver.mig(f"0:{other}")
        driver.release()
        thread.join(5)
    (layout,) = found
    assert [(device.uuid, device.profile) for device in layout.devices] == [(driver.mig.uuid(0, 0), other)]
    assert not layout.rejected


@pytest.mark.parametrize("error", [NOT_SUPPORTED, UNKNOWN])
def test_a_gpu_that_does_not_tell_its_slots_has_no_devices_and_a_reason(driver: Driver, error: int) -> None:
    driver.mig("0:3g.40gb")
    driver.fail(Call.MIG_COUNT, error)
    layout = scanned(driver)
    assert not layout.devices
    ((slot, reason),) = reasons(layout)
    assert layout.rejected[0].is_unread
    assert slot is None
    assert reason.startswith("the driver does not tell how many MIG devices it can have: ")


def test_a_number_of_slots_that_cannot_be_holds_nothing_up(driver: Driver) -> None:
    driver.mig("0:3g.40gb")
    driver.mig.set_count(0, 0xFFFFFFFF)
    assert profiles(scanned(driver)) == ["3g.40gb"]
    assert driver.calls(Call.MIG_HANDLE) == 64


GPU_IS_LOST, RESET_REQUIRED = 15, 16


@pytest.mark.parametrize("error", [GPU_IS_LOST, RESET_REQUIRED])
@pytest.mark.parametrize("call", [Call.MIG_COUNT, *CALLS_FOR_A_DEVICE])
def test_a_gpu_that_is_lost_has_no_layout_rather_than_an_empty_one(driver: Driver, call: Call, error: int) -> None:
    driver.mig("0:3g.40gb,1g.10gb")
    with asked(driver) as (gpu, _):
        driver.fail(call, error)
        with pytest.raises(NvmlError) as raised:
            scan(gpu, 0, NO_MINORS)
    assert raised.value.code == error


def test_a_gpu_that_does_not_tell_its_memory_has_no_names(driver: Driver) -> None:
    driver.mig("0:3g.40gb")
    driver.fail(Call.MEMORY, NOT_SUPPORTED)
    words = "its profile has no name: the driver does not tell the memory of the GPU"
    assert reasons(scanned(driver)) == [(0, words)]


def test_a_node_that_is_not_known_leaves_the_device_with_the_reason(driver: Driver) -> None:
    driver.mig("0:3g.40gb")
    (device,) = scanned(driver, minor=None).devices
    assert (device.nodes, device.nodes_problem) == ((), "the driver does not tell the minor number of the GPU")
    (device,) = scanned(driver, minor=63).devices
    assert device.nodes_problem == "/proc/driver/nvidia-caps/mig-minors has no line gpu63/gi1/access"
    driver.mig.remove_minors()
    (device,) = scanned(driver).devices
    path = driver.proc / "driver/nvidia-caps/mig-minors"
    assert (device.nodes, device.nodes_problem) == ((), f"{path} cannot be read: No such file or directory")


def test_lines_that_nobody_knows_are_passed_over(driver: Driver) -> None:
    path = driver.proc / "driver/nvidia-caps/mig-minors"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\xff\n\nconfig\nmonitor 9\ngpu0/gi1/access 12 13\ngpu0/gi2/access 3\n")
    minors = read_minors(str(driver.proc))
    assert minors.numbers == {"monitor": 9, "gpu0/gi2/access": 3}
    assert minors.monitor_node == "/dev/nvidia-caps/nvidia-cap9"


def test_a_sign_is_given_after_each_slot(driver: Driver) -> None:
    driver.mig("0:3g.40gb")
    signs: list[None] = []
    with asked(driver) as (gpu, _):
        scan(gpu, None, NO_MINORS, lambda: signs.append(None))
    assert len(signs) == 7


LAYOUT = st.lists(
    st.sampled_from(["-", "1g.10gb", "1g.10gb+me", "1g.20gb", "2g.20gb", "3g.40gb", "3g.40gb/1c/2c"]), max_size=5
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=40)
@given(
    layouts=st.lists(LAYOUT.filter(lambda each: sum("/" in one for one in each) < 3), min_size=1, max_size=4),
    broken=st.sets(st.integers(0, 6)),
)
def test_any_layout_is_read_as_it_is_whatever_is_broken_in_it(
    driver: Driver, layouts: list[list[str]], broken: set[int]
) -> None:
    driver.set_mig_mode(0, enabled=True)
    card = CARDS["NVIDIA H100 80GB HBM3"]
    with asked(driver) as (gpu, _):
        for parts in layouts:
            text = ",".join(parts)
            driver.mig(f"0:{text}")
            there = {each.slot: each for each in instances(card, text) if each.slot < card.max_devices}
            for slot in broken & there.keys():
                driver.mig.fail(0, slot, NOT_SUPPORTED)
            layout = scan(gpu, 0, NO_MINORS)
            assert {device.slot: (device.gi, device.ci, device.uuid) for device in layout.devices} == {
                slot: (each.gi, each.ci, driver.mig.uuid(0, slot)) for slot, each in there.items() if slot not in broken
            }
            assert {each.slot for each in layout.rejected} == broken & there.keys()
            assert all(device.profile.endswith(there[device.slot].profile) for device in layout.devices)
    driver.mig("")
