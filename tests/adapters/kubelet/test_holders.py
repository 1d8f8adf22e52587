"""Which pod holds which device: the kubelet's word in both versions, and its checkpoint in all five layouts."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from harness.confined import NO_CAPABILITIES, close, closed_socket, needs_root
from plugin_gateway.adapters.kubelet import pod_resources
from plugin_gateway.adapters.kubelet.checkpoint import NAME, Checkpoint, CheckpointError, Holder, read_checkpoint
from plugin_gateway.adapters.kubelet.holders import MAX_NAMES, find_holders, held_twice, known_answers, names_by_device
from plugin_gateway.adapters.kubelet.pod_resources import PodResourcesError, list_holders
from plugin_gateway.api.podresources import api_pb2 as wire

RESOURCE = "nvidia.com/gpu"
ASK = """\
import pathlib, sys
from plugin_gateway.adapters.kubelet.holders import find_holders, living_holders
place = pathlib.Path(sys.argv[1])
print(find_holders(place).source)
print([each.pod for each in living_holders(place)])
"""
STREAM_OPEN = Holder("uid", "main", RESOURCE, frozenset({"GPU-1", "GPU-2"}))
REGISTERED = {RESOURCE: frozenset({"GPU-1", "GPU-2", "GPU-3"})}
ANSWERED = {(RESOURCE, "GPU-1"): b"\0", (RESOURCE, "GPU-2"): b"\0"}


def entry(ids: object) -> dict[str, object]:
    return {"PodUID": "uid", "ContainerName": "main", "ResourceName": RESOURCE, "DeviceIDs": ids, "AllocResp": "AA=="}


def content(ids: object) -> dict[str, object]:
    return {"PodDeviceEntries": [entry(ids)], "RegisteredDevices": {RESOURCE: ["GPU-1", "GPU-2", "GPU-3"]}}


LAYOUTS: Mapping[str, tuple[object, Checkpoint]] = {
    "1.8": (
        {
            "Entries": [
                {"PodUID": "uid", "ContainerName": "main", "ResourceName": RESOURCE, "DeviceID": name}
                for name in ("GPU-1", "GPU-2")
            ]
        },
        Checkpoint((STREAM_OPEN,), {}),
    ),
    "1.9 and 1.10": (content(["GPU-1", "GPU-2"]), Checkpoint((STREAM_OPEN,), REGISTERED, ANSWERED)),
    "1.9 without pods": (
        {"PodDeviceEntries": None, "RegisteredDevices": {RESOURCE: None}},
        Checkpoint((), {RESOURCE: frozenset()}),
    ),
    "1.11": ({"Data": content(["GPU-1", "GPU-2"]), "Checksum": 5}, Checkpoint((STREAM_OPEN,), REGISTERED, ANSWERED)),
    "1.20": (
        {"Data": content({"0": ["GPU-1"], "1": ["GPU-1", "GPU-2"]}), "Checksum": 5},
        Checkpoint((STREAM_OPEN,), REGISTERED, ANSWERED),
    ),
    "1.23": (
        {"Data": content({"-1": ["GPU-1", "GPU-2"]}), "Checksum": 5},
        Checkpoint((STREAM_OPEN,), REGISTERED, ANSWERED),
    ),
}


@pytest.mark.parametrize(("value", "expected"), LAYOUTS.values(), ids=LAYOUTS.keys())
def test_every_layout_of_the_checkpoint_is_read(value: object, expected: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "kubelet_internal_checkpoint"
    path.write_text(json.dumps(value))
    before = path.stat()
    assert read_checkpoint(tmp_path) == expected
    assert path.stat() == before


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "it is empty"),
        (" \n", "it is empty"),
        ("{", "it is cut: its JSON has no end"),
        ('{"Data":{"PodDeviceEntries":[{"PodUID":"p"', "it is cut: its JSON has no end"),
        ('{"Data":{"PodDeviceEntries":[{"PodU', "it is cut: its JSON has no end"),
        ('{"Data":{"PodDeviceEntries":}}', "it is not JSON: Expecting value"),
        ("[" * 100_000, "it is not JSON"),
        ("5", "no layout that a kubelet writes"),
        ("{}", "no layout that a kubelet writes"),
        ('{"Data": null}', "no layout that a kubelet writes"),
        ('{"PodDeviceEntries": [{}], "RegisteredDevices": {}}', "no layout that a kubelet writes"),
        (json.dumps(content(5)), "no layout that a kubelet writes"),
    ],
)
def test_a_checkpoint_that_is_none_is_told(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "kubelet_internal_checkpoint").write_text(text)
    with pytest.raises(CheckpointError, match=words):
        read_checkpoint(tmp_path)
    assert words in find_holders(tmp_path).source


def test_without_a_checkpoint_nothing_is_known(tmp_path: Path) -> None:
    assert read_checkpoint(tmp_path) is None
    path = tmp_path.parent / "pod-resources" / "kubelet.sock"
    assert find_holders(tmp_path) == ((), f"{path}: there is no such file, and there is no checkpoint")
    (tmp_path / "kubelet_internal_checkpoint").mkdir()
    with pytest.raises(CheckpointError, match="Is a directory"):
        read_checkpoint(tmp_path)


def test_a_pipe_in_its_place_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "kubelet_internal_checkpoint")
    with pytest.raises(CheckpointError, match="it is empty"):
        read_checkpoint(tmp_path)


def pods() -> wire.ListPodResourcesResponse:
    """As 1.21 and later write them: an entry for each device, and one more for each NUMA node of it."""
    devices = [wire.ContainerDevices(resource_name=RESOURCE, device_ids=[name]) for name in ("GPU-1", "GPU-2", "GPU-2")]
    container = wire.ContainerResources(name="main", devices=devices)
    pod = wire.PodResources(name="pod", namespace="default", containers=[container])
    return wire.ListPodResourcesResponse(pod_resources=[pod])


class Lister(grpc.GenericRpcHandler):
    def __init__(self, package: str, answer: bytes, code: grpc.StatusCode | None) -> None:
        self.package, self.answer, self.code = package, answer, code

    def service(self, handler_call_details: Any) -> Any:
        if handler_call_details.method != f"/{self.package}.PodResourcesLister/List":
            return None

        async def answer(_request: bytes, context: Any) -> bytes:
            if self.code is not None:
                await context.abort(self.code, "words")
            return self.answer

        return grpc.unary_unary_rpc_method_handler(answer)


@asynccontextmanager
async def kubelet(
    root: Path, package: str, answer: bytes = b"", code: grpc.StatusCode | None = None
) -> AsyncIterator[Path]:
    path = root / "pod-resources" / "kubelet.sock"
    path.parent.mkdir()
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Lister(package, answer, code),))
    server.add_insecure_port(f"unix:{path}")
    await server.start()
    try:
        yield path
    finally:
        await server.stop(None)


@pytest.fixture
def root(kubelet_dir: Path) -> Path:
    (kubelet_dir / "device-plugins").mkdir()
    return kubelet_dir


@pytest.mark.parametrize("package", ["v1", "v1alpha1"])
async def test_the_kubelets_word_is_taken_in_both_versions(package: str, root: Path) -> None:
    async with kubelet(root, package, pods().SerializeToString()):
        found = await asyncio.to_thread(find_holders, root / "device-plugins")
    holding = Holder("default/pod", "main", RESOURCE, frozenset({"GPU-1", "GPU-2"}))
    assert found == ((holding,), "told by the kubelet")


@pytest.mark.parametrize(
    ("package", "answer", "code", "words"),
    [
        ("v2", b"", None, "serves neither of v1 and v1alpha1.PodResourcesLister"),
        ("v1", b"\xff", None, "the kubelet's answer is no list of pods"),
        ("v1", b"", grpc.StatusCode.RESOURCE_EXHAUSTED, "RESOURCE_EXHAUSTED: words"),
    ],
)
async def test_a_kubelet_that_does_not_tell_says_why_and_its_checkpoint_is_read(
    package: str, answer: bytes, code: grpc.StatusCode | None, words: str, root: Path
) -> None:
    async with kubelet(root, package, answer, code) as path:
        with pytest.raises(PodResourcesError, match=words):
            await asyncio.to_thread(list_holders, path)
        assert words in (await asyncio.to_thread(find_holders, root / "device-plugins")).source
        (root / "device-plugins" / "kubelet_internal_checkpoint").write_text(json.dumps(content(["GPU-1", "GPU-2"])))
        found = await asyncio.to_thread(find_holders, root / "device-plugins")
    assert found.holders == (STREAM_OPEN,)
    assert found.source.startswith("from the kubelet's checkpoint")
    assert words in found.source


def test_why_the_kubelet_could_not_be_asked_is_told(root: Path) -> None:
    path = root / "pod-resources" / "kubelet.sock"
    path.parent.mkdir()
    (root / "device-plugins" / "kubelet_internal_checkpoint").write_text(json.dumps(content(["GPU-1"])))
    path.touch()
    assert find_holders(root / "device-plugins").source.endswith(f"cannot be asked: {path}: it is no socket")
    path.unlink()
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(path))
    assert find_holders(root / "device-plugins").source.endswith(f"cannot be asked: {path}: nobody listens on it")


@needs_root
def test_a_kubelet_that_may_not_be_asked_is_told_and_its_checkpoint_counts(root: Path) -> None:
    (root / "device-plugins" / "kubelet_internal_checkpoint").write_text(json.dumps(content(["GPU-1"])))
    path = root / "pod-resources" / "kubelet.sock"
    path.parent.mkdir()
    with closed_socket(path):
        for closed in (path, path.parent):
            close(closed)
            command = (*NO_CAPABILITIES, sys.executable, "-c", ASK, str(root / "device-plugins"))
            told = subprocess.run(command, capture_output=True, check=True, text=True, timeout=20).stdout
            assert f"cannot be asked: {path}: Permission denied; this is root already: SELinux" in told
            assert told.endswith("\n['uid']\n")


async def test_a_kubelet_that_never_answers_is_not_waited_for(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pod_resources, "TIMEOUT", 0.2)
    path = root / "pod-resources" / "kubelet.sock"
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with pytest.raises(PodResourcesError, match="DEADLINE_EXCEEDED"):
            await asyncio.to_thread(list_holders, path)


def test_a_pod_that_only_the_checkpoint_knows_is_marked_if_its_folder_is_gone(root: Path) -> None:
    entries = [entry(["GPU-1"]), {**entry(["GPU-1"]), "PodUID": "../pods"}, {**entry(["GPU-2"]), "PodUID": "uid-2"}]
    checkpoint = {"PodDeviceEntries": entries, "RegisteredDevices": {}}
    (root / "device-plugins" / "kubelet_internal_checkpoint").write_text(json.dumps(checkpoint))
    found = find_holders(root / "device-plugins")
    assert {holder.is_gone for holder in found.holders} == {False}, "the folders cannot be seen"
    (root / "pods" / "uid-2").mkdir(parents=True)
    found = find_holders(root / "device-plugins")
    assert {holder.pod: holder.is_gone for holder in found.holders} == {"uid": True, "../pods": True, "uid-2": False}
    assert names_by_device(found.holders) == {"GPU-1": "uid main (gone), ../pods main (gone)", "GPU-2": "uid-2 main"}


async def test_what_only_the_checkpoint_knows_is_added_to_the_kubelets_word(root: Path) -> None:
    entries = [entry(["GPU-1"]), {**entry(["GPU-2"]), "PodUID": "old", "ContainerName": "other"}]
    checkpoint = {"PodDeviceEntries": entries, "RegisteredDevices": {}}
    (root / "device-plugins" / "kubelet_internal_checkpoint").write_text(json.dumps(checkpoint))
    (root / "pods").mkdir()
    async with kubelet(root, "v1", pods().SerializeToString()):
        found = await asyncio.to_thread(find_holders, root / "device-plugins")
        (root / "device-plugins" / "kubelet_internal_checkpoint").write_text("{")
        without = await asyncio.to_thread(find_holders, root / "device-plugins")
    assert found.source == "told by the kubelet, some only by its checkpoint"
    assert names_by_device(found.holders) == {
        "GPU-1": "default/pod main",
        "GPU-2": "default/pod main, old other (gone)",
    }
    assert (len(without.holders), without.source) == (1, "told by the kubelet")


def test_a_limited_number_of_containers_is_named() -> None:
    holders = [Holder(f"pod-{number}", "main", RESOURCE, frozenset({"GPU-1"})) for number in range(100)]
    assert names_by_device(holders)["GPU-1"].endswith(f"pod-{MAX_NAMES - 1} main, and {100 - MAX_NAMES} more")
    assert names_by_device(holders, 2)["GPU-1"] == "pod-0 main, pod-1 main, and 98 more"
    assert names_by_device(holders[:2], 2)["GPU-1"] == "pod-0 main, pod-1 main"


def holding(pod: str, *devices: str, container: str = "main", is_gone: bool = False) -> Holder:
    return Holder(pod, container, RESOURCE, frozenset(devices), is_gone)


def test_a_part_of_a_device_counts_for_the_device() -> None:
    holders = [holding("a/one", "GPU-1::0", "GPU-1::1"), holding("a/two", "GPU-1::2"), holding("a/two", "GPU-2")]
    assert names_by_device(holders) == {"GPU-1": "a/one main, a/two main", "GPU-2": "a/two main"}


@pytest.mark.parametrize(
    ("holders", "twice"),
    [
        ([holding("a/one", "GPU-1"), holding("a/two", "GPU-1", "GPU-2")], {"GPU-1": ("a/one", "a/two")}),
        ([holding("a/one", "GPU-1"), holding("a/two", "GPU-1::3")], {"GPU-1": ("a/one", "a/two")}),
        ([holding("a/one", "GPU-1::3"), holding("a/two", "GPU-1::3")], {"GPU-1": ("a/one", "a/two")}),
        ([holding("a/one", "GPU-1::0"), holding("a/two", "GPU-1::3")], {}),
        ([holding("a/one", "GPU-1", container="init"), holding("a/one", "GPU-1")], {}),
        ([holding("uid-1", "GPU-1", is_gone=True), holding("uid-2", "GPU-1")], {}),
        ([holding("a/one", "GPU-1"), holding("uid-1", "GPU-1")], {}),
        ([holding("uid-1", "GPU-1"), holding("uid-2", "GPU-1")], {"GPU-1": ("uid-1", "uid-2")}),
    ],
)
def test_a_device_in_two_living_pods_is_held_twice_but_not_one_that_is_shared_on_purpose(
    holders: list[Holder], twice: dict[str, tuple[str, ...]]
) -> None:
    assert held_twice(holders) == twice


def test_the_checkpoint_has_what_was_answered(tmp_path: Path) -> None:
    entries = [
        {**entry({"0": ["GPU-1::0"]}), "AllocResp": "AAE="},
        {**entry({"0": ["GPU-1::0", "GPU-2"]}), "AllocResp": "Ag=="},
        {**entry({"0": ["GPU-3"]}), "AllocResp": "not base64"},
        {**entry({"0": ["GPU-4"]}), "AllocResp": None},
        {**entry({"0": ["GPU-5"]}), "AllocResp": 7},
    ]
    data = {"PodDeviceEntries": entries, "RegisteredDevices": {}}
    (tmp_path / NAME).write_text(json.dumps({"Data": data, "Checksum": 1}))
    assert known_answers(tmp_path) == {
        (RESOURCE, "GPU-1::0"): b"\x00\x01\x02",
        (RESOURCE, "GPU-2"): b"\x02",
        (RESOURCE, "GPU-4"): b"",
    }
    assert len(read_checkpoint(tmp_path).holders) == 1, "what was answered decides about no holder"  # type: ignore[union-attr]


def test_the_same_answer_to_many_pods_is_there_once(tmp_path: Path) -> None:
    entries = [{**entry({"0": ["GPU-1"]}), "PodUID": f"uid-{number}"} for number in range(1000)]
    (tmp_path / NAME).write_text(json.dumps({"PodDeviceEntries": entries, "RegisteredDevices": {}}))
    assert known_answers(tmp_path) == {(RESOURCE, "GPU-1"): b"\0"}


@pytest.mark.parametrize("text", [None, "{"], ids=["no file", "damaged"])
def test_without_a_checkpoint_no_answer_is_known(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / NAME).write_text(text)
    assert known_answers(tmp_path) == {}
