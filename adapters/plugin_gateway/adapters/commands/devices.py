"""`plugin-gateway devices`: prints the devices that would be offered, as a table or as JSON."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from plugin_gateway.adapters.commands.command_line import Parts, SubCommand, complain, make_for_a_look
from plugin_gateway.adapters.commands.device_links import links_as_json, links_as_table
from plugin_gateway.adapters.commands.device_tables import print_resource, product_words, unmatched_words
from plugin_gateway.adapters.commands.flags import add_json_flag, add_options
from plugin_gateway.adapters.commands.gateway_settings import View, view_as_the_gateway
from plugin_gateway.adapters.configuration.options import Options
from plugin_gateway.adapters.gateway.first_look import ask_driver_for_links, has_cards
from plugin_gateway.adapters.support.terminal import print_json, print_lines
from plugin_gateway.core.cards import is_card
from plugin_gateway.core.devices import Device, Inventory, Links, RejectedDevice, seen_by
from plugin_gateway.core.errors import InvalidValuesError
from plugin_gateway.core.health.observations import DriverUnavailable
from plugin_gateway.core.ports import Backend
from plugin_gateway.core.resources.names import ResourceName
from plugin_gateway.core.resources.rule_reasons import (
    DoubtfulRule,
    Explanation,
    Missed,
    WhyNot,
    doubtful_in_all,
    explain,
)
from plugin_gateway.core.resources.rules import ResourceRule
from plugin_gateway.core.resources.side_by_side import TODO_NAME, NameTaken

FLAGS = (
    Options.driver_root,
    Options.container_driver_root,
    Options.backend,
    Options.host_root,
    Options.mig_strategy,
    Options.mps_root,
    Options.resource_name,
    Options.state_dir,
    Options.config_file,
)
"""The options that replace what the gateway has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What is shown: the devices, and what the rules make of them."""

    inventories: Mapping[str, Inventory]
    """By backend, in the order of their precedence."""
    rules: Sequence[ResourceRule]
    devices: Sequence[Explanation]
    """All devices that can be given out, each with the rule that took it, and why the others did not."""
    doubts: Sequence[DoubtfulRule]
    remarks: Sequence[str]
    """What the configuration file says to no effect."""
    links: Mapping[str, Links] | None
    """How the devices of each backend are connected. None if nobody asked for it."""
    problems: Sequence[str]
    """Why a gateway with this configuration would not start."""

    def taken(self) -> Iterator[tuple[ResourceName, ResourceRule, Device]]:
        """Yield each device that is offered, with its resource and the rule that took it."""
        for name, rule, device in self._named():
            if self._owners[name] == device.physical.backend:
                yield name, rule, device

    @property
    def names_taken(self) -> Sequence[tuple[Device, NameTaken]]:
        """The devices that are not offered, because another backend has the name."""
        others = [(name, device) for name, _, device in self._named()]
        return [
            (device, NameTaken(name, device.physical.backend, self._owners[name], (device.id,)))
            for name, device in others
            if self._owners[name] != device.physical.backend
        ]

    @property
    def _owners(self) -> Mapping[ResourceName, str]:
        """The backend of each resource: the first that has devices for it."""
        owners: dict[ResourceName, str] = {}
        for name, _, device in self._named():
            owners.setdefault(name, device.physical.backend)
        return owners

    def _named(self) -> Iterator[tuple[ResourceName, ResourceRule, Device]]:
        """Yield each device that a rule gives a name, in the order of the backends."""
        for each in self.devices:
            rule = None if each.taker is None else self.rules[each.taker]
            name = None if rule is None else rule.name_for(each.device)
            if rule is not None and name is not None:
                yield name, rule, each.device

    @property
    def unmatched(self) -> Sequence[Device]:
        """The devices that no rule matches."""
        return [each.device for each in self.devices if each.taker is None]

    @property
    def excluded(self) -> Sequence[tuple[Device, ResourceRule]]:
        """The devices that a rule excludes."""
        return [
            (each.device, self.rules[each.taker])
            for each in self.devices
            if each.taker is not None and self.rules[each.taker].name is None
        ]


def make(parts: Parts) -> SubCommand:
    """Return the sub-command."""

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        add_options(parser, FLAGS)
        parser.add_argument("--links", action="store_true", help="show how the GPUs are connected")
        add_json_flag(parser)
        parser.add_argument(
            "--explain", action="store_true", help="tell of each device which rule took it, and why the others did not"
        )

    return SubCommand(add_arguments, lambda parsed: run(parsed, parts))


def run(parsed: argparse.Namespace, parts: Parts) -> int:
    """Print the devices, with the settings of the gateway that runs on this node if there is one.

    Raises:
        InvalidValueError: a flag, or the file that a flag names, is wrong.
    """
    view = view_as_the_gateway(parsed, parts)
    if hasattr(parsed, "config_file") and view.problems:
        raise InvalidValuesError(view.problems)
    settings = view.settings
    backends = make_for_a_look(parts, settings)
    return show_devices(backends, view, as_json=parsed.json, with_reasons=parsed.explain, with_links=parsed.links)


def show_devices(
    backends: Mapping[str, Backend], view: View, *, as_json: bool, with_reasons: bool, with_links: bool
) -> int:
    """Ask the driver of each backend once, and print the devices.

    Return 1 if one does not answer, or the gateway's configuration has problems, which are shown too.
    """
    rules = view.settings.resources
    inventories: dict[str, Inventory] = {}
    links: dict[str, Links] = {}
    for name, backend in backends.items():
        inventory, links[name] = ask_driver_for_links(backend, wanted=with_links)
        if isinstance(inventory, DriverUnavailable):
            whose = f"backend {name}: " if len(backends) > 1 else ""
            complain(whose + "; ".join(filter(None, (inventory.problem, inventory.todo))))
        else:
            inventories[name] = seen_by(name, inventory) if len(backends) > 1 else inventory
    if not inventories:
        return 1
    is_whole = len(inventories) == len(backends)
    shown = Shown(
        inventories=inventories,
        rules=rules,
        devices=[each for inventory in inventories.values() for each in explain(inventory.devices, rules)],
        doubts=doubtful_in_all(tuple(inventories.values()), rules) if is_whole else (),
        remarks=view.settings.remarks,
        links=links if with_links else None,
        problems=view.problems,
    )
    if as_json:
        print_json({**_as_json(shown), **(_reasons_as_json(shown) if with_reasons else {})})
        return 0 if is_whole and not view.problems else 1
    _print_table(shown)
    print_lines([*_left_out(shown), *(_reasons(shown) if with_reasons else ()), *_links(shown)])
    for problem in view.problems:
        complain(problem)
    return 0 if is_whole and not view.problems else 1


def _links(shown: Shown) -> Iterator[str]:
    """Yield a table of the links for each backend."""
    for name, inventory in shown.inventories.items() if shown.links is not None else ():
        if has_cards(inventory):
            continue
        if len(shown.inventories) > 1:
            yield f"backend {name}:"
        yield from links_as_table((shown.links or {})[name], inventory.physical)


def _as_json(shown: Shown) -> Mapping[str, object]:
    """Return all devices as values of JSON."""
    devices = [
        {
            "resource": name,
            "id": device.id,
            "kind": device.kind,
            "profile": device.profile or None,
            "place": device.place_words,
            "index": device.physical.index,
            "minor": device.physical.minor,
            "pci_address": device.physical.pci_address,
            "backend": device.physical.backend or None,
            "product": device.physical.product,
            "memory_bytes": device.memory_bytes,
            "numa_node": device.physical.numa_node,
            "nodes": list(device.nodes),
            "replicas": rule.sharing.replicas,
            "is_pooled": rule.sharing.is_pool,
            "attributes": {word: list(values) for word, values in device.physical.attributes.items()},
        }
        for name, rule, device in shown.taken()
    ]
    inventories = shown.inventories.values()
    rejected = [each._asdict() for inventory in inventories for each in inventory.rejected]
    rejected += [
        RejectedDevice(device.id, str(why), TODO_NAME, device.physical.id)._asdict()
        for device, why in shown.names_taken
    ]
    aside = [each._asdict() for inventory in inventories for each in inventory.set_aside]
    links = None if shown.links is None else {name: links_as_json(each) for name, each in shown.links.items()}
    return {
        "devices": devices,
        "unmatched": [{"id": device.id, "product": device.physical.product} for device in shown.unmatched],
        "excluded": [{"id": device.id, "rule": rule.words} for device, rule in shown.excluded],
        "rejected": rejected,
        "set_aside": aside,
        "doubtful_rules": [
            {
                "rule": each.number,
                "doubt": each.doubt.value,
                "absent": list(each.absent),
                "taken_by": list(each.takers),
                "words": each.words(shown.rules),
            }
            for each in shown.doubts
        ],
        "links": None if links is None else next(iter(links.values())),
        "links_by_backend": links,
        "remarks": list(shown.remarks),
        "problems": list(shown.problems),
    }


def _reasons_as_json(shown: Shown) -> Mapping[str, object]:
    return {
        "rules": [{"words": rule.words, "origin": rule.origin or None} for rule in shown.rules],
        "explained": [
            {
                "id": each.device.id,
                "taken_by": each.taker,
                "others": [{"rule": number, **_why_not_as_json(why)} for number, why in each.others.items()],
            }
            for each in shown.devices
        ],
    }


def _why_not_as_json(why: WhyNot) -> Mapping[str, object]:
    if not isinstance(why, Missed):
        return {"why_not": str(why)}
    return {
        "why_not": str(why),
        "condition": why.condition,
        "allowed": list(why.allowed),
        "found": why.found or None,
    }


def _print_table(shown: Shown) -> None:
    """Print a table for each resource."""
    taken = list(shown.taken())
    for name in dict.fromkeys(name for name, _, _ in taken):
        print_resource(name, [(rule, device) for resource, rule, device in taken if resource == name])


def _left_out(shown: Shown) -> Iterator[str]:
    """Yield a line for each device that is not offered, and for each rule that may be a mistake."""
    if not any(shown.taken()):
        yield "no device is offered under any resource"
    yield from unmatched_words(shown.unmatched)
    for device, rule in shown.excluded:
        yield f"not offered: {device.id}: {_rule(rule)}"
    for device, why in shown.names_taken:
        yield f"not offered: {device.id}: {why}; {TODO_NAME}"
    for each in (each for known in shown.inventories.values() for each in (*known.rejected, *known.set_aside)):
        yield f"not offered: {each.place}: {'; '.join(filter(None, (each.problem, each.todo)))}"
    for doubt in shown.doubts:
        yield f"note: {doubt.words(shown.rules)}"
    for remark in shown.remarks:
        yield f"note: {remark}"


def _reasons(shown: Shown) -> Iterator[str]:
    """Yield for each device which rule took it, and why the others did not."""
    rules = [f"rule {number}: {_rule(rule)}" for number, rule in enumerate(shown.rules, 1)]
    for each in shown.devices:
        yield _explained(each.device)
        yield "  taken by no rule" if each.taker is None else f"  taken by {rules[each.taker]}"
        for number, why in each.others.items():
            if _can_be_meant(shown.rules[number], each.device):
                yield f"  not by {rules[number]}: {why}"


def _explained(device: Device) -> str:
    """Return which device it is. People know a card by what rules can ask of it."""
    attributes = device.physical.attributes
    if not is_card(attributes):
        return f"{device.place_words} {device.id}, {product_words(device)}"
    known = [f"{word} {' or '.join(values)}" for word, values in attributes.items() if values]
    return ", ".join((device.id, *filter(None, (device.physical.product,)), *known))


def _can_be_meant(rule: ResourceRule, device: Device) -> bool:
    """Whether somebody can have meant this rule for this device. Those for network cards are for nothing else."""
    backend, meant = device.physical.backend, rule.selector.backends
    is_about_cards = is_card(device.physical.attributes) or rule.is_always_there
    return not (backend and meant) or backend in meant or not is_about_cards


def _rule(rule: ResourceRule) -> str:
    return f"{rule.words} ({rule.origin})" if rule.origin else rule.words
