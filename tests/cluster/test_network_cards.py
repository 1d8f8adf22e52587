"""Tests of pods that ask for network cards beside GPUs."""

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml

from cards import offered
from cards.offered import COUNTS, HCA, LIBRARIES, ONLOAD, RDMA_CM, VF, VFS
from cluster.build import BUILT
from cluster.cluster import LIMIT, RESOURCE, SYSTEM, Cluster
from cluster.facts import Note
from cluster.gateway import Gateway
from cluster.machine import wait_until
from cluster.network_cards import DEVICE_INFO, FIRST_UVERBS, ONLOAD_FOLDER, UVERBS_MAJOR, NetworkCards, minor_of
from cluster.pods import COMPUTE_NODES, Pods, gpu_pod

NODES = "cd /dev; find . -type c ! -path './pts/*' | sed 's|^./||'"
VARIABLE = "PCIDEVICE_EXAMPLE_COM_VF"
LIBRARY_FOLDER = "/opt/onload/usr/lib64"
QUIET_TIME = 1
"""Seconds."""


@pytest.fixture
def cards(cluster: Cluster, bare: Gateway) -> Iterator[NetworkCards]:
    """Network cards in the node, offered with its GPUs by the chart. Both go with the test."""
    made = NetworkCards(cluster.machine, BUILT / "cards")
    made.install()
    file = yaml.safe_load(offered.TEXT)
    (onload,) = file["resources"]["onload"]
    onload["containerPath"] = "/opt/onload"
    bare.install(
        config={"file": file},
        rdma={"deviceInfoDir": DEVICE_INFO},
        onload={"hostPath": ONLOAD_FOLDER},
        linkQuietTime=QUIET_TIME,
    )
    wait_for(cluster)
    yield made
    bare.remove()
    made.remove()


def wait_for(cluster: Cluster, **changed: int) -> None:
    """Wait until all are allocatable, or other numbers of some: of ``vf``, ``hca`` and ``onload``."""
    names = {"vf": VF, "hca": HCA, "onload": ONLOAD}
    wanted = {RESOURCE: 8, **COUNTS, **{names[each]: count for each, count in changed.items()}}

    def allocatable() -> Mapping[str, int]:
        told = cluster.node()["status"]["allocatable"]
        return {name: int(told.get(name, 0)) for name in wanted}

    wait_until(lambda: allocatable() == wanted, lambda: f"{wanted} allocatable, not {allocatable()}", LIMIT)


def pod_with(name: str, **limits: int) -> Mapping[str, Any]:
    """Return a pod that asks for these devices, and sees the folder of the node with the files for Multus."""
    names = {"gpu": RESOURCE, "vf": VF, "hca": HCA, "onload": ONLOAD}
    pod = gpu_pod(name, 0, volumes=[{"name": "device-info", "hostPath": {"path": DEVICE_INFO, "type": "Directory"}}])
    (container,) = pod["spec"]["containers"]
    container["resources"] = {"limits": {names[each]: count for each, count in limits.items()}}
    container["volumeMounts"] = [{"name": "device-info", "mountPath": "/device-info", "readOnly": True}]
    return pod


def environment(pods: Pods, name: str) -> Mapping[str, str]:
    return dict(line.split("=", 1) for line in pods.run(name, "env").splitlines())


@pytest.mark.usefixtures("bare")
def test_a_pod_with_a_gpu_a_virtual_function_and_onload(
    cluster: Cluster, cards: NetworkCards, pods: Pods, note: Note
) -> None:
    """By the chart, a pod with a GPU, a VF and Onload sees its nodes alone, variables, mounts, Multus file."""
    note("pod to running", pods.start(pod_with("every", gpu=1, vf=1, onload=1), pod_with("none")))
    told = environment(pods, "every")
    vf = told[VARIABLE]
    assert vf in VFS
    assert {name: told[name] for name in (VARIABLE, f"{VARIABLE}_INFO")} == offered.of_vfs([vf]).environment
    assert told["LD_PRELOAD"] == f"{LIBRARY_FOLDER}/libonload.so"

    own = cards.numbers(*offered.of_vfs([vf]).device_nodes, *offered.of_onload().device_nodes)
    (gpu,) = pods.given("every").minors
    of_gpu = {f"nvidia{gpu}", *COMPUTE_NODES, "nvidia-modeset"}
    seen, usual = (set(pods.run(name, NODES).split()) for name in ("every", "none"))
    assert seen - usual == {*own, *of_gpu}
    assert not {*own, *of_gpu} & usual
    assert pods.numbers("every", own) == own
    uverbs = range(FIRST_UVERBS, FIRST_UVERBS + 6)
    assert pods.usable_of("every", UVERBS_MAJOR, uverbs) == {minor_of(vf, cards.made)}
    assert pods.usable_of("none", UVERBS_MAJOR, uverbs) == frozenset()

    assert pods.run("every", f"ls {LIBRARY_FOLDER}").split() == list(LIBRARIES)
    assert pods.run("every", f"cat {LIBRARY_FOLDER}/libonload.so") == "libonload\n"
    assert pods.run("every", f"(: > {LIBRARY_FOLDER}/libonload.so) 2>&1; true").endswith("Read-only file system\n")

    (file,) = pods.run("every", "ls /device-info").split()
    assert file == f"example.com-vf-{vf}-device.json"
    assert json.loads(pods.run("every", f"cat /device-info/{file}")) == {
        "type": "pci",
        "version": "1.1.0",
        "pci": {"pci-address": vf, "rdma-device": f"mlx5_{vf[-1]}"},
    }
    assert environment(pods, "none").keys() & {VARIABLE, "LD_PRELOAD", "NVIDIA_VISIBLE_DEVICES"} == set()
    wait_for(cluster)


def test_a_port_fails_and_a_pod_has_a_function_as_the_gateway_is_replaced(
    cluster: Cluster, bare: Gateway, cards: NetworkCards, pods: Pods, note: Note
) -> None:
    """A port goes down and up, the node follows; the next gateway counts a VF whose files are empty, as in a pod."""
    assert bare.capabilities() == 0
    pods.start(pod_with("holder", vf=1, hca=1))
    lives = pods.lives()
    began = time.monotonic()
    cards.made.port_down("0000:3b:00.0")
    wait_for(cluster, hca=3)
    note("port down to allocatable", time.monotonic() - began)
    began = time.monotonic()
    cards.made.port_up("0000:3b:00.0")
    wait_for(cluster)
    note("port up to allocatable", time.monotonic() - began)
    assert time.monotonic() - began > QUIET_TIME

    held = environment(pods, "holder")[VARIABLE]
    cards.give_away(held)
    cluster.kubectl("rollout", "restart", "daemonset/plugin-gateway", SYSTEM)
    bare.wait_ready()
    wait_for(cluster)
    pods.start(*(pod_with(f"next-{number}", vf=1) for number in range(3)))
    given = [environment(pods, f"next-{number}")[VARIABLE] for number in range(3)]
    assert sorted((held, *given)) == list(VFS)
    assert all(pods.numbers(f"next-{number}", [_uverbs(vf)]) for number, vf in enumerate(given))
    assert pods.lives().items() >= lives.items()
    pods.apply(pod_with("last", vf=1))
    wait_until(lambda: f"Insufficient {VF}" in pods.why_it_waits("last"), "it is told why it waits")
    cards.take_back(held)
    pods.delete("holder")
    pods.wait_running("last")
    assert environment(pods, "last")[VARIABLE] == held
    own = cards.numbers(offered.uverbs(held), RDMA_CM)
    assert pods.numbers("last", own) == own


def _uverbs(address: str) -> str:
    return offered.uverbs(address).removeprefix("/dev/")
