"""Converts values of the core to JSON values and back, as their types say.

A recording can come from anywhere, so reading is strict about what it knows. What a later version added is no error:
fields that are not known are ignored, and a kind of evidence is any word.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, get_args

from plugin_gateway.adapters.recording import older_forms
from plugin_gateway.adapters.support import typed_json
from plugin_gateway.adapters.support.strict_json import (
    MisfitError,
    name,
    names,
    number,
    one_of,
    shown,
    text,
    truth,
    whole,
    within,
)
from plugin_gateway.adapters.support.typed_json import Readers
from plugin_gateway.core.devices import DeviceId, FaultId, PhysicalId, parse_device_id
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.health.faults import Source, source_of
from plugin_gateway.core.health.observations import Observation
from plugin_gateway.core.health.policy import Action, EvidenceKind, HealthPolicy, Probation
from plugin_gateway.core.registration.failures import Reason
from plugin_gateway.core.registration.values import OnNode
from plugin_gateway.core.resources.container_options import NAMES
from plugin_gateway.core.resources.names import ResourceName, parse_resource_name
from plugin_gateway.core.resources.policy import (
    DECIDED,
    USUAL_PREFIX,
    USUAL_STRATEGIES,
    AllocationPolicy,
    AllocationPreference,
    DeviceIdStrategy,
    ListStrategy,
    Preferences,
    SharedPolicy,
    UnhealthyFirst,
)
from plugin_gateway.core.resources.rules import ResourceRule

VERSION = 5
"""The version of the format that is written. The package's docstring says how the older ones differ."""
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """The settings that decide what the kubelet is sent."""

    api_version: str
    """A value of ``--api-version``."""
    rules: tuple[ResourceRule, ...]
    unhealthy_first: UnhealthyFirst
    numa_hints: bool = True
    pass_device_specs: bool
    device_id_strategy: DeviceIdStrategy
    dev_root: str
    daemon_root: str = ""
    list_strategies: frozenset[ListStrategy] = USUAL_STRATEGIES
    annotation_prefix: str = USUAL_PREFIX
    extras: tuple[str, ...] = ()
    required_extras: tuple[str, ...] = ()
    preferred_allocation: AllocationPreference = AllocationPreference.BEST
    shared_devices_allocation_policy: SharedPolicy = SharedPolicy.DISTRIBUTED
    pair_devices: bool = False
    """Whether devices of several backends were chosen near each other. Older versions did not."""
    backends: tuple[str, ...] = ()
    """The names of the backends in their order, if there are several. Lines say then which of them they are about."""
    health: HealthPolicy
    card_health: Mapping[str, HealthPolicy] = field(default_factory=dict)
    """The decisions about health of each backend for which they are others than in ``health``."""

    def health_of(self, backend: str) -> HealthPolicy:
        """Return the decisions about the health of the devices of a backend. The only one of a node has no name."""
        only = self.card_health.values() if not self.backends else ()
        return next(iter(only), self.health) if not backend else self.card_health.get(backend, self.health)

    @property
    def policy(self) -> AllocationPolicy:
        """What every container with devices gets."""
        return AllocationPolicy(**{name: getattr(self, name) for name in DECIDED})

    @property
    def preferences(self) -> Preferences:
        """Which devices are preferred."""
        return Preferences(self.preferred_allocation, self.shared_devices_allocation_policy, self.pair_devices)


def plain(value: Any) -> Any:
    """Return a value as JSON values. A NamedTuple gets its class name as `kind`; its own `kind` is `evidence` then."""
    if not isinstance(value, tuple) or not hasattr(value, "_fields"):
        return typed_json.plain(value, plain)
    parts = typed_json.plain(value, plain)
    renamed = {"evidence": parts.pop("kind")} if "kind" in parts else {}
    return {"kind": type(value).__name__, **renamed, **parts}


def accepted(make: Callable[..., _Value]) -> Callable[..., _Value]:
    """Return the function with MisfitError instead of InvalidValueError.

    The strict reader adds the place to a MisfitError. So a value that the core refuses is reported like all others.
    """

    def make_or_misfit(*arguments: Any, **parts: Any) -> _Value:
        try:
            return make(*arguments, **parts)
        except InvalidValueError as error:
            raise MisfitError(str(error)) from error

    return make_or_misfit


def _action(value: object) -> Action:
    """Return an action. One that only a later version knows counts as the strictest that needs no reboot."""
    return Action(value) if text(value) in _ACTIONS else Action.UNTIL_RESET


def _probation(value: object) -> Probation:
    """Return what ends a probation. What only a later version knows does not end it by itself."""
    return Probation.QUIET_TIME if text(value) == Probation.QUIET_TIME.value else Probation.EXTERNAL


def _reason(value: object) -> Reason:
    """Return a reason, which is in words for people. Those that another version words differently have one effect."""
    return _REASONS.get(text(value), Reason.SETTINGS_CHANGED)


def _policy(value: object) -> HealthPolicy:
    """Return the policy that `plain` wrote, in this version or an older one."""
    policy: HealthPolicy = _POLICIES[HealthPolicy](value if "kinds" in names(value) else older_forms.policy(value))
    return policy


def _rule(value: object) -> ResourceRule:
    """Return the rule that `plain` wrote, in this version or an older one."""
    rule: ResourceRule = _RULES[ResourceRule](older_forms.rule(value))
    return rule


_ACTIONS = frozenset(action.value for action in Action)
_REASONS = {reason.value: reason for reason in Reason}
_SIMPLE: Mapping[Any, Callable[[Any], Any]] = {
    str: text,
    bool: truth,
    int: whole,
    float: number,
    **dict.fromkeys((DeviceId, PhysicalId, FaultId), lambda value: accepted(parse_device_id)(text(value))),
    EvidenceKind: lambda value: EvidenceKind(name(value)),
    ResourceName: lambda value: accepted(parse_resource_name)(text(value)),
    Action: _action,
    Probation: _probation,
    Reason: _reason,
    Source: lambda value: source_of(text(value)),
}
_POLICIES = Readers(_SIMPLE, NAMES, accepted)
_RULES = Readers(_SIMPLE, NAMES, accepted)
READERS = Readers({**_SIMPLE, HealthPolicy: _policy, ResourceRule: _rule}, NAMES, accepted)
"""The reader of each type. They raise MisfitError with the place of what is missing or wrong."""
_OBSERVATIONS = {form.__name__: form for form in get_args(Observation)}
_EVENTS = {form.__name__: form for form in get_args(OnNode)}


def is_known(value: object) -> bool:
    """Return whether it is an observation of a kind that this version knows."""
    return isinstance(value, Mapping) and str(value.get("kind")) in _OBSERVATIONS


def read_observation(value: object) -> Observation:
    """Return the observation that `plain` wrote, in this version or an older one.

    Raises:
        MisfitError: it is of a kind that this version does not know, or incomplete. The message has the place.
    """
    found = older_forms.observation(names(value))
    if not is_known(found):
        raise MisfitError(f"an observation of the kind {shown(found.get('kind'))}, which this version does not know")
    observation: Observation = READERS[_OBSERVATIONS[found["kind"]]]({**found, "kind": found.get("evidence")})
    return observation


def read_event(value: object) -> OnNode:
    """Return the event of a registration that `plain` wrote.

    Raises:
        MisfitError: it is of a kind that this version does not know, or incomplete. The message has the place.
    """
    event: OnNode = READERS[_EVENTS[within("kind", one_of(_EVENTS), names(value).get("kind"))]](value)
    return event
