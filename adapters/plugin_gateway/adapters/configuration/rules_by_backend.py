"""What several backends side by side mean for the rules.

What NVIDIA's keys and `--resource-name` say is about the first backend. Each further one offers its devices under its
own default name. `resources.rules` is about all of them, or about those that an entry names.

Backends with network cards have rules of their own, see `card_rules`. All that does not name one of them is about GPUs.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from plugin_gateway.adapters.configuration.chosen_backends import ChosenBackend
from plugin_gateway.adapters.configuration.options import DEFAULT_RESOURCE
from plugin_gateway.core.resources.names import ResourceName
from plugin_gateway.core.resources.rules import ResourceRule, Selector

if TYPE_CHECKING:
    from plugin_gateway.adapters.configuration.resource_rules import FileResources


class Beside(NamedTuple):
    """What the chosen backends mean for the rules."""

    default: ResourceName = DEFAULT_RESOURCE
    """The resource of the first backend where nobody wrote another one."""
    first: tuple[str, ...] = ()
    """The name of the first backend, if there are others."""
    further: tuple[ResourceRule, ...] = ()
    """The last rules, for what no other rule takes of the further backends."""

    def of_first(self, rules: Iterable[ResourceRule]) -> tuple[ResourceRule, ...]:
        """Return rules that are about the first backend only."""
        if not self.first:
            return tuple(rules)
        return tuple(replace(each, selector=replace(each.selector, backends=self.first)) for each in rules)


ONLY_ONE = Beside()


def decide_rules(
    chosen: Sequence[ChosenBackend],
    file: "FileResources | None",
    resource_name: ResourceName | None,
    by_profile: Sequence[ResourceRule],
    of_cards: Sequence[ResourceRule] = (),
) -> tuple[tuple[ResourceRule, ...], tuple[str, ...]]:
    """Return the rules for these backends, and what is said to no effect. ``of_cards`` are those for network cards.

    Raises:
        InvalidValueError: two backends get one name, or what the file says does not go together.
    """
    gpus = [each for each in chosen if not each.has_cards]
    remarks: tuple[str, ...] = ()
    if not gpus:
        own = [rule for rule, _ in file.own if rule.selector.backends] if file is not None else []
        remarks = (f"--resource-name is {resource_name}, and no backend has GPUs",) if resource_name else ()
        return for_backends((*own, *of_cards), chosen), remarks
    beside = side_by_side(gpus, has_cards=len(gpus) < len(chosen))
    if file is not None:
        rules, remarks = file.rules(resource_name, by_profile, beside)
    else:
        of_first = beside.of_first((*by_profile, ResourceRule(name=resource_name or beside.default)))
        rules = (*of_first, *beside.further)
    if len(gpus) < len(chosen):
        rules = _about(rules, tuple(each.name for each in gpus))
    return for_backends((*rules, *of_cards), chosen), remarks


def _about(rules: Sequence[ResourceRule], gpus: tuple[str, ...]) -> tuple[ResourceRule, ...]:
    """Return the rules, those that name no backend for these only. A rule about every device takes no network card."""
    return tuple(
        each if each.selector.backends else replace(each, selector=replace(each.selector, backends=gpus))
        for each in rules
    )


def side_by_side(chosen: Sequence[ChosenBackend], *, has_cards: bool = False) -> Beside:
    """Return what these backends mean for the rules. ``has_cards`` says that there are others with network cards."""
    first, *others = chosen
    if not others and not has_cards:
        return Beside(first.default_resource)
    further = (ResourceRule(selector=Selector(backends=(each.name,)), name=each.default_resource) for each in others)
    return Beside(first.default_resource, (first.name,), tuple(further))


def for_backends(rules: tuple[ResourceRule, ...], chosen: Sequence[ChosenBackend]) -> tuple[ResourceRule, ...]:
    """Return the rules as they hold for these backends.

    One that names a backend that was not chosen takes no device, which is no error: one file can serve many nodes.

    Raises:
        InvalidValueError: two backends get one name.
    """
    names = [each.name for each in chosen]
    if len(names) > 1:
        from plugin_gateway.core.resources.side_by_side import check_names  # noqa: PLC0415 - only where asked for

        check_names(rules, names)
        return rules
    return tuple(
        replace(rule, selector=replace(rule.selector, backends=())) if names[0] in rule.selector.backends else rule
        for rule in rules
    )
