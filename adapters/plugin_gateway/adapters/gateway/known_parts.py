"""The parts of devices that a node had, as JSON values, in a form that other versions of the gateway can read.

Reading is lenient: a key that this version does not know is ignored, and so is a part that cannot be read.
"""

from collections.abc import Mapping

from plugin_gateway.adapters.gateway.forms import MAX_PARTS
from plugin_gateway.adapters.gateway.state_file import Decoded
from plugin_gateway.adapters.support.strict_json import plain, shown
from plugin_gateway.core.devices import Inventory, PhysicalId, parse_device_id
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.resources.conflicts import FormerPart

VERSION = 1
"""Version of the form. Every version can be read."""
MAX_TEXT = 4096
"""Characters of one path."""
MAX_NODES = 64


def with_parts(known: Mapping[str, FormerPart], inventory: Inventory) -> Mapping[str, FormerPart]:
    """Return the known parts and those of an inventory, at most `MAX_PARTS`, the one that was seen last at the end."""
    here = {
        str(device.id): FormerPart(device.physical.id, device.nodes)
        for device in inventory.devices
        if not device.is_whole
    }
    kept = [(name, part) for name, part in known.items() if name not in here]
    return dict([*kept, *here.items()][-MAX_PARTS:])


def encode(parts: Mapping[str, FormerPart]) -> Mapping[str, object]:
    """Return the parts as values that JSON supports."""
    return {
        "version": VERSION,
        "parts": {
            name: {"physical": part.physical, "nodes": [plain(node, MAX_TEXT) for node in part.nodes]}
            for name, part in parts.items()
        },
    }


def decode(value: object) -> Decoded[Mapping[str, FormerPart]]:
    """Return the parts that a file of any version contains.

    Raises:
        InvalidValueError: it contains nothing that a gateway writes.
    """
    if not isinstance(value, dict) or not isinstance(value.get("parts"), dict):
        raise InvalidValueError(f"{shown(value)} where the parts of devices belong")
    problems: list[str] = []
    found = {name: _part(name, entry, problems) for name, entry in list(value["parts"].items())[-MAX_PARTS:]}
    return Decoded({name: part for name, part in found.items() if part is not None}, tuple(problems[:8]))


def _part(name: str, entry: object, problems: list[str]) -> FormerPart | None:
    values = entry if isinstance(entry, dict) else {}
    physical, nodes = values.get("physical"), values.get("nodes")
    try:
        parse_device_id(name)
        whole = PhysicalId(parse_device_id(physical if isinstance(physical, str) else ""))
    except InvalidValueError:
        problems.append(f"part {shown(name)}: {shown(entry)}")
        return None
    if not isinstance(nodes, list) or len(nodes) > MAX_NODES or not all(map(_is_path, nodes)):
        problems.append(f"nodes of {shown(name)}: {shown(nodes)}")
        nodes = []
    return FormerPart(whole, tuple(nodes))


def _is_path(value: object) -> bool:
    return isinstance(value, str) and len(value) <= MAX_TEXT and value.isprintable() and value.startswith("/")
