"""How a container is told the names that its devices have in CDI specs. Only where an administrator asks for it."""

from collections.abc import Container, Iterable, Mapping, Sequence

from plugin_gateway.core.cdi import annotation, qualified
from plugin_gateway.core.devices import Recipe
from plugin_gateway.core.resources.allocation import ContainerEdits, Edit, Group
from plugin_gateway.core.resources.policy import CDI_STRATEGIES, USUAL_STRATEGIES, AllocationPolicy, ListStrategy

_EDITS: Mapping[ListStrategy, Edit] = {
    ListStrategy.CDI_ANNOTATIONS: Edit.ANNOTATIONS,
    ListStrategy.CDI_CRI: Edit.CDI_DEVICES,
}
"""How an answer carries the names that a strategy gives."""


def with_names(edits: ContainerEdits, groups: Sequence[Group], policy: AllocationPolicy) -> ContainerEdits:
    """Return the edits with the names of the devices in their specs, in the ways that are asked for."""
    names = [qualified(recipe.cdi_kind, policy.name_in_spec(each)) for recipe, devices in groups for each in devices]
    if policy.described_extras:
        names += extra_names((recipe for recipe, _ in groups), policy)
    if ListStrategy.CDI_ANNOTATIONS in policy.list_strategies:
        edits = edits._replace(annotations=dict([annotation(policy.annotation_prefix, names)]))
    if ListStrategy.CDI_CRI in policy.list_strategies:
        edits = edits._replace(cdi_devices=tuple(names))
    return edits


def extra_names(recipes: Iterable[Recipe], policy: AllocationPolicy) -> Sequence[str]:
    """Return the names of what a container gets besides its devices, as far as it is in a spec. Each is there once."""
    given = [word for word in policy.extras if word in policy.described_extras]
    found = (recipe.extras[word] for recipe in recipes for word in given if word in recipe.extras)
    return list(dict.fromkeys(qualified(extra.cdi_kind, extra.cdi_name) for extra in found))


def carried(policy: AllocationPolicy, carries: Container[Edit]) -> AllocationPolicy:
    """Return the policy for a kubelet whose answers carry only these edits.

    Where CDI is asked for and cannot be carried in any way, a container gets the nodes and the variable. So it is where
    devices are in no spec.
    """
    left = frozenset(each for each in policy.list_strategies if each not in _EDITS or _EDITS[each] in carries)
    if left == policy.list_strategies or not left.isdisjoint(CDI_STRATEGIES):
        return policy._replace(list_strategies=left)
    return policy._replace(list_strategies=left | USUAL_STRATEGIES, pass_device_specs=True)
