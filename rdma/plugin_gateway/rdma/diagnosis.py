"""What the state of ports and interfaces means for each card."""

import errno
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from plugin_gateway.core.health.faults import Checkup
from plugin_gateway.core.health.policy import NOT_ANSWERING, EvidenceKind
from plugin_gateway.linux.card_model import PortId, Signs, Unread
from plugin_gateway.linux.facts import Interface, PciFunction, PortState
from plugin_gateway.rdma.discovery import Card
from plugin_gateway.rdma.evidence import LINK_DOWN, PARENT_DOWN, PORT_DOWN, SWITCHED_OFF
from plugin_gateway.rdma.naming import ETHERNET, HARDWARE_TYPES

_ACTIVE = frozenset({"ACTIVE", "ACTIVE_DEFER"})
"""The states of a port in which it carries data."""
_GONE = frozenset({errno.ENOENT, errno.ENODEV})
"""The errors of a device that has gone."""


class Link(NamedTuple):
    """What is known of the link of a function."""

    problems: Mapping[EvidenceKind, str]
    unanswered: frozenset[EvidenceKind] = frozenset()


def is_active(state: PortState) -> bool:
    """Whether a port carries data."""
    return state.state in _ACTIVE


def port_ids(card: Card) -> tuple[PortId, ...]:
    """Return the ports of a card that can be asked now."""
    return tuple(PortId(card.address, device.name, port.number) for device in card.usable for port in device.ports)


def port_words(state: PortState | Unread) -> str:
    """Return the state of a port in the words of the kernel."""
    if isinstance(state, Unread):
        return state.words
    return f"{state.state} ({state.phys_state})" if state.phys_state else state.state


def gone_ports(signs: Signs) -> frozenset[PortId]:
    """Return the ports that are not there any more. The next scan says whether that is so."""
    return frozenset(port for port, state in signs.ports.items() if isinstance(state, Unread) and state.errno in _GONE)


def judge_card(card: Card, signs: Signs, parent: Link | None, lost: Collection[PortId] = ()) -> Checkup:
    """Return what is wrong with a card.

    ``parent`` is the link of its physical function, if it is a virtual one. None if that is not seen. ``lost`` are
    ports that had gone before the last scan, which found them all the same.
    """
    if card.problems:
        return Checkup(card.problems)
    silence = _silence(card, signs, lost)
    own = {NOT_ANSWERING: silence} if silence else {}
    link = _through_parent(card, parent) if card.is_virtual else link_of(card.function, port_ids(card), signs)
    return Checkup({**own, **link.problems}, unanswered=link.unanswered)


def _through_parent(card: Card, parent: Link | None) -> Link:
    if parent is None:
        return Link({})
    if parent.problems:
        words = ", ".join(parent.problems.values())
        return Link({PARENT_DOWN: f"its physical function {card.function.parent} has no link: {words}"})
    return Link({}, frozenset({PARENT_DOWN} if parent.unanswered else ()))


def _silence(card: Card, signs: Signs, lost: Collection[PortId]) -> str:
    """Return what gave no answer, for people. Empty if everything answers, or has just gone."""
    found = [
        f"{_named(port, card)}: {state.words}"
        for port in port_ids(card)
        if isinstance(state := signs.ports.get(port), Unread) and (port in lost or state.errno not in _GONE)
    ]
    interface = signs.unanswered.get(card.address)
    if interface is not None and interface.errno not in _GONE:
        found.append(f"its interface: {interface.words}")
    return "; ".join(found)


def _named(port: PortId, card: Card) -> str:
    return f"port {port.number}" if len(card.usable) == 1 else f"{port.device} port {port.number}"


def link_of(function: PciFunction, ports: Sequence[PortId], signs: Signs) -> Link:
    """Return what keeps a physical function from having a link, the cause before what follows from it.

    One with several ports or interfaces has a link as long as one of them has. An interface of InfiniBand says nothing
    about it, because programs need none there.
    """
    interfaces = [each for each in signs.interfaces.get(function.address, ()) if _is_ethernet(each)]
    switched_on = [each for each in interfaces if each.is_switched_on]
    names = ", ".join(each.name for each in switched_on or interfaces)
    if interfaces and not switched_on:
        by_interface = Link({SWITCHED_OFF: f"{names} is switched off"})
    elif switched_on and not any(each.carrier for each in switched_on):
        is_known = all(each.carrier is False for each in switched_on)
        by_interface = Link({LINK_DOWN: f"{names} has no link"}) if is_known else Link({}, frozenset({LINK_DOWN}))
    else:
        by_interface = Link({})
    by_port = _link_of_ports(ports, signs)
    return Link({**by_interface.problems, **by_port.problems}, by_interface.unanswered | by_port.unanswered)


def _is_ethernet(interface: Interface) -> bool:
    return HARDWARE_TYPES.get(interface.type) == ETHERNET


def _link_of_ports(ports: Sequence[PortId], signs: Signs) -> Link:
    known = {port: state for port in ports if isinstance(state := signs.ports.get(port), PortState)}
    if any(map(is_active, known.values())):
        return Link({})
    if len(known) < len(ports):
        return Link({}, frozenset({PORT_DOWN}))
    is_single = len({port.device for port in known}) == 1
    words = [
        _down(f"port {port.number}" if is_single else f"{port.device} port {port.number}", state)
        for port, state in known.items()
    ]
    return Link({PORT_DOWN: ", ".join(words)} if words else {})


def _down(name: str, state: PortState) -> str:
    words = f"{name} is {port_words(state)}"
    has_no_manager = state.state == "INIT" and state.phys_state == "LinkUp"
    return f"{words}: no subnet manager has set it up" if has_no_manager else words
