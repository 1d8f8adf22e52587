"""What the doctor says of a node with network cards: what their vendor knows, and nothing about GPUs."""

import asyncio
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from harness.network_cards import CARDS, OTHER_PF, PF, VFS, WORD, CardDriver, rule, seen
from harness.node import until
from harness.several import settings_of
from harness.statuses import BARE
from plugin_gateway.adapters.commands.doctor.command import diagnose
from plugin_gateway.adapters.commands.doctor.gateway_checks import check_gateway
from plugin_gateway.adapters.commands.doctor.kubelet_checks import REGISTRY, check_registry
from plugin_gateway.adapters.commands.gateway_settings import View
from plugin_gateway.adapters.control.control_socket import ControlServer
from plugin_gateway.adapters.gateway.device_status import DeviceStatus
from plugin_gateway.adapters.gateway.status_document import encode
from plugin_gateway.core.devices import Inventory, RejectedDevice
from plugin_gateway.core.findings import Finding, Verdict, hint, mend
from plugin_gateway.core.health.faults import Evidence, Source, Stage
from plugin_gateway.core.health.observations import DriverUnavailable
from plugin_gateway.core.health.remedies import Remedy
from plugin_gateway.core.ports import Backend
from plugin_gateway.core.resources.names import ResourceName
from plugin_gateway.core.resources.rules import ResourceRule, Selector
from plugin_gateway.nvidia.remedies import remedy_for
from plugin_gateway.nvidia.simulated import SimulatedBackend
from plugin_gateway.solarflare.evidence import LINK_DOWN

GPUS = ResourceRule(selector=Selector(backends=("simulated",)), name=ResourceName("nvidia.com/gpu"))
CardCheck = Callable[[Inventory, Sequence[ResourceRule]], Iterable[Finding]]


def nothing(_inventory: Inventory, _rules: Sequence[ResourceRule]) -> Sequence[Finding]:
    return ()


class Doctor:
    """The doctor of a node with GPUs and cards."""

    def __init__(self, kubelet_dir: Path, state_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
        text = "simulated:1xH100"
        self._settings = settings_of(backend=text, kubelet_dir=str(kubelet_dir), state_dir=str(state_dir))
        self._capsys = capsys

    def lines(
        self,
        inventory: Inventory,
        *rules: ResourceRule,
        check: CardCheck = nothing,
        with_gpus: bool = True,
        card_backends: Sequence[str] = ("rdma",),
    ) -> list[str]:
        gpus: Mapping[str, Backend] = {"simulated": SimulatedBackend("1xH100")} if with_gpus else {}
        view = View(replace(self._settings, resources=(GPUS, *rules)), ())
        backends = {**gpus, **{name: CardDriver(inventory) for name in card_backends}}
        diagnose(view, backends, remedy_for, as_json=False, cards=dict.fromkeys(card_backends, check))
        return self._capsys.readouterr().out.splitlines()


@pytest.fixture
def doctor(kubelet_dir: Path, state_dir: Path, capsys: pytest.CaptureFixture[str]) -> Doctor:
    return Doctor(kubelet_dir, state_dir, capsys)


def test_cards_are_called_by_their_own_word(doctor: Doctor) -> None:
    lines = doctor.lines(seen(*CARDS), rule(VFS, function=("vf",)))
    assert f"ok    backend rdma: 4 {WORD}s are on this machine: ConnectX-6" in lines
    assert f"note  backend rdma: 2 {WORD}s are in no resource: {PF}, {OTHER_PF}" in lines
    (at,) = [number for number, line in enumerate(lines) if "are in no resource" in line]
    assert "devices --explain" in lines[at + 1]


def test_a_machine_without_cards_has_no_fault(doctor: Doctor) -> None:
    lines = doctor.lines(seen(), rule(VFS))
    assert f"note  backend rdma: no {WORD} is on this machine" in lines
    assert not [line for line in lines if line.startswith("mend") and "rdma" in line]


def test_what_is_left_to_others_is_a_note(doctor: Doctor) -> None:
    manager = RejectedDevice("0000:c1:00.0", "it manages the links between GPUs and is no port for data")
    lines = doctor.lines(seen(*CARDS, set_aside=(manager,)), rule(VFS))
    assert f"note  backend rdma: {manager.place} is left to others: {manager.problem}" in lines


def test_where_there_are_cards_alone_nobody_speaks_of_gpus(doctor: Doctor) -> None:
    """Whoever has only network cards is not told to look for NVIDIA's driver, device nodes or runtime."""
    lines = doctor.lines(seen(*CARDS), with_gpus=False)
    about = [line for line in lines if "GPU" in line or "NVIDIA" in line or "nvidia" in line]
    assert not about


def test_the_findings_of_the_vendor_are_among_the_others_and_know_the_rules(doctor: Doctor) -> None:
    def check(inventory: Inventory, rules: Sequence[ResourceRule]) -> Sequence[Finding]:
        return [mend(f"{len(inventory.devices)} cards, {len(rules)} rules", "do it")]

    lines = doctor.lines(seen(*CARDS), rule(VFS), check=check)
    assert "mend  4 cards, 2 rules" in lines


def test_what_is_so_for_the_cards_of_two_backends_is_said_once(doctor: Doctor) -> None:
    def check(_inventory: Inventory, _rules: Sequence[ResourceRule]) -> Sequence[Finding]:
        return [hint("no event of a link")]

    lines = doctor.lines(seen(*CARDS), rule(VFS), check=check, card_backends=("rdma", "onload"))
    assert lines.count("note  no event of a link") == 1


async def test_a_card_is_told_what_its_own_vendor_says(kubelet_dir: Path, state_dir: Path) -> None:
    """Evidence of one kind can be known to several vendors, and mean something else to each."""
    evidence = Evidence("enp94s0f1np1 has no link", 1.0, LINK_DOWN, Source.CHECK)
    card = DeviceStatus(id="0000:5e:00.1", backend="onload", health=Stage.UNHEALTHY, evidence=(evidence,))
    status = encode(replace(BARE, kubelet_dir=str(kubelet_dir), devices=(card,)))
    names = {"rdma": "RDMA device", "onload": "Onload interface"}
    of_backends = {name: partial(_about, word) for name, word in names.items()}
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(ControlServer(state_dir, "0000000001-aaaa", lambda _: status).run())
        await until((state_dir / "control-0000000001-aaaa.sock").exists, "the socket")
        found = await asyncio.to_thread(lambda: list(check_gateway(state_dir, partial(_about, "?"), of_backends)))
        task.cancel()
    (finding,) = (each for each in found if each.verdict is Verdict.MEND)
    assert "  do: mend this Onload interface" in finding.details


def _about(word: str, _evidence: Evidence) -> Remedy:
    return Remedy(todo=f"mend this {word}")


def test_cards_that_cannot_be_seen_are_to_be_mended(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CardDriver, "start", lambda _self, report, *_: report(DriverUnavailable("no bus")))
    lines = doctor.lines(seen(), rule(VFS))
    assert f"mend  backend rdma: no {WORD} can be seen: no bus" in lines


def test_plugins_that_wait_in_the_registry_are_named_and_others_are_not(kubelet_dir: Path) -> None:
    folder = kubelet_dir.parent / REGISTRY
    assert list(check_registry(kubelet_dir)) == []
    folder.mkdir()
    with socket.socket(socket.AF_UNIX) as peer, socket.socket(socket.AF_UNIX) as storage:
        peer.bind(str(folder / "rdma_shared.sock"))
        storage.bind(str(folder / "disk.csi-reg.sock"))
        for each in (peer, storage):
            each.listen()
        (finding,) = check_registry(kubelet_dir)
    assert finding.verdict is Verdict.HINT
    assert finding.what == f"other plugins wait for a kubelet in {folder}: rdma_shared.sock"
    assert list(check_registry(kubelet_dir)) == [], "nobody listens any more"
