"""The GPUs that are not there."""

import pytest

from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.health.faults import Checkup
from plugin_gateway.core.health.observations import DevicesChecked, EvidenceReported, InventorySeen, Observation
from plugin_gateway.core.health.policy import RECOVERY_ACTION
from plugin_gateway.nvidia.evidence import xid_kind
from plugin_gateway.nvidia.simulated import MODELS, SimulatedBackend, parse_spec


def test_a_spec_makes_distinct_gpus_spread_over_two_numa_nodes() -> None:
    devices = parse_spec("8xH100")
    assert len({device.id for device in devices}) == len({device.pci_address for device in devices}) == 8
    assert [device.numa_node for device in devices] == [0] * 4 + [1] * 4
    assert {device.product for device in devices} == {MODELS["H100"][0]}
    assert devices == parse_spec("8xH100")


def test_thousands_of_gpus_are_distinct() -> None:
    devices = parse_spec("8000xT4")
    assert len({device.id for device in devices}) == len({device.pci_address for device in devices}) == 8000


@pytest.mark.parametrize("spec", ["", "8", "x", "8x", "0xH100", "-1xH100", "50001xH100", "8xh100", "8 xH100", "²xH100"])
def test_any_other_spec_is_refused_with_what_is_allowed(spec: str) -> None:
    with pytest.raises(InvalidValueError, match="8xH100") as refused:
        parse_spec(spec)
    assert repr(spec) in str(refused.value)


def test_gpus_fail_vanish_and_appear_as_told() -> None:
    seen: list[Observation] = []
    backend = SimulatedBackend("2xA100")
    backend.fail(0, 79)
    backend.remove(9)
    assert not seen
    backend.start(seen.append)
    first, second = parse_spec("2xA100")
    backend.fail(1, 79)
    backend.fail(5, 79)
    backend.remove(0)
    added = backend.add("T4")
    backend.reset(1)
    assert seen[3:6] == [
        EvidenceReported(xid_kind(79), second.id),
        DevicesChecked(
            {second.id: Checkup({RECOVERY_ACTION: "the driver asks for recovery: GPU reset"}, asks_for_recovery=True)}
        ),
        EvidenceReported(xid_kind(79), None),
    ]
    assert seen[8] == DevicesChecked({second.id: Checkup({}, asks_for_recovery=False)})
    inventories = [each.inventory.physical for each in seen if isinstance(each, InventorySeen)]
    assert [[device.id for device in devices] for devices in inventories] == [
        [first.id, second.id],
        [second.id],
        [second.id, added],
    ]
    backend.stop()
    backend.fail(1, 79)
    assert backend.join(0)
    assert len(seen) == 9
