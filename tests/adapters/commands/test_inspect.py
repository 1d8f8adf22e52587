"""What `inspect` tells of a socket, ours or not; whatever listens there, it ends soon and with one line."""

import asyncio
import json
import os
import socket
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from adapters.fake_kubelet.plugin import Plugin
from harness.confined import NO_CAPABILITIES, closed_socket, needs_root
from harness.node import DIALECTS, RESOURCE, Node, device, running, until
from harness.process import run_to_end
from plugin_gateway.adapters.commands.inspect import plugin_client
from plugin_gateway.adapters.commands.inspect.command import Wish, find_sockets, inspect
from plugin_gateway.adapters.commands.inspect.plugin_client import InspectionError
from plugin_gateway.adapters.dialects.dialect import Dialect
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release
from plugin_gateway.core.resources.rules import ResourceRule, Selector
from plugin_gateway.core.resources.sharing import Sharing


async def inspected(
    capsys: pytest.CaptureFixture[str], path: Path, wish: Wish | None = None
) -> tuple[int, dict[str, object] | None, str]:
    """Tell status, report and errors."""
    status = await asyncio.to_thread(inspect, [path], wish or Wish(), as_json=True)
    output, errors = capsys.readouterr()
    reports: Sequence[dict[str, object]] = json.loads(output)
    return status, reports[0] if reports else None, errors


def endpoint(kubelet: FakeKubelet) -> Path:
    return kubelet.directory / kubelet.registrations[-1].endpoint


@pytest.mark.parametrize("name", ["1.8", "1.9", "1.10", "1.37"])
async def test_our_own_socket_tells_everything_by_reflection(
    name: str, kubelet_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with FakeKubelet(kubelet_dir, release(name)) as kubelet, running(Node(kubelet_dir)):
        await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 8, what="8 devices")
        status, report, errors = await inspected(capsys, endpoint(kubelet), Wish(allocate=[device(1).id]))
    assert (status, errors) == (0, "")
    assert report is not None
    assert report["reflection"] is True
    package = release(name).package
    assert report["in_force"] == [f"{package}.DevicePlugin"]
    assert report["package"] == package
    assert [each["id"] for each in report["devices"]] == [device(index).id for index in range(8)]  # type: ignore[attr-defined]
    messages = report["messages"]
    assert isinstance(messages, dict)
    shapes = {
        "1.8": ["repeated DeviceRuntimeSpec spec = 1"],
        "1.9": [
            "map<string, string> envs = 1",
            "repeated Mount mounts = 2",
            "repeated DeviceSpec devices = 3",
        ],
    }
    assert messages["AllocateResponse"] == shapes.get(
        name, ["repeated ContainerAllocateResponse container_responses = 1"]
    )
    assert device(1).id in json.dumps(report["allocated"])


async def test_our_own_socket_without_a_kubelet_says_that_nobody_listens(
    kubelet_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running(Node(kubelet_dir)):
        await until(lambda: any(kubelet_dir.glob("plugin-gateway-*")), "the socket")
        (path,) = find_sockets(kubelet_dir)
        assert await asyncio.to_thread(inspect, [path], Wish(prefer=2), as_json=False) == 0
    output = capsys.readouterr().out
    assert "in force     none: no kubelet holds a stream on it" in output
    assert f"{device(7).id}  Healthy  1" in output
    assert f"prefers      {device(0).id}\n             {device(1).id}\n" in output


async def test_replicas_have_one_line_for_each_device(kubelet_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = (
        ResourceRule(selector=Selector(places=((0,), (1,))), name=RESOURCE, sharing=Sharing(replicas=12)),
        ResourceRule(name=RESOURCE),
    )
    async with running(Node(kubelet_dir, rules=rules), devices=3) as node:
        node.fail(1)
        await until(lambda: bool(node.gateway.state.faults), "the fault")
        (path,) = find_sockets(kubelet_dir)
        assert await asyncio.to_thread(inspect, [path], Wish(prefer=13), as_json=False) == 0
        lines = capsys.readouterr().out.splitlines()
        allocate = Wish(allocate=[f"{device(0).id}::11", f"{device(0).id}::2"])
        _, report, errors = await inspected(capsys, path, allocate)
    assert lines[-6:] == [
        f"{device(0).id}::0 to ::11 (12)  Healthy    0",
        f"{device(1).id}::0 to ::11 (12)  Unhealthy  0",
        f"{device(2).id}                  Healthy    0",
        "",
        f"prefers      {device(0).id}::0 to ::11 (12)",
        f"             {device(2).id}",
    ]
    assert report is not None
    ids = [each["id"] for each in report["devices"]]  # type: ignore[attr-defined]
    assert ids == [*(f"{device(index).id}::{number}" for index in (0, 1) for number in range(12)), device(2).id]
    assert json.dumps(report["allocated"]).count(device(0).id) == 1
    assert not errors


async def test_one_sick_replica_of_another_plugin_does_not_tear_the_others_apart(
    kubelet_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """NVIDIA's plugin marks one of many."""
    async with Plugin(kubelet_dir, release("1.36"), ids=[f"a::{number}" for number in range(64)]) as plugin:
        plugin.devices[7] = ("a::7", "Unhealthy")
        assert await asyncio.to_thread(inspect, [kubelet_dir / plugin.name], Wish(), as_json=False) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[:2] for line in lines[-2:]] == [["a::0 to ::6, ::8 to ::63 (63)", "Healthy"], ["a::7", ""]]


@pytest.mark.parametrize(("name", "package"), [("1.9", "deviceplugin"), ("1.36", "v1beta1")])
async def test_a_plugin_without_reflection_is_found_out_by_calling_and_never_allocated_from(
    name: str, package: str, kubelet_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with Plugin(kubelet_dir, release(name)) as plugin:
        status, report, errors = await inspected(capsys, kubelet_dir / plugin.name)
        assert "Allocate" not in plugin.called
    assert (status, errors) == (0, "")
    assert report is not None
    assert (report["package"], report["reflection"], report["in_force"]) == (package, False, [])
    assert [each["id"] for each in report["devices"]] == ["a", "b"]  # type: ignore[attr-defined]


async def test_a_preference_can_be_asked_for(kubelet_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with Plugin(kubelet_dir, release("1.36")) as plugin:
        plugin.unknown = ("GetPreferredAllocation",)
        status, _, errors = await inspected(capsys, kubelet_dir / plugin.name, Wish(prefer=1))
    assert status == 1
    assert errors == f"plugin-gateway: {kubelet_dir / plugin.name}: it does not have GetPreferredAllocation\n"


async def test_a_plugin_that_never_answers_is_let_go(
    kubelet_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugin_client, "TIMEOUT", 0.3)
    async with Plugin(kubelet_dir, release("1.36")) as plugin:
        plugin.delays = {"GetDevicePluginOptions": 5.0}
        status, report, errors = await inspected(capsys, kubelet_dir / plugin.name)
    assert status == 1
    assert report is not None
    assert report["options"] is None
    assert [each["id"] for each in report["devices"]] == ["a", "b"]  # type: ignore[attr-defined]
    assert "no answer to GetDevicePluginOptions within 0 s" in errors


async def test_a_call_that_fails_hides_nothing_else(kubelet_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with Plugin(kubelet_dir, release("1.36"), ids=["b10", "a", "b9"]) as plugin:
        path = kubelet_dir / plugin.name
        plugin.answers = {"GetDevicePluginOptions": "no options", "Allocate": "no devices"}
        status, report, errors = await inspected(capsys, path, Wish(allocate=["a"]))
        assert status == 1
        assert report is not None
        assert [each["id"] for each in report["devices"]] == ["a", "b10", "b9"]  # type: ignore[attr-defined]
        assert (report["options"], report["allocated"]) == (None, None)
        assert errors.splitlines() == [
            f"plugin-gateway: {path}: GetDevicePluginOptions: INTERNAL: no options",
            f"plugin-gateway: {path}: Allocate: INTERNAL: no devices",
        ]
        assert await asyncio.to_thread(inspect, [path], Wish(), as_json=False) == 1
    assert "b10     Healthy  -" in capsys.readouterr().out


@needs_root
async def test_what_may_not_be_asked_is_told_in_one_line(kubelet_dir: Path) -> None:
    path = kubelet_dir / "x.sock"
    with closed_socket(path):
        status, output, errors = await run_to_end("inspect", str(path), within=NO_CAPABILITIES)
    assert (status, output) == (1, "")
    assert errors.startswith(f"plugin-gateway: {path}: Permission denied; this is root already: SELinux")
    assert errors.count("\n") == 1
    os.chown(kubelet_dir, 65534, 65534)
    status, output, errors = await run_to_end("inspect", str(path), within=NO_CAPABILITIES)
    assert (status, output) == (1, "")
    assert errors.startswith(f"plugin-gateway: {path}: Permission denied; this is root already: SELinux")
    assert errors.count("\n") == 1


async def test_a_listener_that_never_says_a_word_is_let_go(
    kubelet_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugin_client, "TIMEOUT", 0.3)
    path = kubelet_dir / "mute.sock"
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(path))
        mute.listen()
        status, report, errors = await inspected(capsys, path)
    assert (status, report) == (1, None)
    assert errors == f"plugin-gateway: {path}: no answer to reflection within 0 s\n"


async def test_a_list_that_is_none_is_told(kubelet_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with Plugin(kubelet_dir, release("1.36")) as plugin:
        plugin.answers = {"GetDevicePluginOptions": b"\xff"}
        status, _, errors = await inspected(capsys, kubelet_dir / plugin.name)
    assert status == 1
    assert "the answer to GetDevicePluginOptions is no v1beta1.DevicePluginOptions" in errors


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda _: None, "there is no such file"),
        (lambda path: path.touch(), "it is no socket"),
        (lambda path: path.mkdir(), "it is no socket"),
    ],
)
async def test_what_is_no_socket_is_told(
    make: object, words: str, kubelet_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert callable(make)
    make(kubelet_dir / "x")
    assert await inspected(capsys, kubelet_dir / "x") == (1, None, f"plugin-gateway: {kubelet_dir / 'x'}: {words}\n")


async def test_a_socket_that_nobody_listens_on_is_told(kubelet_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(kubelet_dir / "x"))
    status, _, errors = await inspected(capsys, kubelet_dir / "x")
    assert status == 1
    assert errors == f"plugin-gateway: {kubelet_dir / 'x'}: nobody listens on it\n"


async def test_the_kubelets_own_socket_is_no_plugin(kubelet_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with FakeKubelet(kubelet_dir, release("1.36")):
        status, _, errors = await inspected(capsys, kubelet_dir / "kubelet.sock")
    assert status == 1
    assert "it answers, and serves neither of v1beta1 and deviceplugin.DevicePlugin" in errors


async def test_without_a_socket_every_plugin_of_the_directory_is_shown(kubelet_dir: Path) -> None:
    with pytest.raises(InspectionError, match="there is no device plugin's socket"):
        find_sockets(kubelet_dir)
    with pytest.raises(InspectionError, match="No such file"):
        find_sockets(kubelet_dir / "nowhere")
    async with Plugin(kubelet_dir, release("1.36"), "a.sock"), Plugin(kubelet_dir, release("1.36"), "b.sock"):
        status, output, errors = await run_to_end("inspect", "--kubelet-dir", str(kubelet_dir))
    assert (status, errors) == (0, "")
    assert output.count("dialect      v1beta1, Kubernetes 1.10 and later") == 2
    assert stat.S_ISDIR(kubelet_dir.stat().st_mode)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.version)
async def test_a_reflecting_client_can_make_a_call_of_its_own(dialect: Dialect, kubelet_dir: Path) -> None:
    """As grpcurl does: everything it knows comes from the socket."""

    def ask(path: Path) -> list[str]:
        with grpc.insecure_channel(f"unix:{path}", options=(("grpc.default_authority", "localhost"),)) as channel:
            pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
            method = pool.FindServiceByName(dialect.service).methods_by_name["ListAndWatch"]
            call: grpc.UnaryStreamMultiCallable[bytes, bytes]
            call = channel.unary_stream(f"/{dialect.service}/ListAndWatch")
            stream = call(b"", timeout=5)
            listed: Any = GetMessageClass(method.output_type).FromString(next(stream))
            stream.cancel()
            return [each.ID for each in listed.devices]

    async with running(Node(kubelet_dir, allowed=[dialect])):
        await until(lambda: any(kubelet_dir.glob("plugin-gateway-*")), "the socket")
        (path,) = find_sockets(kubelet_dir)
        assert await asyncio.to_thread(ask, path) == [device(index).id for index in range(8)]
