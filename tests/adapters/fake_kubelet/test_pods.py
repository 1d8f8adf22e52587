"""How each release admits pods, chooses devices and starts containers."""

import json
from pathlib import Path

import pytest

from adapters.fake_kubelet.counts import ALL, V1BETA1, counts, needs_pre_start, reach, refused, registered, with_options
from adapters.fake_kubelet.plugin import RESOURCE, Plugin
from plugin_gateway.adapters.fake_kubelet import AdmissionError, FakeKubelet, release
from plugin_gateway.adapters.fake_kubelet.kubelet import CHECKPOINT
from plugin_gateway.adapters.kubelet.checkpoint import Holder, read_checkpoint
from plugin_gateway.api.v1beta1 import api_pb2 as wire


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


@pytest.mark.parametrize(
    ("name", "ids"),
    [("1.8", None), ("1.9", ["a"]), ("1.10", ["a"]), ("1.11", ["a"]), ("1.19", ["a"]), ("1.20", {"-1": ["a"]})],
)
async def test_the_checkpoint_has_the_layout_of_the_release(name: str, ids: object, kubelet_dir: Path) -> None:
    async with registered(kubelet_dir, name) as (kubelet, _):
        await kubelet.allocate(RESOURCE, pod="p")
        written = json.loads((kubelet_dir / CHECKPOINT).read_text())
    assert ("Data" in written, "Checksum" in written) == (name in {"1.11", "1.19", "1.20"},) * 2
    content = written.get("Data", written)
    if ids is None:
        assert [(each["PodUID"], each["DeviceID"]) for each in content["Entries"]] == [("p", "a")]
    else:
        assert [(each["PodUID"], each["DeviceIDs"]) for each in content["PodDeviceEntries"]] == [("p", ids)]


@pytest.mark.parametrize("name", ALL)
async def test_the_checkpoint_has_what_pods_hold(name: str, kubelet_dir: Path) -> None:
    async with registered(kubelet_dir, name) as (kubelet, _):
        assert (read_checkpoint(kubelet_dir) is None) == (name == "1.8")
        await kubelet.allocate(RESOURCE, pod="p")
        holder = Holder("p", "main", RESOURCE, frozenset("a"))
        listed = {} if name == "1.8" else {RESOURCE: frozenset("ab")}
        answered: set[tuple[str, str]] = set() if name == "1.8" else {(RESOURCE, "a")}
        kept = read_checkpoint(kubelet_dir)
        assert kept is not None
        assert (kept.holders, kept.registered, set(kept.answers)) == ((holder,), listed, answered)


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


async def test_an_answer_that_is_none_is_an_error_of_the_pod(kubelet_dir: Path) -> None:
    async with registered(kubelet_dir, "1.36") as (kubelet, plugin):
        plugin.answers = {"Allocate": b"\x0a\xff"}
        assert "failed to unmarshal the received message" in await refused(kubelet)
