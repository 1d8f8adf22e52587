"""The CDI specs that NVIDIA's device plugin 0.20.0 was seen to write, and those of this gateway.

seen-cdi.json has the cases: the flags, what Allocate answered, and the spec. ``nodes`` are [path, path on the host],
``mounts`` [host, container, options], ``hooks`` [when, program, arguments …]. ``<gpu1>`` is the UUID of GPU 1,
``<mig0.1.gi1.ci0>`` that of the MIG device in slot 1 of GPU 0, and ``<random>`` something else each time. The specs say
the same, but for the differences that are listed here.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from harness.cdi_schema import checked
from harness.devices import device, inventory, part
from harness.driver_root import LIBRARIES, compiled, put_graphics, put_libraries, put_others, write
from harness.hosts import EveryNode
from plugin_gateway.core.cdi import FilesWanted, file_name, qualified
from plugin_gateway.core.devices import Device, DeviceId, PhysicalId
from plugin_gateway.core.resources.allocation import allocate
from plugin_gateway.core.resources.assignment import Advertisement
from plugin_gateway.core.resources.cdi_specs import HostDevices, Source, describe, needed_nodes, nodes_of_extras
from plugin_gateway.core.resources.policy import AllocationPolicy, DeviceIdStrategy, ListStrategy
from plugin_gateway.core.resources.sharing import Sharing
from plugin_gateway.nvidia.injection import files_of
from plugin_gateway.nvidia.naming import GPU, RECIPES

V = "580.95.05"
ADDRESSES = ("0000:18:00.0", "0000:2a:00.0")
CASES: Mapping[str, dict[str, Any]] = {
    case["name"]: case for case in json.loads(Path(__file__).with_name("seen-cdi.json").read_text())
}
CASES["annotations"]["spec"] = CASES["cri"]["spec"]  # the same was written
DIFFERENCES = {
    "version": "0.3.0, which CRI-O 1.24 reads too, where the nodes have the same path on the host",
    "links": "one hook makes all links of libraries, and those of /dev/dri/by-path are where a container looks",
    "no hooks": "without hooks the libraries are mounted where the loader of a container looks, so that they are found",
    "annotation": "its name follows from the devices; NVIDIA's is another one each time",
    "order": "the names are in the order of the devices, whatever the order in which a kubelet asks",
    "no libraries": "the gateway does not end: the GPUs are unhealthy until the libraries are there",
}
"""What differs on purpose, and why."""


EXTRAS = {
    "gdrcopy-enabled": "gdrcopy", "gds-enabled": "gds", "mofed-enabled": "mofed", "imex-channel-ids": "imex-channel",
}  # fmt: skip


def gpus() -> tuple[Device, ...]:
    made = []
    for number, address in enumerate(ADDRESSES):
        whole = device(number, name=f"<gpu{number}>")
        made.append(replace(whole, physical=replace(whole.physical, pci_address=address)))
    return tuple(made)


def offered(case: Mapping[str, Any]) -> tuple[Device, ...]:
    if "--mig-strategy=mixed" not in case["flags"]:
        return gpus()
    caps = "/dev/nvidia-caps/nvidia-cap"
    parts = [
        replace(
            part(gpus()[0], slot),
            id=DeviceId(f"<mig0.{slot}.gi{gi}.ci0>"),
            nodes=("/dev/nvidia0", f"{caps}{number}", f"{caps}{number + 1}"),
        )
        for slot, gi, number in ((0, 7, 66), (1, 1, 12))
    ]
    return (*parts, gpus()[1])


def policy_of(case: Mapping[str, Any]) -> AllocationPolicy:
    given = dict(flag.removeprefix("--").partition("=")[::2] for flag in case["flags"])
    by_index = given.get("device-id-strategy") == "index"
    return AllocationPolicy(
        device_id_strategy=DeviceIdStrategy.INDEX if by_index else DeviceIdStrategy.UUID,
        list_strategies=frozenset(map(ListStrategy, given["device-list-strategy"].split(","))),
        annotation_prefix=given.get("cdi-annotation-prefix", "cdi.k8s.io/"),
        dev_root=given.get("nvidia-driver-root", "/"),
        extras=tuple(word for flag, word in EXTRAS.items() if flag in given),
        described_extras={
            word: qualified(RECIPES[GPU].extras[word].cdi_kind, RECIPES[GPU].extras[word].cdi_name)
            for flag, word in EXTRAS.items()
            if flag in given
        },
    )


def named(text: str) -> str:
    """A name as CDI allows it, for a mark of the case."""
    return text.strip("<>")


def written(case: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The specs of this gateway on the node of a case, by the names of their files."""
    root, sysfs = folder / "root", folder / "sys"
    put_libraries(root, V)
    write(root / LIBRARIES / f"libnvidia-ml.so.{V}", compiled("libnvidia-ml.so.1"))
    put_others(root, V)
    put_graphics(root, sysfs, ADDRESSES)
    write(root / "usr/bin/nvidia-ctk", "ctk", 0o755)
    host_root = policy_of(case).dev_root
    disabled = tuple(flag.partition("=")[2] for flag in case["flags"] if flag.startswith("--cdi-disable-hooks"))
    wanted = FilesWanted(host_root, "/usr/bin/nvidia-ctk", disabled, lambda _: None)
    devices = tuple(
        replace(
            each,
            id=DeviceId(named(each.id)),
            physical=replace(each.physical, id=PhysicalId(named(each.physical.id))),
        )
        for each in offered(case)
    )
    known = replace(inventory(*devices), recipes=RECIPES)
    files = files_of(wanted, str(root), str(sysfs), (V, "1"), known)
    source = Source(known, files, (V, "1"))
    policy, there = policy_of(case), case.get("nodes", ())
    extras = {
        word: [path for path in there if any(fnmatchcase(path, each) for each in patterns)]
        for word, patterns in nodes_of_extras([source], policy).items()
    }
    host = HostDevices(dict.fromkeys((*needed_nodes([source]), *there)), is_visible=True, of_extras=extras)
    return {file_name(spec.kind): checked(spec.encoded()) for spec in describe([source], policy, host).specs}


def nodes(edits: Mapping[str, Any]) -> set[tuple[str, str]]:
    return {(each["path"], each.get("hostPath", each["path"])) for each in edits.get("deviceNodes", ())}


def mounts(edits: Mapping[str, Any]) -> set[tuple[str, str, tuple[str, ...]]]:
    return {(each["hostPath"], each["containerPath"], tuple(sorted(each["options"]))) for each in edits["mounts"]}


def hooks(edits: Mapping[str, Any]) -> set[tuple[str, ...]]:
    """The hooks, and each link as one of its own."""
    return split([[each["hookName"], each["path"], *each["args"]] for each in edits.get("hooks", ())])


def split(found: Sequence[Sequence[str]]) -> set[tuple[str, ...]]:
    """Hooks with each link as one of its own, below the folder where a container looks."""
    links = {
        (*hook[:5], link.replace("/mnt/driver-root", ""))
        for hook in found
        if hook[4] == "create-symlinks"
        for link in hook[6::2]
    }
    return links | {tuple(hook) for hook in found if hook[4] != "create-symlinks"}


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if "spec" in case])
def test_a_spec_has_what_nvidias_has(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    seen = case["spec"]
    specs = written(case, tmp_path)
    assert specs.keys() == {seen["file"]}
    found = specs[seen["file"]]
    assert found["kind"] == seen["kind"]
    assert found["cdiVersion"] == ("0.5.0" if name in {"host-root", "index"} else "0.3.0")
    own = {each["name"]: each["containerEdits"] for each in found["devices"]}
    assert own.keys() == set(map(named, seen["devices"]))
    for mark, edits in seen["devices"].items():
        assert nodes(own[named(mark)]) == set(map(tuple, edits["nodes"]))
        assert hooks(own[named(mark)]) == split(edits.get("hooks", ()))
    if seen["all"] is None:
        return
    common = found["containerEdits"]
    assert nodes(common) == set(map(tuple, seen["all"]["nodes"]))
    others = {(host, path, tuple(sorted(options))) for host, path, options in seen["all"]["mounts"]}
    if name == "no-hooks":
        assert {each for each in others if ".so." not in each[0]} <= mounts(common)
        assert {each[0] for each in mounts(common)} == {each[0] for each in others}
        assert (common["env"], hooks(common)) == (["NVIDIA_VISIBLE_DEVICES=void"], set())
        return
    assert mounts(common) == others
    assert hooks(common) == split(seen["all"]["hooks"])
    assert set(common["env"]) == set(seen["all"]["env"])


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if "extras" in case])
def test_each_class_besides_gpus_has_a_file_of_its_own_with_the_nodes_that_are_there(name: str, tmp_path: Path) -> None:
    seen, specs = CASES[name]["extras"], written(CASES[name], tmp_path)
    assert specs.keys() == {each["file"] for each in seen.values()} | {"k8s.device-plugin.nvidia.com-gpu.json"}
    for kind, each in seen.items():
        found = specs[each["file"]]
        assert found["kind"] == kind
        assert found["cdiVersion"] == ("0.5.0" if "0" in each["devices"] else "0.3.0")
        assert found.get("containerEdits", {}).get("env") == each["all"].get("env")
        own = {device["name"]: device["containerEdits"] for device in found["devices"]}
        assert own.keys() == each["devices"].keys()
        for name_there, edits in each["devices"].items():
            assert own[name_there].keys() == {"deviceNodes"}
            assert nodes(own[name_there]) == set(map(tuple, edits["nodes"]))
    without = written({**CASES[name], "nodes": []}, tmp_path / "without")
    assert without.keys() == {"k8s.device-plugin.nvidia.com-gpu.json"}


def ordered(answers: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """Answers in which each annotation has its names in the order of the devices."""
    return [
        {**each, "annotations": {key: ",".join(sorted(value.split(","))) for key, value in each["annotations"].items()}}
        if "annotations" in each
        else each
        for each in answers
    ]


ANSWERS = [(name, ids, ordered(seen)) for name, case in CASES.items() for ids, seen in case["allocate"]]


@pytest.mark.parametrize(("name", "ids", "seen"), ANSWERS, ids=[name for name, *_ in ANSWERS])
def test_allocate_names_the_devices_as_nvidias_plugin_does(name: str, ids: Any, seen: Any) -> None:
    case, (asked,), (answer,) = CASES[name], ids, seen
    marks = {"<g0>": "<gpu0>", "<g1>": "<gpu1>", "<m0.1>": "<mig0.1.gi1.ci0>"}
    sharing = Sharing(replicas=4) if name == "time-slicing" else Sharing()
    devices = offered(case)
    advertised = Advertisement(
        offered=tuple(offer for each in devices for offer in sharing.offers(each)), recipes=RECIPES
    )
    given = [marks[each.partition("::")[0]] + "".join(each.partition("::")[1:]) for each in asked]
    edits = allocate(advertised, given, policy_of(case), EveryNode())
    assert sorted(edits.cdi_devices) == sorted(answer.get("cdi", ()))
    assert (edits.environment, edits.device_nodes, edits.mounts) == (answer.get("envs", {}), (), ())
    assert list(edits.annotations.values()) == list(answer.get("annotations", {}).values())
    prefixes = [key.partition("/")[0] for key in answer.get("annotations", {})]
    assert [key.partition("/")[0] for key in edits.annotations] == prefixes
