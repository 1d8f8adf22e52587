"""What metrics, page and status say of network cards beside GPUs: ports, sharing, pools, and their own words."""

import json
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from harness.network_cards import OTHER_PF, PF, POOL, PORTS, VF, VFS, WORD, CardNode, rule, with_cards
from harness.node import RESOURCE, device, until
from harness.pages import page_of
from harness.statuses import assert_valid
from plugin_gateway.adapters.gateway.status_document import decode, encode
from plugin_gateway.adapters.monitoring import metrics
from plugin_gateway.core.health.observations import PortsSeen
from plugin_gateway.core.health.policy import token_of
from plugin_gateway.core.resources.sharing import Sharing
from plugin_gateway.rdma import evidence as rdma_evidence
from plugin_gateway.solarflare import evidence as solarflare_evidence

POOLED = rule(POOL, Sharing(replicas=63, is_pool=True), function=("pf",))
VIRTUAL = rule(VFS, function=("vf",))


def labels(**each: str) -> str:
    """The labels of a sample as `samples` has them."""
    return ",".join(f"{name}={value}" for name, value in sorted(each.items()))


async def samples(node: CardNode, kubelet_dir: Path = Path("/nonexistent")) -> dict[tuple[str, str], float]:
    """The samples by name and labels."""
    text = (await page_of(node, "/metrics", kubelet_dir)).body
    return {
        (each.name, labels(**each.labels)): each.value
        for family in text_string_to_metric_families(text)
        for each in family.samples
    }


async def test_each_port_has_its_state_its_rate_and_its_changes(kubelet_dir: Path) -> None:
    node = CardNode(kubelet_dir, VIRTUAL)
    async with with_cards(node):
        found = await samples(node)
    offered = labels(resource=VFS, device=VF, port="1", layer="ethernet")
    down = labels(resource="", device=OTHER_PF, port="1", layer="ethernet")
    assert found["plugin_gateway_port_up", offered] == 1
    assert found["plugin_gateway_port_rate_gbps", offered] == 100
    assert found["plugin_gateway_port_link_changes_total", offered] == 1
    assert found["plugin_gateway_port_up", down] == 0
    assert found["plugin_gateway_port_link_changes_total", down] == 3
    assert ("plugin_gateway_port_rate_gbps", down) not in found, "nobody knows it"


async def test_the_ports_of_offered_cards_come_first_where_there_are_too_many(kubelet_dir: Path) -> None:
    node = CardNode(kubelet_dir, VIRTUAL)
    many = tuple(PORTS[1]._replace(number=number) for number in range(1, metrics.MAX_PORTS + 9))
    async with with_cards(node):
        node.told.put(PortsSeen((*many, PORTS[2])))
        await until(lambda: len(node.card_backend.state.ports) == len(many) + 1, "the ports")
        found = await samples(node)
    up = [known for name, known in found if name == "plugin_gateway_port_up"]
    assert len(up) == metrics.MAX_PORTS
    assert up[0] == labels(resource=VFS, device=VF, port="1", layer="ethernet")


async def test_resources_are_told_apart_by_kind_backend_and_sharing(kubelet_dir: Path) -> None:
    node = CardNode(kubelet_dir, VIRTUAL, POOLED)
    async with with_cards(node):
        found = await samples(node)
    assert {known for name, known in found if name == "plugin_gateway_resource_info"} == {
        labels(resource=RESOURCE, backend="nvml", kind="gpu", sharing="exclusive"),
        labels(resource=VFS, backend="rdma", kind="rdma", sharing="exclusive"),
        labels(resource=POOL, backend="rdma", kind="rdma", sharing="pool"),
    }
    assert found["plugin_gateway_devices_by_kind", labels(kind="rdma", profile="")] == 4
    assert found["plugin_gateway_devices_by_kind", labels(kind="gpu", profile="")] == 1
    assert found["plugin_gateway_devices", labels(resource=VFS, health="healthy")] == 2


async def test_a_pool_has_its_ids_once_and_is_held_as_a_whole(kubelet_dir: Path) -> None:
    plugins = kubelet_dir / "device-plugins"
    plugins.mkdir()
    entry = {"PodUID": "one", "ContainerName": "c", "ResourceName": POOL, "DeviceIDs": {"0": ["7", "8"]}}
    content = {"PodDeviceEntries": [{**entry, "AllocResp": ""}], "RegisteredDevices": {}}
    (plugins / "kubelet_internal_checkpoint").write_text(json.dumps({"Data": content, "Checksum": 1}))
    (kubelet_dir / "pods" / "one").mkdir(parents=True)
    node = CardNode(plugins, VIRTUAL, POOLED)
    async with with_cards(node):
        found = await samples(node, plugins)
    assert found["plugin_gateway_replicas", labels(resource=POOL)] == 63
    assert found["plugin_gateway_replicas_held", labels(resource=POOL)] == 2
    assert found["plugin_gateway_devices_held", labels(resource=POOL)] == 2
    assert found["plugin_gateway_devices_held", labels(resource=VFS)] == 0


async def test_what_a_card_can_suffer_begins_at_zero_as_what_a_gpu_can(kubelet_dir: Path) -> None:
    node = CardNode(kubelet_dir, VIRTUAL)
    async with with_cards(node):
        before = await samples(node)
        node.lose_port(VF)
        await until(lambda: bool(node.card_backend.state.faults), "the fault")
        after = await samples(node)
    down = ("plugin_gateway_health_transitions_total", labels(health="unhealthy", reason="port_down"))
    assert (before[down], after[down]) == (0, 1)
    assert before["plugin_gateway_health_transitions_total", labels(health="unhealthy", reason="xid_79")] == 0


async def test_the_status_has_what_people_ask_of_a_card(kubelet_dir: Path) -> None:
    node = CardNode(kubelet_dir, VIRTUAL, POOLED)
    async with with_cards(node):
        document = json.loads((await page_of(node, "/status")).body)
    assert_valid(document)
    by_id = {each["id"]: each for each in document["devices"]}
    virtual = by_id[VF]
    assert (virtual["kind"], virtual["resource"], virtual["replicas"], virtual["is_pooled"]) == ("rdma", VFS, 1, False)
    assert virtual["attributes"]["parent"] == ["ens1f0np0", "ens1f0np0#0", PF, f"{PF}#0"]
    assert virtual["ports"] == [
        {"number": 1, "layer": "Ethernet", "is_up": True, "words": "ACTIVE", "rate_gbps": 100.0, "changes": 1}
    ]
    assert (by_id[PF]["replicas"], by_id[PF]["is_pooled"]) == (63, True)
    assert [each["device_word"] for each in document["backends"]] == ["GPU", WORD]
    gpu = by_id[device(0).id]
    assert (gpu["attributes"], gpu["ports"], gpu["is_pooled"]) == ({}, [], False)
    assert encode(decode(document)) == document


async def test_the_page_has_tiles_of_cards_beside_those_of_gpus(kubelet_dir: Path) -> None:
    node = CardNode(kubelet_dir, VIRTUAL, POOLED)
    async with with_cards(node):
        node.lose_port(OTHER_PF)
        await until(lambda: bool(node.card_backend.state.faults), "the fault")
        page = (await page_of(node, "/")).body
    tiles = page.split("<section ")[1:]
    assert "port 1 is DOWN (Polling); needs" in tiles[0], "the sick one comes first"
    assert "<b>ens1f1np1</b> <span class=unhealthy>unhealthy</span><span>in a pool</span>" in tiles[0]
    assert f">{POOL} as a pool of 63 · ConnectX-6</p><p class=soft>pf · DOWN (Polling), Eth" in tiles[0]
    facts = f">{VFS} · ConnectX-6</p><p class=soft>vf ens1f0np0#0 · ACTIVE, 100 Gbit/s Ethernet</p>"
    assert sum(facts in tile and "<b>ens1f0v0</b>" in tile for tile in tiles) == 1
    assert "the pool is held by nobody" in page


async def test_a_page_without_cards_has_no_words_of_cards(kubelet_dir: Path) -> None:
    node = CardNode(kubelet_dir, cards=())
    async with with_cards(node):
        page = (await page_of(node, "/")).body
    assert page.count("<section ") == len(node.gateway.state.devices) > 0
    assert "Ethernet" not in page


async def test_health_for_programs_calls_each_device_by_its_word(kubelet_dir: Path) -> None:
    node = CardNode(kubelet_dir, VIRTUAL)
    async with with_cards(node):
        well = json.loads((await page_of(node, "/health")).body)
        node.lose_port(VF)
        await until(lambda: bool(node.card_backend.state.faults), "the fault")
        broken = json.loads((await page_of(node, "/health")).body)
    assert (well["healthy"], well["summary"]) == (True, f"every GPU and every {WORD} is healthy")
    assert [each["summary"] for each in well["backends"]] == ["every GPU is healthy", f"every {WORD} is healthy"]
    assert broken["healthy"] is False
    assert broken["summary"].startswith(f"rdma: {VF}: port 1 is DOWN (Polling)")


def test_the_page_lists_every_token_of_network_cards() -> None:
    page = (Path(__file__).parents[3] / "docs" / "observe.md").read_text()
    kinds = (*rdma_evidence.HEALTH_POLICY.kinds, *solarflare_evidence.HEALTH_POLICY.kinds)
    assert {token_of(kind) for kind in kinds if f"`{token_of(kind)}`" not in page} == set()
