"""The labels that NVIDIA's GPU feature discovery 0.20.0 was seen to write, and those of this gateway.

seen-labels.json has the cases: the node, the flags, the configuration, and the labels, or that it refused. The driver
is a stand-in that says of the node what that one said; all that follows is the gateway's. The labels are the same, but
for the differences that are listed here.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from driver.driver import Driver
from harness.pci_config import OF_A_HYPERVISOR, OF_THE_MACHINE
from plugin_gateway.__main__ import PARTS
from plugin_gateway.adapters.commands.flags import options
from plugin_gateway.adapters.configuration.label_policy import label_policy
from plugin_gateway.adapters.configuration.option import GivenFlag
from plugin_gateway.adapters.configuration.reading import decide
from plugin_gateway.adapters.configuration.settings import Settings, make_settings
from plugin_gateway.adapters.gateway.first_look import ask_driver_for_state
from plugin_gateway.adapters.gateway.machine_name import read_machine_name
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.labels.making import Labelled, NodeLabels, node_labels
from plugin_gateway.core.ports import TellsFacts
from plugin_gateway.nvidia.backend import NvmlBackend
from plugin_gateway.nvidia.naming import MigStrategy
from plugin_gateway.nvidia.pace import USUAL_PACE

Seen = Mapping[str, Any]
CASES: Mapping[str, Seen] = {
    case["name"].partition("/")[2]: case
    for case in json.loads(Path(__file__).with_name("seen-labels.json").read_text())
}
H100 = "NVIDIA H100 80GB HBM3"
CARDS: Mapping[str, tuple[int, tuple[int, int]]] = {
    H100: (81559, (9, 0)),
    "Tesla T4": (15360, (7, 5)),
    "Tesla V100-SXM2-16GB": (16384, (7, 0)),
    "Tesla K80": (11441, (3, 7)),
    "NVIDIA L40S": (46068, (8, 9)),
    "NVIDIA L4": (23034, (8, 9)),
    "NVIDIA A10": (23028, (8, 6)),
    "NVIDIA GeForce RTX 4090": (24564, (8, 9)),
    "NVIDIA A100-SXM4-40GB": (40960, (8, 0)),
    "Tesla P100-PCIE-16GB": (16384, (6, 0)),
    "NVIDIA RTX PRO 6000 Blackwell Server Edition": (97887, (12, 0)),
}
"""MiB and compute capability of each product, as the stand-in of the cases had them. Others are as an H100."""
WITHOUT_MIG = ("NVIDIA RTX PRO 6000 Blackwell Server Edition",)
"""What has MIG in this stand-in, and had none in that of the cases."""
PREFIX = "nvidia.com/"
MACHINE = "Stand-In-Server-8X"
MIG_OF_H100 = {
    "gpu.count": "2", "gpu.memory": "40461", "gpu.product": "NVIDIA-H100-80GB-HBM3-MIG-3g.40gb", "gpu.replicas": "1",
    "gpu.sharing-strategy": "none", "gpu.multiprocessors": "54", "gpu.slices.gi": "3", "gpu.slices.ci": "3",
    "gpu.engines.copy": "3", "gpu.engines.decoder": "3", "gpu.engines.encoder": "0", "gpu.engines.jpeg": "3",
    "gpu.engines.ofa": "0",
}  # fmt: skip
DIFFERENCES: Mapping[str, tuple[str, Mapping[str, str | None]]] = {
    "no-pci": (
        "without a view of the PCI bus it is not known whether a GPU is one of a hypervisor, so no label says no",
        {"vgpu.present": None},
    ),
    "mig-single-partly": ("the labels are about what is offered, and a part of the GPUs is", MIG_OF_H100),
    "several-models": (
        "each product has a label of its own besides",
        {"plugin-gateway/gpu.model.NVIDIA-L4": "3", "plugin-gateway/gpu.model.Tesla-T4": "1"},
    ),
    "mig-mixed-several-models": (
        "each product has a label of its own besides",
        {"plugin-gateway/gpu.model.NVIDIA-H100-80GB-HBM3": "2", "plugin-gateway/gpu.model.NVIDIA-A100-SXM4-40GB": "1"},
    ),
}
"""Labels that are otherwise on purpose, and why. None: there is no such label."""
NOT_REFUSED: Mapping[str, tuple[str, Mapping[str, str | None]]] = {
    "driver-odd": (
        "a version of one part is told as far as it is known",
        {
            "cuda.driver-version.full": "580", "cuda.driver-version.minor": None, "cuda.driver-version.revision": None,
            "cuda.driver.minor": None, "cuda.driver.rev": None,
        },
    ),
    "mps-mig": (
        "the gateway does not end: the MIG devices are offered as the configuration says, and are unhealthy",
        {
            **MIG_OF_H100, "gpu.count": "4", "gpu.replicas": "4", "gpu.sharing-strategy": "mps",
            "gpu.product": f"{MIG_OF_H100['gpu.product']}-SHARED", "mig.strategy": "single",
        },
    ),
}  # fmt: skip
"""What is refused there, why not here, and how the labels differ from those of the same node without it."""


def without_prefix(labels: Mapping[str, str]) -> dict[str, str]:
    return {name.removeprefix(PREFIX): value for name, value in labels.items()}


def changed(labels: Mapping[str, str], differences: Mapping[str, str | None]) -> dict[str, str]:
    whole = {**labels, **differences}
    return {name: value for name, value in whole.items() if value is not None}


def settings_of(case: Seen, folder: Path) -> Settings:
    """The settings with which the cases were played: the file of the case, its flags, and no timestamp."""
    given = {"no_timestamp": "true", "mps_root": "/run/nvidia/mps", "config_compatibility": "nvidia"}
    machine = folder / "product_name"
    machine.write_text(f"{MACHINE}\n")
    given["machine_type_file"] = str(machine)
    for flag in case.get("flags", ()):
        name, _, value = flag.removeprefix("--").partition("=")
        given[name.replace("-", "_")] = value
    if "config" in case:
        file = folder / "config.yaml"
        file.write_text(case["config"])
        given["config_file"] = str(file)
    flags = {name: GivenFlag(name, text) for name, text in given.items()}
    return make_settings(decide(options(PARTS), flags, {}, PARTS.default_health))


def products_of(node: Seen) -> list[str]:
    stub = node.get("stub", {})
    products = [stub.get("NAME", H100)] * node.get("gpus", 4)
    for part in filter(None, stub.get("MODELS", "").split(";")):
        indexes, _, product = part.partition("=")
        first, _, last = indexes.partition("-")
        for index in range(int(first), int(last or first) + 1):
            products[index] = product
    return products


@contextmanager
def playing(node: Seen, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Driver]:
    """The machine of a case."""
    stub = node.get("stub", {})
    with closing(Driver(folder, gpus=0)) as driver:
        for name, value in driver.environment.items():
            monkeypatch.setenv(name, value)
        driver.load_module(stub.get("DRIVER", "580.95.05"))
        driver.set_cuda(int(stub.get("CUDA", 13000)))
        bus = driver.sysfs / "bus/pci/devices"
        bus.mkdir(parents=True)
        for index, product in enumerate(products_of(node)):
            memory, capability = CARDS.get(product, CARDS[H100])
            major, _, minor = stub.get("CC", "{}.{}".format(*capability)).partition(".")
            driver.add(index, name=product, memory=memory << 20, capability=(int(major), int(minor)))
            has_mig = product not in CARDS or driver.mig.has_mig(index)
            driver.mig.set_count(index, 7 if has_mig and product not in WITHOUT_MIG else 0)
        for folder_of_gpu in bus.iterdir():
            (folder_of_gpu / "class").write_text(f"{node.get('class', '0x030200')}\n")
            (folder_of_gpu / "config").write_bytes(OF_A_HYPERVISOR if node.get("vgpu") else OF_THE_MACHINE)
        if "numa" in node and node["numa"] is None:
            for each in sorted(bus.rglob("*"), reverse=True):
                each.rmdir() if each.is_dir() and not each.is_symlink() else each.unlink()
            bus.rmdir()
        for index in range(node.get("gpus", 4) if "FABRIC" in stub else 0):
            cluster, _, clique = stub["FABRIC"].partition("=")[2].rpartition(":")
            driver.join_clique(index, UUID(cluster), int(clique))
        if node.get("mig"):
            driver.mig(node["mig"])
        if "INIT_ERROR" in stub:
            driver.uninstall()
        yield driver


def labels_of(case: Seen, folder: Path, monkeypatch: pytest.MonkeyPatch) -> NodeLabels:
    settings = settings_of(case, folder)
    with playing(case["node"], folder, monkeypatch) as driver:
        backend = NvmlBackend(
            driver_root=str(driver.root),
            sysfs=str(driver.sysfs),
            proc=str(driver.proc),
            mig_strategy=MigStrategy(settings.mig_strategy),
            pace=USUAL_PACE._replace(max_wait=0.1),
        )
        assert isinstance(backend, TellsFacts)
        state = ask_driver_for_state(backend, settings.health)
        assert backend.join(10)
    policy = label_policy(settings, read_machine_name(settings.machine_type_file).name, 0)
    return node_labels([Labelled(state, PARTS.label_maker("nvml"), tells_facts=True)], settings.resources, policy)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case["seen"]["outcome"] == "labels"])
def test_the_labels_are_those_that_were_seen(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = labels_of(CASES[name], tmp_path, monkeypatch)
    _, differences = DIFFERENCES.get(name, ("", {}))
    assert without_prefix(found.labels) == changed(without_prefix(CASES[name]["seen"]["labels"]), differences)
    assert found.is_complete
    assert not found.left_out
    assert found.why.keys() == found.labels.keys()


@pytest.mark.parametrize("name", NOT_REFUSED)
def test_what_is_refused_there_and_not_here_has_labels(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = CASES[name]
    plain = {**CASES["plain"]["seen"]["labels"], f"{PREFIX}gpu.count": str(case["node"]["gpus"])}
    _, differences = NOT_REFUSED[name]
    found = labels_of(case, tmp_path, monkeypatch)
    assert without_prefix(found.labels) == changed(without_prefix(plain), differences)


def test_without_a_driver_there_is_no_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not labels_of(CASES["driver-not-loaded"], tmp_path, monkeypatch).labels


def test_an_unknown_version_of_the_configuration_is_refused_as_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidValueError, match="version: invalid value 'v3'; expected v1"):
        settings_of(CASES["bad-version"], tmp_path)


def test_every_case_is_played() -> None:
    refused = {name for name, case in CASES.items() if case["seen"]["outcome"] == "refuses"}
    assert refused == {*NOT_REFUSED, "driver-not-loaded", "bad-version"}
    assert DIFFERENCES.keys() <= CASES.keys()
