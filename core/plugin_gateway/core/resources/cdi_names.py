"""How a container is told the names that its devices have in CDI specs. Only where an administrator asks for it."""

from collections.abc import Container, Mapping, Sequence

from plugin_gateway.core.cdi import annotation, qualified
from plugin_gateway.core.resources.allocation import ContainerEdits, Edit, Group
from plugin_gateway.core.resources.policy import CDI_STRATEGIES, USUAL_STRATEGIES, AllocationPolicy, ListStrategy

_EDITS: Mapping[ListStrategy, Edit] = {
    ListStrategy.CDI_ANNOTATIONS: Edit.ANNOTATIONS,
    ListStrategy.CDI_CRI: Edit.CDI_DEVICES,
}
"""How an answer carries the names that a strategy gives."""


def with_names(edits: ContainerEdits, groups: Sequence[Group], policy: AllocationPolicy) -> ContainerEdits:
    """Return the edits with the names of the devices in their specs, in the ways that are asked for.

    The names of what the container gets besides follow, as far as it is in a spec.
    """
    names = [qualified(recipe.cdi_kind, policy.name_in_spec(each)) for recipe, devices in groups for each in devices]
    if described := policy.described_extras:
        known = [word for word in policy.extras if any(word in recipe.extras for recipe, _ in groups)]
        names += [described[word] for word in known if word in described]
    if ListStrategy.CDI_ANNOTATIONS in policy.list_strategies:
        edits = edits._replace(annotations=dict([annotation(policy.annotation_prefix, names)]))
    if ListStrategy.CDI_CRI in policy.list_strategies:
        edits = edits._replace(cdi_devices=tuple(names))
    return edits


def carried(policy: AllocationPolicy, carries: Container[Edit]) -> AllocationPolicy:
    """Return the policy for a kubelet whose answers carry only these edits.

    Where CDI is asked for and cannot be carried in any way, a container gets the nodes and the variable. So it is where
    devices are in no spec.
    """
    left = frozenset(each for each in policy.list_strategies if each not in _EDITS or _EDITS[each] in carries)
    if left == policy.list_strategies or not left.isdisjoint(CDI_STRATEGIES):
        return policy._replace(list_strategies=left)
    return policy._replace(list_strategies=left | USUAL_STRATEGIES, pass_device_specs=True)
