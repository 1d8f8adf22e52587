"""What containers get of Onload, from a made-up host to the answer to the kubelet: what the operator's plugin gives."""

from pathlib import Path

import pytest

from cards.builder import Cards
from plugin_gateway.adapters.gateway.device_nodes import DeviceNodes
from plugin_gateway.core.errors import MissingNodeError, UnhealthyDeviceError
from plugin_gateway.core.health.faults import Moment
from plugin_gateway.core.health.observations import DevicesChecked, InventorySeen
from plugin_gateway.core.health.state import State
from plugin_gateway.core.health.state_function import advance
from plugin_gateway.core.resources.allocation import ContainerEdits, allocate
from plugin_gateway.core.resources.assignment import Advertisement, advertise
from plugin_gateway.core.resources.container_options import ContainerOptions, FileMounts
from plugin_gateway.core.resources.names import ResourceName
from plugin_gateway.core.resources.policy import AllocationPolicy
from plugin_gateway.core.resources.rules import ResourceRule, Selector
from plugin_gateway.core.resources.sharing import Sharing
from plugin_gateway.solarflare.evidence import HEALTH_POLICY

from .looking import FIRST, SECOND, UP, at, host

NAME = ResourceName("amd.com/onload")
NODES = ["/dev/onload", "/dev/onload_epoll", "/dev/sfc_char"]
POOL, SHARED = Sharing(replicas=3, is_pool=True), Sharing(replicas=2)
LIBRARIES = ("libonload.so*", "libonload_ext.so*")


def options(host_path: str = "/opt/onload", container_path: str = "/opt/onload") -> ContainerOptions:
    """Return what an entry of the section says that preloads the library."""
    return ContainerOptions(
        files=(FileMounts(f"{host_path}/usr/lib64", LIBRARIES, f"{container_path}/usr/lib64"),),
        environment={"LD_PRELOAD": f"{container_path}/usr/lib64/libonload.so"},
    )


def offer(
    cards: Cards,
    sharing: Sharing,
    *,
    interfaces: tuple[str, ...] = (),
    more: ContainerOptions | None = None,
) -> Advertisement:
    """Return what the kubelet is told after a look at a host."""
    look = at(cards).look()
    state = State()
    for observation in (InventorySeen(look.inventory), DevicesChecked(look.checkups)):
        state, _ = advance(state, observation, Moment(100.0, 1e9), HEALTH_POLICY)
    rule = ResourceRule(
        selector=Selector(attributes={"interface": interfaces}),
        name=NAME,
        sharing=sharing,
        options=options() if more is None else more,
        is_always_there=True,
    )
    return advertise(state, [rule])[NAME]


def given(cards: Cards, advertised: Advertisement, *ids: str) -> ContainerEdits:
    """Return what a container gets, with the files of the host as they are now."""
    return allocate(advertised, ids, AllocationPolicy(), DeviceNodes(host_root=str(cards.root)))


@pytest.fixture
def cards(tmp_path: Path) -> Cards:
    return host(tmp_path)


@pytest.mark.parametrize(("sharing", "name"), [(POOL, "1"), (SHARED, f"{FIRST}::1")])
def test_a_container_gets_nodes_libraries_and_variable_as_from_the_operator(
    cards: Cards, sharing: Sharing, name: str
) -> None:
    edits = given(cards, offer(cards, sharing), name)
    assert [(node.container_path, node.host_path, node.permissions) for node in edits.device_nodes] == [
        (node, node, "rw") for node in NODES
    ]
    assert edits.mounts == tuple(
        (f"/opt/onload/usr/lib64/{file}", f"/opt/onload/usr/lib64/{file}", True)
        for file in ("libonload.so", "libonload_ext.so.2", "libonload_ext.so.2.0.0")
    )
    assert edits.environment == {"LD_PRELOAD": "/opt/onload/usr/lib64/libonload.so"}
    assert (edits.annotations, edits.cdi_devices, edits.absent_nodes) == ({}, (), ())


def test_several_ids_of_a_pool_give_the_same_once(cards: Cards) -> None:
    offered = offer(cards, POOL)
    assert given(cards, offered, "2", "0") == given(cards, offered, "1")


def test_the_files_can_be_elsewhere_on_the_host_and_in_the_container(cards: Cards) -> None:
    cards.files.write("/srv/onload/usr/lib64/libonload.so", "library")
    cards.files.write("/srv/onload/usr/lib64/libonload_ext.so.2", "library")
    edits = given(cards, offer(cards, POOL, more=options("/srv/onload", "/opt/onload")), "0")
    assert edits.mounts[0] == ("/opt/onload/usr/lib64/libonload.so", "/srv/onload/usr/lib64/libonload.so", True)
    assert edits.environment == {"LD_PRELOAD": "/opt/onload/usr/lib64/libonload.so"}


def test_the_script_is_mounted_instead_of_the_variable(cards: Cards) -> None:
    with_script = ContainerOptions(
        files=(*options().files, FileMounts("/opt/onload/usr/bin", ("onload",), "/opt/onload/usr/bin"))
    )
    edits = given(cards, offer(cards, POOL, more=with_script), "0")
    assert edits.mounts[-1] == ("/opt/onload/usr/bin/onload", "/opt/onload/usr/bin/onload", True)
    assert len(edits.mounts) == 4
    assert edits.environment == {}


def test_a_pool_is_healthy_while_one_port_is(cards: Cards) -> None:
    offered = offer(cards, POOL)
    assert [each.id for each in offered.offered] == ["0", "1", "2"]
    assert offered.unhealthy == frozenset()
    cards.carrier(UP, is_up=False)
    assert offer(cards, POOL).unhealthy == {"0", "1", "2"}


def test_by_interface_only_that_without_a_link_is_unhealthy(cards: Cards) -> None:
    offered = offer(cards, SHARED)
    assert [each.id for each in offered.offered] == [f"{name}::{n}" for name in (FIRST, SECOND) for n in range(2)]
    assert offered.unhealthy == {f"{SECOND}::0", f"{SECOND}::1"}
    with pytest.raises(UnhealthyDeviceError):
        given(cards, offered, f"{SECOND}::0")


def test_a_selector_takes_interfaces_by_their_names(cards: Cards) -> None:
    assert {each.device.id for each in offer(cards, SHARED, interfaces=("enp94s0f0*",)).offered} == {FIRST}
    assert offer(cards, POOL, interfaces=("eth*",)).offered == ()


@pytest.mark.parametrize("sharing", [POOL, SHARED])
def test_without_the_module_everything_is_listed_and_unhealthy(tmp_path: Path, sharing: Sharing) -> None:
    offered = offer(host(tmp_path, loaded=False), sharing)
    assert offered.offered
    assert offered.unhealthy == {each.id for each in offered.offered}


@pytest.mark.parametrize(
    "path", [*NODES, "/opt/onload/usr/lib64/libonload.so", "/opt/onload/usr/lib64/libonload_ext.so*"]
)
def test_what_went_since_the_last_look_refuses_the_container_with_its_name(cards: Cards, path: str) -> None:
    offered = offer(cards, POOL)
    for place in cards.root.glob(path[1:]):
        place.unlink()
    with pytest.raises(MissingNodeError, match="is not there; not given out") as raised:
        given(cards, offered, "0")
    assert path in str(raised.value) or f"{path}*" in str(raised.value)
