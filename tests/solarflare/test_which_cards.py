"""Which functions of the bus are offered for Onload, and what they are called."""

from dataclasses import replace

import pytest

from plugin_gateway.linux.facts import PciFunction
from plugin_gateway.solarflare.cards import driver_for, is_card, is_held, is_too_old, product_of

X2522 = PciFunction(
    address="0000:5e:00.0",
    vendor="1924",
    device="0b03",
    class_code="020000",
    driver="sfc",
    numa_node=0,
    pci_path=("pci0000:5d", "0000:5d:00.0"),
)


@pytest.mark.parametrize(
    ("vendor", "device", "product"),
    [
        ("1924", "0903", "Solarflare SFC9120"),
        ("1924", "1923", "Solarflare SFC9140 virtual function"),
        ("1924", "0a03", "Solarflare SFC9220 (8000 series)"),
        ("1924", "0b03", "Solarflare SFC9250 (X2522, X2541)"),
        ("1924", "1b03", "Solarflare SFC9250 (X2522, X2541) virtual function"),
        ("1924", "0c03", "Solarflare X4, low latency"),
        ("1924", "3c03", "Solarflare X4, full feature virtual function"),
        ("10ee", "0100", "Solarflare EF100"),
        ("10ee", "1100", "Solarflare EF100 virtual function"),
        ("10ee", "5084", "Solarflare X3522"),
    ],
)
def test_a_card_is_known_by_its_ids_with_and_without_a_driver(vendor: str, device: str, product: str) -> None:
    function = replace(X2522, vendor=vendor, device=device)
    assert is_card(function)
    assert is_card(replace(function, driver=None))
    assert product_of(function) == product


@pytest.mark.parametrize("driver", ["sfc", "xilinx_efct"])
def test_a_newer_card_is_known_by_its_driver(driver: str) -> None:
    newer = replace(X2522, device="0d03", driver=driver)
    assert is_card(newer)
    assert product_of(newer) == "Solarflare"
    assert not is_card(replace(newer, driver=None))


@pytest.mark.parametrize(
    ("vendor", "device", "driver"),
    [
        ("15b3", "101b", "mlx5_core"),
        ("8086", "159b", None),
        ("10ee", "9038", "xdma"),
        ("1924", "0000", None),
        ("1924", "zzzz", None),
    ],
)
def test_a_card_of_others_is_none(vendor: str, device: str, driver: str | None) -> None:
    assert not is_card(replace(X2522, vendor=vendor, device=device, driver=driver))


@pytest.mark.parametrize("device", ["0703", "0710", "0803", "0813", "1803"])
def test_a_card_that_onload_gave_up_is_known_as_such(device: str) -> None:
    assert is_too_old(replace(X2522, device=device))
    assert is_card(replace(X2522, device=device, driver=None))
    assert not is_too_old(replace(X2522, vendor="10ee", device=device))


def test_a_card_can_be_held_by_somebody_else() -> None:
    assert is_held(replace(X2522, driver="vfio-pci"))
    assert not is_held(X2522)
    assert not is_held(replace(X2522, driver=None))


def test_each_card_has_a_driver_that_is_made_for_it() -> None:
    assert driver_for(X2522) == "sfc"
    assert driver_for(replace(X2522, vendor="10ee", device="0100")) == "sfc"
    assert driver_for(replace(X2522, vendor="10ee", device="5084")) == "xilinx_efct"
