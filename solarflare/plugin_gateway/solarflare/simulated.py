"""Simulated Solarflare cards, with Onload, for demonstrations and tests on a machine without them.

They are a made-up tree of files. `OnloadModel` judges them as it judges genuine ones, but no node is needed.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from plugin_gateway.core.devices import Recipe
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.linux.made_up_tree import MadeUpTree
from plugin_gateway.solarflare.model import OnloadModel
from plugin_gateway.solarflare.onload import NODES

MAX_CARDS = 64
"""Largest number of simulated cards."""
VERSION = "9.0.2.140"
"""The version of Onload that the made-up kernel module has."""
_FIRST_BUS = 0x5E
_DOMAIN = "0001"
"""Other simulated devices are in other PCI domains, so that their addresses differ."""
_NUMA_NODES = 2


class _Model(NamedTuple):
    """A card that can be simulated."""

    vendor: str
    device: str
    driver: str
    speed: int
    """Mbit/s of each port."""
    ports: int = 2


MODELS: Mapping[str, _Model] = {
    "SFN8522": _Model("1924", "0a03", "sfc", 10_000),
    "X2522": _Model("1924", "0b03", "sfc", 25_000),
    "X2541": _Model("1924", "0b03", "sfc", 100_000, ports=1),
    "X3522": _Model("10ee", "5084", "xilinx_efct", 25_000),
    "X4": _Model("1924", "0c03", "sfc", 50_000),
}


def parse_spec(spec: str) -> MadeUpTree:
    """Return the files of a host with the cards of a specification such as ``1xX2522`` or ``2xX2522+1xX4``.

    The modules of Onload are loaded there, and each port has a link.

    Raises:
        InvalidValueError: the message names the value and what is allowed.
    """
    parts = [part.partition("x") for part in spec.split("+")]
    is_known = all(_is_count(count) and model in MODELS for count, _, model in parts)
    if not is_known or sum(int(count) for count, *_ in parts) > MAX_CARDS:
        raise InvalidValueError(
            f"cards to simulate {spec[:80]!r}; expected COUNTxMODEL such as 1xX2522, or several such as "
            f"2xX2522+1xX4, with 1 to {MAX_CARDS} of {', '.join(MODELS)}"
        )
    models = [MODELS[model] for count, _, model in parts for _ in range(int(count))]
    files = dict(_onload(models))
    links: dict[str, str] = {}
    for number, model in enumerate(models):
        for port in range(model.ports):
            _add_port(number, port, model, files, links)
    return MadeUpTree(files, links)


def simulated_model() -> OnloadModel:
    """Return the model for simulated cards. A container gets the nodes and files of Onload that the node has."""
    return OnloadModel((), recipe=Recipe(optional_nodes=NODES))


def _is_count(text: str) -> bool:
    """Return whether the text is an allowed number. Its length is checked first: int() refuses very long texts."""
    is_short = len(text) <= len(str(MAX_CARDS))
    return is_short and text.isascii() and text.isdigit() and 1 <= int(text) <= MAX_CARDS


def _onload(models: list[_Model]) -> Iterator[tuple[str, str]]:
    """Yield the files of the modules, which are loaded."""
    for module in ("onload", "sfc_resource", "sfc_char", *sorted({model.driver for model in models})):
        yield f"/sys/module/{module}/initstate", "live"
    yield "/sys/module/sfc_resource/parameters/enable_accel_by_default", "1"
    devices = [f"{number} {node.rpartition('/')[2]}" for number, node in enumerate(NODES, 236)]
    yield "/proc/devices", "\n".join(["Character devices:", "  1 mem", *devices, "", "Block devices:", "259 blkext"])
    yield (
        "/proc/driver/onload/version",
        f"onload_product: OpenOnload\nonload_version: {VERSION}\nuk_intf_ver: simulated",
    )
    for node in NODES:
        yield node, ""


def _add_port(number: int, port: int, model: _Model, files: dict[str, str], links: dict[str, str]) -> None:
    """Add a port of a card: a function of the bus with its interface."""
    bus = _FIRST_BUS + 2 * number
    address = f"{_DOMAIN}:{bus:02x}:00.{port}"
    bridge = f"{_DOMAIN}:{bus - 1:02x}:00.0"
    place = f"devices/pci{bridge.rpartition(':')[0]}/{bridge}/{address}"
    folder = f"/sys/{place}"
    interface = f"enP1p{bus}s0f{port}np{port}"
    links[f"/sys/bus/pci/devices/{address}"] = f"../../../{place}"
    links[f"{folder}/driver"] = f"../../../../bus/pci/drivers/{model.driver}"
    files[f"/sys/bus/pci/drivers/{model.driver}/module/initstate"] = "live"
    for name, value in {
        "vendor": f"0x{model.vendor}",
        "device": f"0x{model.device}",
        "class": "0x020000",
        "numa_node": str(number % _NUMA_NODES),
        "current_link_speed": "8.0 GT/s PCIe",
        "max_link_speed": "8.0 GT/s PCIe",
        "current_link_width": "8",
        "max_link_width": "8",
        "sfc_resource/enable": "1",
        f"net/{interface}/type": "1",
        f"net/{interface}/flags": "0x1003",
        f"net/{interface}/operstate": "up",
        f"net/{interface}/carrier": "1",
        f"net/{interface}/carrier_changes": "1",
        f"net/{interface}/speed": str(model.speed),
    }.items():
        files[f"{folder}/{name}"] = value
