"""Below which bridges a GPU hangs."""

from pathlib import Path

import pytest

from plugin_gateway.nvidia.pci import PciBus
from plugin_gateway.nvidia.simulated import parse_spec

ADDRESS = "0000:3d:00.0"


def path_of(sysfs: Path, target: str) -> tuple[str, ...]:
    """Return what is read of a GPU whose link has this target."""
    folder = sysfs / "bus/pci/devices"
    folder.mkdir(parents=True)
    (folder / ADDRESS).symlink_to(target)
    return PciBus(str(sysfs)).path(ADDRESS)


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (f"../../../devices/pci0000:3a/0000:3a:00.0/{ADDRESS}", ("pci0000:3a", "0000:3a:00.0")),
        (
            f"../../../devices/pci0000:3a/0000:3a:00.0/0000:3b:00.0/0000:3c:04.0/{ADDRESS}",
            ("pci0000:3a", "0000:3a:00.0", "0000:3b:00.0", "0000:3c:04.0"),
        ),
        (f"../../../devices/pci10000:e0/10000:e0:06.0/{ADDRESS}", ("pci10000:e0", "10000:e0:06.0")),
        (f"../../../devices/platform/soc/fd500000.pcie/pci0001:00/{ADDRESS}", ("pci0001:00",)),
        (f"../../../devices/pci0000:3a/{ADDRESS}", ("pci0000:3a",)),
        (f"../../../devices/virtual/{ADDRESS}", ()),
        (ADDRESS, ()),
        (f"../../../devices/pci0000:3a/0000:3a:00.0\udcff/{ADDRESS}", ("pci0000:3a",)),
    ],
)
def test_the_path_is_the_host_bridge_and_the_bridges_below_it(
    tmp_path: Path, target: str, path: tuple[str, ...]
) -> None:
    assert path_of(tmp_path, target) == path


@pytest.mark.parametrize("address", [ADDRESS, "", "\0"])
def test_a_function_that_is_no_link_or_not_there_has_no_path(tmp_path: Path, address: str) -> None:
    (tmp_path / "bus/pci/devices").mkdir(parents=True)
    bus = PciBus(str(tmp_path))
    assert bus.path(address) == ()
    (tmp_path / "bus/pci/devices" / ADDRESS).mkdir()
    assert bus.path(address) == ()


def test_each_simulated_gpu_has_a_bridge_of_its_own() -> None:
    gpus = parse_spec("300xT4")
    assert (gpus[0].pci_address, gpus[0].pci_path) == ("0000:02:00.0", ("pci0000:01", "0000:01:00.0"))
    assert (gpus[7].pci_address, gpus[7].pci_path) == ("0000:10:00.0", ("pci0000:0f", "0000:0f:00.0"))
    assert (gpus[127].pci_address, gpus[127].pci_path) == ("0001:02:00.0", ("pci0001:01", "0001:01:00.0"))
    assert len({gpu.pci_path for gpu in gpus}) == 300
