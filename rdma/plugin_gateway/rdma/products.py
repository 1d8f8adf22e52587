"""The product names of RDMA devices by their PCI ids, and the kernel modules that make RDMA devices.

The image has no file of PCI ids. The names are those of rdma-core (providers/mlx5) and of Debian's pci.ids.
"""

from collections.abc import Mapping

from plugin_gateway.linux.facts import PciFunction

MELLANOX = "15b3"
"""The PCI vendor id of Mellanox, today NVIDIA's networking."""
NETWORK_CLASS = "02"
"""The first two digits of the PCI class of network controllers."""

_VF = "Virtual Function"
_MELLANOX_PRODUCTS: Mapping[str, str] = {
    "1003": "ConnectX-3",
    "1004": f"ConnectX-3 {_VF}",
    "1007": "ConnectX-3 Pro",
    "1013": "ConnectX-4",
    "1014": f"ConnectX-4 {_VF}",
    "1015": "ConnectX-4 Lx",
    "1016": f"ConnectX-4 Lx {_VF}",
    "1017": "ConnectX-5",
    "1018": f"ConnectX-5 {_VF}",
    "1019": "ConnectX-5 Ex",
    "101a": f"ConnectX-5 Ex {_VF}",
    "101b": "ConnectX-6",
    "101c": f"ConnectX-6 {_VF}",
    "101d": "ConnectX-6 Dx",
    "101e": f"ConnectX Family mlx5Gen {_VF}",
    "101f": "ConnectX-6 Lx",
    "1021": "ConnectX-7",
    "1023": "ConnectX-8",
    "1025": "ConnectX-9",
    "1027": "ConnectX-10",
    "a2d6": "BlueField-2",
    "a2dc": "BlueField-3",
    "a2df": "BlueField-4",
}

_MODULES: Mapping[str, str] = {
    "bnxt_en": "bnxt_re",
    "cxgb4": "iw_cxgb4",
    "hns3": "hns_roce_hw_v2",
    "i40e": "irdma",
    "ice": "irdma",
    "idpf": "irdma",
    "ionic": "ionic_rdma",
    "mana": "mana_ib",
    "mlx4_core": "mlx4_ib",
    "mlx5_core": "mlx5_ib",
    "qede": "qedr",
}
"""The kernel module that makes the RDMA devices of each driver (Linux, drivers/infiniband/hw)."""


def product_of(function: PciFunction, hca_type: str) -> str:
    """Return the product name. ``hca_type`` is what the RDMA driver calls it, for products that have no name here."""
    known = _MELLANOX_PRODUCTS.get(function.device) if function.vendor == MELLANOX else None
    return known or hca_type


def rdma_module(driver: str) -> str | None:
    """Return the kernel module that makes RDMA devices for this driver. None if the driver does it by itself."""
    return _MODULES.get(driver)


def is_of_mellanox(function: PciFunction) -> bool:
    """Whether it is a network controller of Mellanox. Each of them can do RDMA."""
    return function.vendor == MELLANOX and function.class_code.startswith(NETWORK_CLASS)
