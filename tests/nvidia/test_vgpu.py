"""A GPU that a hypervisor made is known by its PCI configuration space."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.pci_config import FIRST, OF_A_HYPERVISOR, OF_THE_MACHINE, POWER, STATUS, VENDOR_SPECIFIC, config, vgpu
from plugin_gateway.nvidia.vgpu import HostDriver, host_driver


def test_a_gpu_of_the_machine_is_none() -> None:
    assert host_driver(OF_THE_MACHINE) is None
    assert host_driver(config()) is None
    assert host_driver(bytes(256)) is None


@pytest.mark.parametrize("records", [(), (bytes((2, 4, 9, 9)),), (bytes((2, 4, 9, 9)), bytes((3, 3, 0)))])
def test_the_driver_of_the_hypervisor_is_in_a_record(records: tuple[bytes, ...]) -> None:
    space = config(bytes((POWER, 0, 0)), vgpu("460.16", "r460_00", *records))
    assert host_driver(space) == HostDriver("460.16", "r460_00")


def test_the_texts_can_fill_their_room() -> None:
    assert host_driver(OF_A_HYPERVISOR) == HostDriver("570.124.03", "r570_00")


def test_without_the_record_it_is_such_a_gpu_all_the_same() -> None:
    for record in (bytes((2, 0, 9)), bytes((2, 200, 9)), b""):
        capability = b"VF" + record
        space = config(bytes((VENDOR_SPECIFIC, 0, 3 + len(capability))) + capability)
        assert host_driver(space) == HostDriver()


def test_a_space_without_a_list_of_capabilities_has_none() -> None:
    assert host_driver(config(vgpu("460.16", "r460_00"), has_list=False)) is None


@given(data=st.binary(min_size=256, max_size=256), place=st.integers(0, 255))
def test_nonsense_ends_and_is_no_error(data: bytes, place: int) -> None:
    space = bytearray(data)
    space[STATUS], space[FIRST] = 0x10, place
    host_driver(bytes(space))
