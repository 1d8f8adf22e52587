"""A recording of devices whose nodes can have other names at each allocation is replayed with those of that moment."""

import json
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from cards.builder import Cards
from core.resources.cards import COMMON, NAME, RECIPE, address, card, folder, host, inventory, rule
from harness.hosts import Host
from harness.process import run_to_end, started
from harness.recordings import CALLED, Line, head, line, opened, registration, said_of, seen, write
from plugin_gateway.adapters.dialects.refusals import status_of
from plugin_gateway.adapters.dialects.v1beta1 import V1BETA1
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release
from plugin_gateway.adapters.recording.values import plain
from plugin_gateway.core.errors import AllocationError
from plugin_gateway.core.health.faults import Checkup
from plugin_gateway.core.health.observations import DevicesChecked, InventorySeen
from plugin_gateway.core.health.policy import Action, Decision, EvidenceKind, HealthPolicy
from plugin_gateway.core.health.state import State
from plugin_gateway.core.resources.allocation import allocate
from plugin_gateway.core.resources.assignment import Advertisement, advertise
from plugin_gateway.core.resources.container_options import (
    NO_OPTIONS,
    ContainerOptions,
    DeviceVariable,
    FileMounts,
)
from plugin_gateway.core.resources.policy import AllocationPolicy
from plugin_gateway.core.resources.rules import ResourceRule
from plugin_gateway.core.resources.sharing import ALONE, Sharing

CARDS = inventory(*(card(number) for number in range(3)))
ALL = ContainerOptions(
    requested_nodes=("fabric",),
    variables=(DeviceVariable("DEVICES"),),
    details_variable="INFO",
    environment={"MODE": "fast"},
    files=(FileMounts("/opt/x", ("libx.so*", "liby.so"), "/usr/lib64"),),
)
FILES = {"/opt/x": ["libx.so", "libx.so.2", "liby.so"]}
DETAILS = ContainerOptions(details_variable="INFO")
POOL = Sharing(replicas=3, is_pool=True)


def anew(number: int, name: str, *more: int) -> Host:
    """A host on which the node of a device has another name now."""
    others = [f"verbs{each}" for each in more]
    folders = {folder(number): [name], **{folder(each): [f"verbs{each}"] for each in more}}
    return Host(folders={"/dev/net": ["common", name, *others], **folders})


def offered(of: ResourceRule) -> Advertisement:
    return advertise(State(inventory=CARDS), [of])[NAME]


def called(of: ResourceRule, ids: Sequence[str], by: Host) -> Line:
    answer, error = None, None
    try:
        edits = allocate(offered(of), ids, AllocationPolicy(), by)
        answer = V1BETA1.allocation.write_answer([edits]).hex()
    except AllocationError as refused:
        error = ": ".join(status_of(refused))
    request = V1BETA1.allocation.write_request([tuple(ids)]).hex()
    given = {**CALLED, "resource": NAME}
    return line("call", **given, method="Allocate", request=request, answer=answer, error=error)


def conversation(of: ResourceRule, *more: Line, **others: object) -> list[Line]:
    return [
        head(rules=[plain(of)], **others),
        line("kubelet", is_there=True),
        seen(InventorySeen(CARDS)),
        *registration(NAME),
        opened(resource=NAME),
        line("list", stream="1", message=V1BETA1.device_list(offered(of)).hex()),
        *more,
        line("end", more[-1]["t"] + 4.0 if more else 0.0),
    ]


@pytest.mark.parametrize(
    ("sharing", "options", "ids", "by"),
    [
        (ALONE, NO_OPTIONS, [1], host(1)),
        (ALONE, DETAILS, [2, 0], host(0, 2)),
        (ALONE, ALL, [1], host(1, **FILES)),
        (ALONE, DETAILS, [1], anew(1, "verbs77")),
        (ALONE, DETAILS, [2, 1, 0], anew(1, "verbs1000", 0, 2)),
        (POOL, DETAILS, ["2"], host(0, 1, 2)),
        (POOL, DETAILS, ["2"], host(0, 2, **{folder(1): []})),
        (POOL, DETAILS, ["2", "0"], anew(2, "verbs9", 0, 1)),
        (Sharing(replicas=2), DETAILS, [f"{address(1)}::1"], host(1)),
        (ALONE, ALL, [1], host(1, **{"/opt/x": ["libx.so"]})),
        (ALONE, ALL, [1], host(1)),
        (ALONE, ALL, [1], anew(1, "verbs5")),
        (ALONE, NO_OPTIONS, [1], Host(folders={"/dev/net": ["common"], folder(1): ["verbs1"]})),
        (ALONE, NO_OPTIONS, [1], host(0, 1, **{folder(1): []})),
        (ALONE, NO_OPTIONS, [0, 1], Host(folders={"/dev/net": ["verbs0"], folder(0): ["verbs0"]})),
        (ALONE, NO_OPTIONS, [9], host()),
    ],
)
def test_an_allocation_is_the_same_again(
    sharing: Sharing, options: ContainerOptions, ids: Sequence[int | str], by: Host, tmp_path: Path
) -> None:
    of = rule(sharing, options)
    names = [each if isinstance(each, str) else address(each) for each in ids]
    said = said_of(write(tmp_path / "x", conversation(of, called(of, names, by))))
    assert (said.status, said.remarks) == (0, ()), said.output


def test_an_answer_that_the_gateway_would_not_give_is_a_difference(tmp_path: Path) -> None:
    of = rule(ALONE, DETAILS)
    for other in (rule(), rule(ALONE, ContainerOptions(details_variable="INFO", environment={"MODE": "slow"}))):
        said = said_of(write(tmp_path / "x", conversation(of, called(other, [address(1)], host(1)))))
        assert said.status == 1, said.output
    lost = called(of, [address(1)], Host(folders={"/dev/net": [COMMON], folder(1): []}))
    lost["error"] = lost["error"].replace("verbs", "verb")
    said = said_of(write(tmp_path / "x", conversation(of, lost)))
    assert said.status == 1, said.output


DOWN = EvidenceKind("port-down")


def policies() -> Mapping[str, object]:
    """One that takes a device out whose port is down, and one that only reports it."""
    unhealthy, report = Decision(Action.UNHEALTHY, "default"), Decision(Action.REPORT, "default")
    return {
        "health": plain(HealthPolicy(kinds={DOWN: report})),
        "card_health": {"cards": plain(HealthPolicy(kinds={DOWN: unhealthy}))},
    }


def test_each_backend_has_the_decisions_about_its_health(tmp_path: Path) -> None:
    of = rule()
    checked = seen(DevicesChecked({CARDS.devices[1].id: Checkup({DOWN: "port 1 is DOWN"})}), 1.0)
    out = offered(of).withholding({CARDS.devices[1].id})
    lists = line("list", 1.0, stream="1", message=V1BETA1.device_list(out).hex())
    said = said_of(write(tmp_path / "x", conversation(of, checked, lists, **policies())))
    assert (said.status, said.remarks) == (0, ()), said.output
    said = said_of(write(tmp_path / "x", conversation(of, checked, **{**policies(), "card_health": {}})))
    assert (said.status, said.remarks) == (0, ()), said.output
    said = said_of(write(tmp_path / "x", conversation(of, checked, **policies())))
    assert said.status == 1, said.output


def test_the_recipe_is_recorded_with_what_it_needs() -> None:
    assert plain(RECIPE)["is_complete"] is True


SECTIONS = """\
version: v1
resources:
  rdma:
  - {name: example.com/vf, select: {functions: vf}}
  - {name: example.com/pool, sharing: pool, replicas: 3, select: {functions: pf}, nodes: {umad: true}}
  onload: {}
"""


async def test_a_gateway_with_network_cards_that_come_and_go_is_recorded_and_replayed(
    tmp_path: Path, kubelet_dir: Path, recording: Path
) -> None:
    cards, config = Cards(tmp_path / "host").connectx6().solarflare(), tmp_path / "config.yaml"
    config.write_text("version: v1\n")
    flags = ("--kubelet-dir", str(kubelet_dir), "--backend", "simulated:2xH100,auto", "--config-file", str(config))
    async with (
        FakeKubelet(kubelet_dir, release("1.37")) as kubelet,
        started(*flags, "--host-root", str(cards.root), f"--record={recording}") as process,
    ):

        async def offered(name: str, count: int) -> None:
            await kubelet.wait_for(lambda: kubelet.allocatable(name) == count, timeout=10, what=f"{count} of {name}")

        await offered("nvidia.com/gpu", 2)
        config.write_text(SECTIONS)
        process.send(signal.SIGHUP)
        for name, count in (("example.com/vf", 4), ("example.com/pool", 3), ("amd.com/onload", 100)):
            await offered(name, count)
            await kubelet.allocate(name, 1, pod=f"of {name}")
        cards.give_away(address(4))
        cards.take_back(address(4), 77)
        made_anew = await kubelet.allocate("example.com/vf", pod="anew", ids=[address(4)])
        assert "/dev/infiniband/uverbs77" in made_anew.device_nodes
        config.write_text(SECTIONS.partition("  onload")[0])
        process.send(signal.SIGHUP)
        await offered("amd.com/onload", 0)
        config.write_text("version: v1\n")
        process.send(signal.SIGHUP)
        await offered("example.com/pool", 0)
        cards.numvfs("0000:3b:00.0", 0)
        cards.numvfs("0000:3b:00.0", 2, first_uverbs=20)
        config.write_text(SECTIONS)
        process.send(signal.SIGHUP)
        await offered("amd.com/onload", 100)
        await offered("example.com/pool", 3)
        await kubelet.allocate("nvidia.com/gpu", 1, pod="last")
    lines = [json.loads(each) for each in recording.read_text().splitlines()]
    decided = [list(each["card_health"]) for each in lines if each.get("what") == "configured"]
    assert decided == [["rdma", "onload"], ["rdma"], [], ["rdma", "onload"]]
    status, output, _ = await run_to_end("replay", str(recording))
    assert (status, output) == (0, f"{len(lines) - 1} lines played, no difference\n")
