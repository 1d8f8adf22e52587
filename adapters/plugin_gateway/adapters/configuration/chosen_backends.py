"""What the value of `--backend` chooses, and what several backends side by side mean for the rules.

What NVIDIA's keys and `--resource-name` say is about the first backend. Each further one offers its devices under its
own default name. `resources.rules` is about all of them, or about those that an entry names.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from plugin_gateway.adapters.configuration.options import DEFAULT_RESOURCE
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.resources.names import ResourceName
from plugin_gateway.core.resources.rules import ResourceRule, Selector


class ChosenBackend(NamedTuple):
    """One backend of `--backend`."""

    name: str
    """No other backend of this gateway has it."""
    text: str
    """The backend as it was written, such as ``simulated:8xH100``."""
    default_resource: ResourceName = DEFAULT_RESOURCE
    """The resource of its devices where no rule gives them another one."""


def split(text: str, kinds: Sequence[str]) -> Sequence[str]:
    """Return the backends of a list with commas.

    What stands behind a comma and is of no known kind belongs to the backend before it: a list of parts has commas too.
    """
    found: list[str] = []
    for each in text.split(","):
        if found and each.partition(":")[0] not in kinds:
            found[-1] += f",{each}"
        else:
            found.append(each)
    return found


def check_distinct(chosen: Sequence[ChosenBackend]) -> Sequence[ChosenBackend]:
    """Return these backends.

    Raises:
        InvalidValueError: two have one name.
    """
    names = [each.name for each in chosen]
    if twice := next((each for each in names if names.count(each) > 1), None):
        raise InvalidValueError(
            f"backend {twice!r} occurs twice, allowed is each once; simulated ones can have a name each, such as "
            "simulated:8xH100/name=other"
        )
    return chosen


def alone(text: str) -> Sequence[ChosenBackend]:
    """Return the only backend that the text chooses."""
    return (ChosenBackend(text.partition(":")[0], text),)


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


def side_by_side(chosen: Sequence[ChosenBackend]) -> Beside:
    """Return what these backends mean for the rules."""
    first, *others = chosen
    if not others:
        return Beside(first.default_resource)
    further = (ResourceRule(selector=Selector(backends=(each.name,)), name=each.default_resource) for each in others)
    return Beside(first.default_resource, (first.name,), tuple(further))


def for_backends(rules: tuple[ResourceRule, ...], chosen: Sequence[ChosenBackend]) -> tuple[ResourceRule, ...]:
    """Return the rules as they hold for these backends.

    Raises:
        InvalidValueError: two backends get one name, or a rule names a backend that was not chosen.
    """
    names = [each.name for each in chosen]
    for rule in rules:
        if unknown := [each for each in rule.selector.backends if each not in names]:
            raise InvalidValueError(
                f"{rule.origin}: resources.rules.backend: {', '.join(map(repr, unknown))}, "
                f"--backend has {' and '.join(names)}"
            )
    if len(names) > 1:
        from plugin_gateway.core.resources.side_by_side import check_names  # noqa: PLC0415 - only where asked for

        check_names(rules, names)
        return rules
    return tuple(
        replace(rule, selector=replace(rule.selector, backends=())) if rule.selector.backends else rule
        for rule in rules
    )
