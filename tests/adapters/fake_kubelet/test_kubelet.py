"""The fake kubelet against a plugin that is not ours: what the facts say of each release."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from adapters.fake_kubelet.plugin import OK, RESOURCE, Plugin, healthy, not_utf8
from plugin_gateway.adapters.fake_kubelet import AdmissionError, EventKind, FakeKubelet, release
from plugin_gateway.api.v1beta1 import api_pb2 as wire
from plugin_gateway.core.errors import InvalidValueError

ALL = ("1.8", "1.9", "1.10", "1.36", "1.37")
V1BETA1 = ("1.10", "1.36", "1.37")
MODERN = ("1.36", "1.37")
Counts = tuple[int | None, int | None]


def counts(kubelet: FakeKubelet) -> Counts:
    return kubelet.capacity(RESOURCE), kubelet.allocatable(RESOURCE)


async def reach(kubelet: FakeKubelet, wanted: Counts) -> None:
    await kubelet.wait_for(lambda: counts(kubelet) == wanted, what=f"capacity and allocatable {wanted}")


@asynccontextmanager
async def registered(directory: Path, name: str, *, grace: float = 300.0) -> AsyncIterator[tuple[FakeKubelet, Plugin]]:
    """A kubelet, and a plugin with two devices that it has listed."""
    async with (
        FakeKubelet(directory, release(name), grace=grace) as kubelet,
        Plugin(directory, kubelet.release) as plugin,
    ):
        assert await plugin.register() == OK
        await reach(kubelet, (2, 2))
        yield kubelet, plugin


async def refused(kubelet: FakeKubelet, wanted: int = 1, pod: str = "refused") -> str:
    with pytest.raises(AdmissionError) as caught:
        await kubelet.allocate(RESOURCE, wanted, pod=pod)
    return str(caught.value)


VERSION_ERRORS = {
    "1.8": "unsupported API version by the Kubelet registry",
    "1.9": 'requested API version "v9" is not supported by kubelet. Supported version is "v1alpha2"',
    "1.10": 'requested API version "v9" is not supported by kubelet. Supported versions are ["v1beta1"]',
    "1.36": 'requested API version "v9" is not supported by kubelet. Supported version is ["v1beta1"]',
    "1.37": 'requested API version "v9" is not supported by kubelet. Supported version is ["v1beta1"]',
}


@pytest.mark.parametrize("name", ALL)
async def test_it_refuses_in_the_words_of_its_release(name: str, kubelet_dir: Path) -> None:
    async with FakeKubelet(kubelet_dir, release(name)) as kubelet, Plugin(kubelet_dir, release(name)) as plugin:
        assert await plugin.register(version="v9") == (grpc.StatusCode.UNKNOWN, VERSION_ERRORS[name])
        other = "v1beta1" if kubelet.release.package == "deviceplugin" else "deviceplugin"
        words = f"unknown service {other}.Registration"
        assert await plugin.register(package=other) == (grpc.StatusCode.UNIMPLEMENTED, words)
        code, words = await plugin.register(method="Enlist")
        assert (code, words.startswith("unknown method Enlist")) == (grpc.StatusCode.UNIMPLEMENTED, True)
        assert kubelet.resources == []


@pytest.mark.parametrize(
    ("resource", "refusing"),
    [
        ("", ALL),
        ("thing", ALL),
        ("my.kubernetes.io/thing", ALL),
        ("mykubernetes.io/thing", ALL),
        ("Example.com/thing", V1BETA1),
        ("example.com/thi ng", V1BETA1),
        ("requests.example.com/thing", V1BETA1),
        ("example.com/" + "x" * 64, V1BETA1),
        ("example.com/" + "x" * 63, ()),
    ],
)
@pytest.mark.parametrize("name", ALL)
async def test_it_takes_the_names_that_its_release_takes(
    name: str, resource: str, refusing: tuple[str, ...], kubelet_dir: Path
) -> None:
    async with FakeKubelet(kubelet_dir, release(name)), Plugin(kubelet_dir, release(name)) as plugin:
        code, words = await plugin.register(name=resource)
        assert code is (grpc.StatusCode.UNKNOWN if name in refusing else grpc.StatusCode.OK)
        if name in refusing:
            expected = {"1.8": "the ResourceName is invalid"}.get(name, f'the ResourceName "{resource}" is invalid')
            assert words == ("invalid Empty ResourceName" if (name, resource) == ("1.8", "") else expected)


def test_a_release_that_there_is_not_is_refused_with_those_there_are() -> None:
    with pytest.raises(InvalidValueError, match=r"'1.7', allowed are 1.8 to 1.37"):
        release("1.7")


@pytest.mark.parametrize(
    ("name", "left"),
    [
        *((name, {"kubelet_internal_checkpoint", "folder", "kubelet.sock"}) for name in ("1.8", "1.9", "1.10")),
        *((name, {"kubelet_internal_checkpoint", "folder", "kubelet.sock", "file"}) for name in MODERN),
    ],
)
async def test_it_empties_its_directory_at_start(name: str, left: set[str], kubelet_dir: Path) -> None:
    (kubelet_dir / "folder").mkdir()
    for file in ("file", "kubelet_internal_checkpoint"):
        (kubelet_dir / file).touch()
    async with Plugin(kubelet_dir, release(name)), FakeKubelet(kubelet_dir, release(name)):
        assert {path.name for path in kubelet_dir.iterdir()} == left


@pytest.mark.parametrize("name", MODERN)
async def test_from_1_25_on_register_waits_for_the_dial_back_and_fails_with_it(name: str, kubelet_dir: Path) -> None:
    async with FakeKubelet(kubelet_dir, release(name), dial_timeout=0.2) as kubelet:
        nowhere = Plugin(kubelet_dir, release(name), "nowhere.sock")
        words = "failed to dial device plugin: context deadline exceeded"
        assert await nowhere.register() == (grpc.StatusCode.UNKNOWN, words)
        assert kubelet.resources == []
        async with Plugin(kubelet_dir, release(name)) as plugin:
            plugin.answers = {"GetDevicePluginOptions": "no"}
            code, words = await plugin.register()
            assert code is grpc.StatusCode.UNKNOWN
            assert words == "failed to get device plugin options: rpc error: code = Internal desc = no"
            plugin.answers = {}
            assert await plugin.register() == OK
            await reach(kubelet, (2, 2))


@pytest.mark.parametrize(("name", "after"), [("1.8", (None, None)), ("1.9", (0, 0)), ("1.10", (None, None))])
async def test_before_that_a_dial_back_that_fails_is_told_to_nobody(
    name: str, after: Counts, kubelet_dir: Path
) -> None:
    ends = asyncio.Event()

    def look(event: object) -> None:
        if getattr(event, "kind", None) in {EventKind.DIAL_BACK_FAILED, EventKind.STREAM_ENDED}:
            ends.set()

    async with FakeKubelet(kubelet_dir, release(name), dial_timeout=0.2, on_event=look) as kubelet:
        assert await Plugin(kubelet_dir, release(name), "nowhere.sock").register() == OK
        await asyncio.wait_for(ends.wait(), 5)
        assert counts(kubelet) == after


@pytest.mark.parametrize(
    ("name", "after"), [("1.8", (1, 1)), ("1.9", (1, 1)), ("1.10", (2, 1)), ("1.36", (2, 1)), ("1.37", (2, 1))]
)
async def test_an_unhealthy_device_counts_in_capacity_from_1_10_on(name: str, after: Counts, kubelet_dir: Path) -> None:
    async with registered(kubelet_dir, name) as (kubelet, plugin):
        plugin.list(("a", "Healthy"), ("b", "healthy"))
        await reach(kubelet, after)
        plugin.list()
        await reach(kubelet, (None, None) if name == "1.8" else (0, 0))


@pytest.mark.parametrize(("name", "after"), [("1.8", (1, 0)), ("1.10", (1, 0)), ("1.36", (2, 1)), ("1.37", (2, 1))])
async def test_an_id_that_is_listed_twice(name: str, after: Counts, kubelet_dir: Path) -> None:
    """The last one counts; from 1.12 on both do."""
    async with registered(kubelet_dir, name) as (kubelet, plugin):
        plugin.list(("a", "Healthy"), ("a", "Unhealthy"))
        await reach(kubelet, (None, None) if name == "1.8" else after)


@pytest.mark.parametrize(
    ("name", "after"), [("1.8", (None, None)), ("1.9", (0, 0)), ("1.10", (2, 0)), ("1.36", (2, 0)), ("1.37", (2, 0))]
)
async def test_the_end_of_the_stream(name: str, after: Counts, kubelet_dir: Path) -> None:
    async with registered(kubelet_dir, name, grace=0.3) as (kubelet, plugin):
        plugin.end_streams()
        await reach(kubelet, after)
        if name in {"1.8", "1.9"}:
            return
        await reach(kubelet, (None, None))


@pytest.mark.parametrize(("pause", "allocatable"), [(0.0, 0), (0.06, 2)])
async def test_a_register_right_after_the_end_of_a_stream_is_taken_for_the_old_one_from_1_25_on(
    pause: float, allocatable: int, kubelet_dir: Path
) -> None:
    async with registered(kubelet_dir, "1.25") as (kubelet, plugin):
        plugin.end_streams()
        await kubelet.wait_for(lambda: kubelet.open_streams(RESOURCE) == 0, what="the end of the stream")
        await asyncio.sleep(pause)
        await plugin.register()
        await asyncio.sleep(0.1)
        assert counts(kubelet) == (2, allocatable)
    async with registered(kubelet_dir, "1.24") as (kubelet, plugin):
        plugin.end_streams()
        await kubelet.wait_for(lambda: kubelet.open_streams(RESOURCE) == 0, what="the end of the stream")
        await plugin.register()
        await asyncio.sleep(0.1)
        assert counts(kubelet) == (2, 2)


async def test_a_register_right_after_the_end_of_a_stream_wedges_1_37_if_the_path_is_the_same(
    kubelet_dir: Path,
) -> None:
    async with registered(kubelet_dir, "1.37") as (kubelet, plugin):
        plugin.end_streams()
        await kubelet.wait_for(lambda: kubelet.open_streams(RESOURCE) == 0, what="the end of the stream")
        code, words = await plugin.register()
        assert code is grpc.StatusCode.UNKNOWN
        assert words.startswith("device plugin already connected")
        await asyncio.sleep(0.1)
        assert counts(kubelet) == (2, 2)


async def test_a_list_of_over_4_mib_ends_the_stream_from_1_10_on(kubelet_dir: Path) -> None:
    many = [(f"{index:060d}", "Healthy") for index in range(60_000)]
    async with registered(kubelet_dir, "1.36") as (kubelet, plugin):
        plugin.list(*many)
        await reach(kubelet, (2, 0))
    async with registered(kubelet_dir, "1.9") as (kubelet, plugin):
        plugin.list(*many)
        await reach(kubelet, (60_000, 60_000))


@asynccontextmanager
async def second(directory: Path, kubelet: FakeKubelet, name: str, *ids: str) -> AsyncIterator[Plugin]:
    """Another instance for the same resource, registered and listed."""
    async with Plugin(directory, kubelet.release, name, ids) as plugin:
        known = len(kubelet.lists)
        assert await plugin.register() == OK
        await kubelet.wait_for(lambda: len(kubelet.lists) > known, what="the list of the second")
        yield plugin


async def test_1_8_lists_first_then_leaves_the_old_stream_and_keeps_what_it_listed(kubelet_dir: Path) -> None:
    async with registered(kubelet_dir, "1.8") as (kubelet, _), second(kubelet_dir, kubelet, "2.sock", "b", "c"):
        await kubelet.wait_for(lambda: kubelet.open_streams(RESOURCE) == 1, what="the end of the first stream")
        assert set(kubelet.devices(RESOURCE)) == {"a", "b", "c"}


@pytest.mark.parametrize("name", ["1.9", "1.10"])
async def test_1_9_and_1_10_close_the_old_connection(name: str, kubelet_dir: Path) -> None:
    async with registered(kubelet_dir, name) as (kubelet, _), second(kubelet_dir, kubelet, "2.sock", "c"):
        await kubelet.wait_for(lambda: kubelet.open_streams(RESOURCE) == 1, what="the end of the first stream")
        assert set(kubelet.devices(RESOURCE)) == {"c"}
        assert counts(kubelet) == (1, 1)


async def test_1_36_closes_the_newest_when_an_older_stream_ends(kubelet_dir: Path) -> None:
    async with registered(kubelet_dir, "1.36") as (kubelet, first), second(kubelet_dir, kubelet, "2.sock", "c"):
        assert kubelet.open_streams(RESOURCE) == 2
        assert len(kubelet.overlaps) == 1
        first.end_streams()
        await reach(kubelet, (1, 0))
        await kubelet.wait_for(lambda: not kubelet.open_streams(RESOURCE), what="the end of the newest stream")


async def test_1_37_lets_another_path_live_on(kubelet_dir: Path) -> None:
    async with (
        registered(kubelet_dir, "1.37") as (kubelet, first),
        second(kubelet_dir, kubelet, "2.sock", "c") as newer,
    ):
        first.end_streams()
        await kubelet.wait_for(lambda: kubelet.open_streams(RESOURCE) == 1, what="the end of the first stream")
        assert counts(kubelet) == (1, 1)
        await kubelet.allocate(RESOURCE, pod="p")
        assert "Allocate" in newer.called


async def test_1_37_is_wedged_by_the_same_path_until_it_restarts(kubelet_dir: Path) -> None:
    async with registered(kubelet_dir, "1.37") as (kubelet, plugin):
        words = f"device plugin already connected: {kubelet_dir / plugin.name}"
        assert await plugin.register() == (grpc.StatusCode.UNKNOWN, words)
        plugin.end_streams()
        await kubelet.wait_for(lambda: kubelet.open_streams(RESOURCE) == 0, what="the end of the stream")
        assert counts(kubelet) == (2, 2), "it never notices"


@pytest.mark.parametrize("name", ALL)
async def test_what_the_container_gets(name: str, kubelet_dir: Path) -> None:
    async with registered(kubelet_dir, name) as (kubelet, plugin):
        container = await kubelet.allocate(RESOURCE, 2, pod="p")
        assert (container.environment, container.ids) == ({"THING": "first"}, ("a", "b"))
        if name in V1BETA1:
            assert container.answer.mounts == {"/in": ("/out", True)}
            assert container.answer.annotations == {"a": "b"}
            assert container.answer.cdi_devices == (() if name == "1.10" else ("v.com/c=d",))
        again = await kubelet.start_container("p")
        assert again.environment == container.environment
        assert plugin.called.count("Allocate") == (2 if name == "1.8" else 1), "1.8 asks at every start"


async def test_1_8_starts_a_container_without_devices_while_no_plugin_is_registered(kubelet_dir: Path) -> None:
    async with registered(kubelet_dir, "1.8") as (kubelet, _):
        await kubelet.allocate(RESOURCE, pod="p")
        await kubelet.restart(kill=True)
        assert (await kubelet.start_container("p")).environment == {}


UNAVAILABLE = f"requested number of devices unavailable for {RESOURCE}. Requested: 3, Available: 2"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("1.8", f"Node didn't have enough resource: {RESOURCE}, requested: 3, used: 0, capacity: 2"),
        ("1.9", f"Update plugin resources failed due to {UNAVAILABLE}, which is unexpected."),
        ("1.10", f"Update plugin resources failed due to {UNAVAILABLE}, which is unexpected."),
        ("1.36", f"Allocate failed due to {UNAVAILABLE}, which is unexpected"),
        ("1.37", f"Allocate failed due to {UNAVAILABLE}, which is unexpected"),
    ],
)
async def test_a_pod_that_wants_more_than_there_is(name: str, words: str, kubelet_dir: Path) -> None:
    async with registered(kubelet_dir, name) as (kubelet, _):
        assert await refused(kubelet, 3) == words
        await kubelet.allocate(RESOURCE, 2, pod="p")
        words = "used: 2, capacity: 2" if name == "1.8" else "Requested: 1, Available: 0"
        assert words in await refused(kubelet)
        await kubelet.remove("p")
        await kubelet.allocate(RESOURCE, 2, pod="q")


async def test_1_36_has_words_of_its_own_when_no_device_is_healthy(kubelet_dir: Path) -> None:
    async with registered(kubelet_dir, "1.36") as (kubelet, plugin):
        plugin.list(("a", "Unhealthy"))
        await reach(kubelet, (1, 0))
        assert f"no healthy devices present; cannot allocate unhealthy devices {RESOURCE}" in await refused(kubelet)


@pytest.mark.parametrize("name", ["1.9", "1.36"])
async def test_the_plugins_refusal_reaches_the_pod(name: str, kubelet_dir: Path) -> None:
    async with registered(kubelet_dir, name) as (kubelet, plugin):
        plugin.answers = {"Allocate": "broken"}
        assert "rpc error: code = Internal desc = broken" in await refused(kubelet)


@pytest.mark.parametrize(
    ("name", "words"), [("1.10", "panic"), ("1.36", "no containers return in allocation response")]
)
async def test_an_answer_without_a_container(name: str, words: str, kubelet_dir: Path) -> None:
    async with registered(kubelet_dir, name) as (kubelet, plugin):
        plugin.answers = {"Allocate": b""}
        assert words in await refused(kubelet)


def prefers(plugin: Plugin) -> None:
    plugin.options.get_preferred_allocation_available = True


def needs_pre_start(plugin: Plugin) -> None:
    plugin.options.pre_start_required = True


async def with_options(kubelet: FakeKubelet, plugin: Plugin, choose: Callable[[Plugin], None]) -> None:
    """Take a registration with these options."""
    choose(plugin)
    assert await plugin.register() == OK
    await reach(kubelet, (2, 2))


def preferring(*ids: str) -> bytes:
    answer = wire.ContainerPreferredAllocationResponse(deviceIDs=ids)
    return wire.PreferredAllocationResponse(container_responses=[answer]).SerializeToString()


@pytest.mark.parametrize(
    ("answer", "chosen"),
    [
        (preferring("b"), "b"),
        (preferring("unknown"), "a"),
        (preferring(), "a"),
        (b"", "a"),
        (preferring("b", "a"), "b"),
    ],
)
async def test_a_preference_counts_as_far_as_it_can(answer: bytes, chosen: str, kubelet_dir: Path) -> None:
    async with FakeKubelet(kubelet_dir, release("1.36")) as kubelet, Plugin(kubelet_dir, release("1.36")) as plugin:
        await with_options(kubelet, plugin, prefers)
        plugin.answers = {**plugin.answers, "GetPreferredAllocation": answer}
        assert (await kubelet.allocate(RESOURCE, pod="p")).ids == (chosen,)


async def test_a_preference_that_fails_fails_the_pod_and_1_10_does_not_ask(kubelet_dir: Path) -> None:
    async with FakeKubelet(kubelet_dir, release("1.36")) as kubelet, Plugin(kubelet_dir, release("1.36")) as plugin:
        await with_options(kubelet, plugin, prefers)
        plugin.answers = {**plugin.answers, "GetPreferredAllocation": "no"}
        assert "device plugin GetPreferredAllocation rpc failed with err" in await refused(kubelet)
    async with FakeKubelet(kubelet_dir, release("1.10")) as kubelet, Plugin(kubelet_dir, release("1.10")) as plugin:
        await with_options(kubelet, plugin, prefers)
        await kubelet.allocate(RESOURCE, pod="p")
        assert plugin.called == ["Allocate"]


@pytest.mark.parametrize("name", V1BETA1)
async def test_pre_start_is_called_at_every_start_and_its_error_fails_that_one(name: str, kubelet_dir: Path) -> None:
    async with FakeKubelet(kubelet_dir, release(name)) as kubelet, Plugin(kubelet_dir, release(name)) as plugin:
        await with_options(kubelet, plugin, needs_pre_start)
        await kubelet.allocate(RESOURCE, pod="p")
        await kubelet.start_container("p")
        assert plugin.called.count("PreStartContainer") == 2
        plugin.answers = {**plugin.answers, "PreStartContainer": "not now"}
        with pytest.raises(AdmissionError, match=r"PreStartContainer rpc failed with err: .*not now"):
            await kubelet.start_container("p")


async def test_1_10_keeps_the_options_of_an_earlier_registration(kubelet_dir: Path) -> None:
    async with FakeKubelet(kubelet_dir, release("1.10")) as kubelet, Plugin(kubelet_dir, release("1.10")) as plugin:
        await with_options(kubelet, plugin, needs_pre_start)
        plugin.options.Clear()
        assert await plugin.register() == OK
        await kubelet.wait_for(lambda: len(kubelet.lists) == 2, what="the second list")
        await kubelet.allocate(RESOURCE, pod="p")
        assert "PreStartContainer" in plugin.called
        assert "GetDevicePluginOptions" not in plugin.called


async def test_what_was_waited_for_in_vain_is_told_with_what_was_seen(kubelet_dir: Path) -> None:
    async with registered(kubelet_dir, "1.36") as (kubelet, _):
        with pytest.raises(TimeoutError, match=r"no ninth device within 0.05 s; kubelet 1.36.*2/2.*accepted"):
            await kubelet.wait_for(lambda: False, timeout=0.05, what="ninth device")


async def test_a_fault_of_its_own_is_raised_at_the_end(kubelet_dir: Path) -> None:
    kubelet = FakeKubelet(kubelet_dir, release("1.36"))
    await kubelet.start()
    async with Plugin(kubelet_dir, release("1.36")) as plugin:
        plugin.devices = [("a", "Healthy")]
        kubelet._connections._take = None  # type: ignore[assignment,method-assign]
        await plugin.register()
        await asyncio.sleep(0.1)
        with pytest.raises(TypeError):
            await kubelet.stop()


def test_every_healthy_device_is_said_so() -> None:
    assert healthy("a") == {"a": "Healthy"}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("1.9.7", "Update plugin resources failed due to can't allocate unregistered device example.com/thing"),
        ("1.20", "Allocate failed due to can't allocate unregistered device example.com/thing"),
        ("1.36", "Allocate failed due to cannot allocate unregistered device example.com/thing"),
    ],
)
async def test_what_is_given_up_is_unknown_to_pods_while_another_has_some_of_it(
    name: str, words: str, kubelet_dir: Path
) -> None:
    async with registered(kubelet_dir, name) as (kubelet, plugin):
        await kubelet.allocate(RESOURCE, 1, pod="p")
        plugin.end_streams()
        await reach(kubelet, (0, 0) if name == "1.9.7" else (2, 0))
        await kubelet.age(310)
        assert counts(kubelet) == (None, None)
        assert (await refused(kubelet)).startswith(words)
        if name == "1.9.7":
            assert (await kubelet.start_container("p")).environment == {"THING": "first"}
            return
        with pytest.raises(AdmissionError, match="endpoint not found in cache for a registered resource"):
            await kubelet.start_container("p")
        with pytest.raises(AdmissionError, match="registered"):
            await kubelet.readmit("p")


@pytest.mark.parametrize("name", ["1.9.7", "1.10", "1.36"])
async def test_what_is_given_up_is_not_enough_for_the_first_pod(name: str, kubelet_dir: Path) -> None:
    async with registered(kubelet_dir, name) as (kubelet, plugin):
        plugin.end_streams()
        await reach(kubelet, (0, 0) if name == "1.9.7" else (2, 0))
        await kubelet.age(310)
        assert await refused(kubelet) == (
            "Node didn't have enough resource: example.com/thing, requested: 1, used: 0, capacity: 0"
        )


async def test_a_pod_is_admitted_again_if_its_devices_are_well_from_1_25_on(kubelet_dir: Path) -> None:
    async with registered(kubelet_dir, "1.36") as (kubelet, plugin):
        await kubelet.allocate(RESOURCE, 2, pod="p")
        assert (await kubelet.readmit("p")).environment == {"THING": "first"}
        plugin.list(("a", "Healthy"), ("b", "Unhealthy"))
        await reach(kubelet, (2, 1))
        with pytest.raises(AdmissionError, match="previously allocated devices are no longer healthy"):
            await kubelet.readmit("p")
        plugin.list(("a", "Unhealthy"), ("b", "Unhealthy"))
        await reach(kubelet, (2, 0))
        with pytest.raises(AdmissionError, match="no healthy devices present"):
            await kubelet.readmit("p")
    async with registered(kubelet_dir, "1.20") as (kubelet, plugin):
        await kubelet.allocate(RESOURCE, 2, pod="p")
        plugin.list(("a", "Unhealthy"), ("b", "Unhealthy"))
        await reach(kubelet, (2, 0))
        assert (await kubelet.readmit("p")).environment == {"THING": "first"}


async def test_1_8_admits_a_pod_again_by_number(kubelet_dir: Path) -> None:
    async with registered(kubelet_dir, "1.8") as (kubelet, plugin):
        await kubelet.allocate(RESOURCE, 2, pod="p")
        assert (await kubelet.readmit("p")).environment == {"THING": "first"}
        plugin.list(("a", "Healthy"), ("b", "Unhealthy"))
        await reach(kubelet, (1, 1))
        with pytest.raises(AdmissionError, match="requested: 2, used: 0, capacity: 1"):
            await kubelet.readmit("p")


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("1.8", {"folder", "to a folder", "to nothing"}),
        ("1.20", {"folder", "to a file", "to a folder", "to nothing"}),
        ("1.25", {"folder"}),
        ("1.36", {"file", "folder", "to a file", "to a folder", "to nothing"}),
    ],
)
async def test_what_a_starting_kubelet_deletes(name: str, left: set[str], kubelet_dir: Path) -> None:
    (kubelet_dir / "folder").mkdir()
    (kubelet_dir / "file").touch()
    for target in ("a file", "a folder", "nothing"):
        (kubelet_dir / f"to {target}").symlink_to(target.removeprefix("a "))
    async with Plugin(kubelet_dir, release(name)) as plugin:
        (kubelet_dir / "to a socket").symlink_to(plugin.name)
        async with FakeKubelet(kubelet_dir, release(name)):
            found = {path.name for path in kubelet_dir.iterdir()} - {"kubelet.sock"}
    assert found - {"to a file"} == left - {"to a file"}


@pytest.mark.parametrize(("name", "after"), [("1.8", (2, 2)), ("1.34.3", (2, 2)), ("1.34.4", (2, 0)), ("1.36", (2, 0))])
async def test_an_id_that_is_not_utf_8_ends_the_stream_from_1_34_4_on(
    name: str, after: Counts, kubelet_dir: Path
) -> None:
    async with registered(kubelet_dir, name) as (kubelet, plugin):
        known = len(kubelet.lists)
        plugin.send(not_utf8([("a", "Healthy"), ("bb", "Healthy")], "bb"))
        await kubelet.wait_for(
            lambda: len(kubelet.lists) > known or not kubelet.open_streams(RESOURCE), what="a conclusion"
        )
        await reach(kubelet, after)


async def test_an_answer_that_is_none_is_an_error_of_the_pod(kubelet_dir: Path) -> None:
    async with registered(kubelet_dir, "1.36") as (kubelet, plugin):
        plugin.answers = {"Allocate": b"\x0a\xff"}
        assert "failed to unmarshal the received message" in await refused(kubelet)
