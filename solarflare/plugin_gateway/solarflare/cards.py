"""Which PCI functions are Solarflare's network cards, and what their products are called."""

from collections.abc import Mapping

from plugin_gateway.linux.facts import PciFunction

DRIVERS = ("sfc", "xilinx_efct")
"""The kernel drivers of the cards that Onload accelerates."""
_SOLARFLARE, _XILINX = "1924", "10ee"
_PRODUCTS: Mapping[tuple[str, str], str] = {
    (_SOLARFLARE, "0903"): "SFC9120",
    (_SOLARFLARE, "0923"): "SFC9140",
    (_SOLARFLARE, "0a03"): "SFC9220 (8000 series)",
    (_SOLARFLARE, "0b03"): "SFC9250 (X2522, X2541)",
    (_SOLARFLARE, "0c03"): "X4, low latency",
    (_SOLARFLARE, "2c03"): "X4, full feature",
    (_XILINX, "0100"): "EF100",
    (_XILINX, "5084"): "X3522",
}
"""By vendor and device, from efx.c of Onload and pci.ids. The device of a virtual function is 1000 higher."""
_VF_OFFSET = 0x1000
_TOO_OLD = frozenset({"0703", "0710", "0803", "0813", "1803", "1813"})
"""Devices of Solarflare, with virtual functions, that today's Onload does not support."""


def is_card(function: PciFunction) -> bool:
    """Whether a function belongs to a card of Solarflare, whoever has it. Its driver says so, or its ids do."""
    if function.driver in DRIVERS:
        return True
    return _product(function) is not None or is_too_old(function)


def is_too_old(function: PciFunction) -> bool:
    """Whether it belongs to a card of Solarflare that today's Onload does not support."""
    return function.vendor == _SOLARFLARE and function.device in _TOO_OLD


def is_held(function: PciFunction) -> bool:
    """Whether a driver of somebody else has the function, such as the one that gives it to a virtual machine."""
    return function.driver is not None and function.driver not in DRIVERS


def product_of(function: PciFunction) -> str:
    """Return the name of the product. That of the vendor alone if the device is not in the table."""
    product = _product(function)
    return "Solarflare" if product is None else f"Solarflare {product}"


def driver_for(function: PciFunction) -> str:
    """Return the driver that is made for the card."""
    return DRIVERS[1] if (function.vendor, function.device) == (_XILINX, "5084") else DRIVERS[0]


def _product(function: PciFunction) -> str | None:
    product = _PRODUCTS.get((function.vendor, function.device))
    if product is not None:
        return product
    physical = _PRODUCTS.get((function.vendor, _device_of_parent(function.device)))
    return None if physical is None else f"{physical} virtual function"


def _device_of_parent(device: str) -> str:
    """Return the device of the physical function, for that of a virtual one. Empty if there is none."""
    try:
        number = int(device, 16) - _VF_OFFSET
    except ValueError:
        return ""
    return f"{number:04x}" if number >= 0 else ""
