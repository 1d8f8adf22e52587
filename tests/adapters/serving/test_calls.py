"""What an endpoint does around a dialect: it grants what the resource decides, and says what is left out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest

from adapters.builders import advertisement, served
from adapters.serving.test_service import call, connected, refusal, serving
from core.resources.cards import COMMON, NAME, address, card, folder, offer
from harness.devices import VARIABLE
from harness.hosts import EveryNode, Host
from plugin_gateway.adapters.configuration.options import DEFAULT_RESOURCE
from plugin_gateway.adapters.dialects import load_dialects
from plugin_gateway.adapters.dialects.dialect import OPTIONS, Dialect
from plugin_gateway.adapters.dialects.v1alpha import V0_1, V1ALPHA2
from plugin_gateway.adapters.dialects.v1beta1 import V1BETA1
from plugin_gateway.adapters.serving.calls import Calls
from plugin_gateway.adapters.serving.resource import ServedResource
from plugin_gateway.core.resources.allocation import ContainerEdits, DeviceNode, Edit
from plugin_gateway.core.resources.policy import AllocationPolicy
from plugin_gateway.core.resources.preference import PreferenceRequest

ALL = load_dialects()
LEFT_OUT = "this kubelet's dialect cannot carry all that a container should get"


class Generous(ServedResource):
    """Gives each container something of many kinds, and annotations only with a second device."""

    def __init__(self) -> None:
        super().__init__(DEFAULT_RESOURCE, advertisement(), AllocationPolicy(), EveryNode())

    def allocate(self, ids: Sequence[str], policy: AllocationPolicy | None = None) -> ContainerEdits:  # noqa: ARG002
        return ContainerEdits(
            environment={"A": ",".join(ids)},
            device_nodes=(DeviceNode("/dev/in", "/dev/out"),),
            annotations={"note": "x"} if len(ids) > 1 else {},
            cdi_devices=("example.com/thing=1",),
        )


def path_of(dialect: Dialect, name: str) -> str:
    return f"/{dialect.service}/{name}"


async def allocated(directory: Path, dialect: Dialect, of: ServedResource, *ids: str) -> Sequence[ContainerEdits]:
    method = dialect.allocation
    async with serving(directory, of, dialect) as endpoint, connected(endpoint) as channel:
        data = await call(channel, path_of(dialect, method.name), method.write_request([ids]))
    return method.read_answer(data)


@pytest.mark.parametrize("dialect", ALL)
async def test_the_ids_that_are_asked_for_are_granted(dialect: Dialect, kubelet_dir: Path) -> None:
    (edits,) = await allocated(kubelet_dir, dialect, served(), "GPU-2", "GPU-0")
    assert edits.environment == {VARIABLE: "GPU-0,GPU-2"}
    assert [node.container_path for node in edits.device_nodes] == ["/dev/nvidia0", "/dev/nvidia2", "/dev/nvidiactl"]


async def test_each_container_gets_its_own(kubelet_dir: Path) -> None:
    method = V1BETA1.allocation
    async with serving(kubelet_dir, served()) as endpoint, connected(endpoint) as channel:
        request = method.write_request([("GPU-1", "GPU-0"), ("GPU-2",), ()])
        read = method.read_answer(await call(channel, path_of(V1BETA1, method.name), request))
    assert [edits.environment.get(VARIABLE) for edits in read] == ["GPU-0,GPU-1", "GPU-2", None]


@pytest.mark.parametrize("dialect", ALL)
async def test_ids_that_cannot_be_granted_are_named(dialect: Dialect, kubelet_dir: Path) -> None:
    method = dialect.allocation
    of = served(unhealthy=(3,))
    async with serving(kubelet_dir, of, dialect) as endpoint, connected(endpoint) as channel:
        for ids, named in ((("GPU-0", "GPU-9"), "GPU-9"), (("GPU-1", "GPU-1"), "GPU-1"), (("GPU-3",), "GPU-3")):
            _, words = await refusal(channel, path_of(dialect, method.name), method.write_request([ids]))
            assert words.endswith(f": {named}")


async def test_preferences_options_and_the_start_of_a_container_are_answered(kubelet_dir: Path) -> None:
    prefer, options, start = V1BETA1.preference, V1BETA1.options, V1BETA1.pre_start
    assert prefer is not None
    assert options is not None
    assert start is not None
    async with serving(kubelet_dir, served()) as endpoint, connected(endpoint) as channel:
        request = prefer.write_request([PreferenceRequest(("GPU-3", "GPU-1"), ("GPU-3",), 2)] * 2)
        preferred = prefer.read_answer(await call(channel, path_of(V1BETA1, prefer.name), request))
        assert preferred == (("GPU-3", "GPU-1"), ("GPU-3", "GPU-1"))
        assert options.read_answer(await call(channel, path_of(V1BETA1, options.name), b"")) == OPTIONS
        start.read_answer(await call(channel, path_of(V1BETA1, start.name), start.write_request(("GPU-1",))))


@pytest.mark.parametrize("dialect", [V1ALPHA2, V0_1])
async def test_what_a_dialect_cannot_carry_is_said_once_for_each_registration(
    dialect: Dialect, kubelet_dir: Path, told: list[dict[str, Any]]
) -> None:
    method, of = dialect.allocation, Generous()
    for _ in range(2):  # each registration has an endpoint of its own
        told.clear()
        async with serving(kubelet_dir, of, dialect) as endpoint, connected(endpoint) as channel:
            for ids in (("GPU-0",), ("GPU-0",), ("GPU-0", "GPU-1"), ("GPU-0", "GPU-1")):
                data = await call(channel, path_of(dialect, method.name), method.write_request([ids]))
                assert method.read_answer(data)[0].environment == {"A": ",".join(ids)}
        assert [(each["event"], each["dialect"], each["left_out"], each["resource"]) for each in told] == [
            (LEFT_OUT, dialect.version, ["CDI devices"], DEFAULT_RESOURCE),
            (LEFT_OUT, dialect.version, ["annotations"], DEFAULT_RESOURCE),
        ]


async def test_nothing_is_said_where_the_dialect_carries_everything(
    kubelet_dir: Path, told: list[dict[str, Any]]
) -> None:
    (edits,) = await allocated(kubelet_dir, V1BETA1, Generous(), "GPU-0", "GPU-1")
    assert (edits.annotations, edits.cdi_devices) == ({"note": "x"}, ("example.com/thing=1",))
    assert told == []


def test_what_was_left_out_is_known() -> None:
    calls = Calls(V1ALPHA2, Generous())
    assert calls.left_out == frozenset()
    calls._allocate([("GPU-0",)])
    assert calls.left_out == {Edit.CDI_DEVICES}


async def test_each_answer_is_timed_and_refusals_are_too(kubelet_dir: Path) -> None:
    of, method = served(), V1BETA1.allocation
    async with serving(kubelet_dir, of) as endpoint, connected(endpoint) as channel:
        await call(channel, path_of(V1BETA1, method.name), method.write_request([("GPU-0",)]))
        code, _ = await refusal(channel, path_of(V1BETA1, method.name), b"\xff")
        assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert of.timings[method.name].buckets()[-1] == ("+Inf", 2.0)
    assert isinstance(of.timings[method.name].total, float)


class ChangingNodes(EveryNode):
    """A host on which these device nodes are missing now."""

    def __init__(self) -> None:
        self.missing: set[str] = set()

    def present(self, paths: Sequence[str]) -> Sequence[str]:
        return [path for path in paths if path not in self.missing]

    def generation(self) -> int:
        return hash(frozenset(self.missing))


async def test_the_same_request_gets_what_is_true_then(kubelet_dir: Path, told: list[dict[str, Any]]) -> None:
    nodes, method = ChangingNodes(), V1BETA1.allocation
    of = ServedResource(DEFAULT_RESOURCE, advertisement(2), AllocationPolicy(), nodes)
    request, path = method.write_request([("GPU-1",)]), path_of(V1BETA1, method.name)
    async with serving(kubelet_dir, of, V1BETA1) as endpoint, connected(endpoint) as channel:
        whole = await call(channel, path, request)
        of.publish(advertisement(2, unhealthy=(0,)))
        assert await call(channel, path, request) == whole
        nodes.missing.add("/dev/nvidiactl")
        for _ in range(2):
            (edits,) = method.read_answer(await call(channel, path, request))
            assert [node.container_path for node in edits.device_nodes] == ["/dev/nvidia1"]
        assert [each["nodes"] for each in told] == [("/dev/nvidiactl",)] * 2
        nodes.missing.clear()
        assert await call(channel, path, request) == whole
        of.publish(advertisement(2, unhealthy=(1,)))
        code, problem = await refusal(channel, path, request)
        assert (code, "unhealthy" in problem) == (grpc.StatusCode.FAILED_PRECONDITION, True)


async def test_a_kept_answer_counts_as_an_allocation(kubelet_dir: Path) -> None:
    of, method = served(), V1BETA1.allocation
    request, path = method.write_request([("GPU-1",), ("GPU-2",)]), path_of(V1BETA1, method.name)
    async with serving(kubelet_dir, of, V1BETA1) as endpoint, connected(endpoint) as channel:
        first = await call(channel, path, request)
        of._granted.clear()
        assert await call(channel, path, request) == first
    assert of.granted() == {"GPU-1", "GPU-2"}


async def test_nodes_that_were_made_anew_are_in_the_next_answer_to_the_same_request(kubelet_dir: Path) -> None:
    nodes, method = {"/dev/net": ["common", "verbs1"], folder(1): ["verbs1"]}, V1BETA1.allocation
    of = ServedResource(NAME, offer([card(0), card(1)]), AllocationPolicy(), Host(folders=nodes))
    request, path = method.write_request([(address(1),)]), path_of(V1BETA1, method.name)
    async with serving(kubelet_dir, of, V1BETA1) as endpoint, connected(endpoint) as channel:
        for name in ("verbs1", "verbs5", "verbs1"):
            nodes["/dev/net"], nodes[folder(1)] = ["common", name], [name]
            (edits,) = method.read_answer(await call(channel, path, request))
            assert [node.host_path for node in edits.device_nodes] == [f"/dev/net/{name}", COMMON]
        nodes[folder(1)] = []
        code, problem = await refusal(channel, path, request)
        assert (code, problem) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            f"{folder(1)}/* is not there; not given out: {address(1)}",
        )
