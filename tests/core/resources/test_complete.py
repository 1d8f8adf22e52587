"""What containers get of devices that need all of their nodes, and what an administrator gives besides."""

import json
from collections.abc import Sequence

import pytest

from core.resources.cards import COMMON, RECIPE, address, card, folder, host, offer
from harness.hosts import EveryNode, Host
from plugin_gateway.core.devices import Device, Recipe
from plugin_gateway.core.errors import MissingNodeError, UnhealthyDeviceError, UnknownDeviceError
from plugin_gateway.core.resources.allocation import ContainerEdits, DeviceNode, Mount, allocate
from plugin_gateway.core.resources.assignment import Advertisement
from plugin_gateway.core.resources.container_options import ContainerOptions, DeviceVariable, FileMounts
from plugin_gateway.core.resources.policy import AllocationPolicy, ListStrategy
from plugin_gateway.core.resources.sharing import Sharing

POLICY = AllocationPolicy()
CARDS = [card(number) for number in range(4)]


def get(advertised: Advertisement, *numbers: int, of: Host | None = None) -> ContainerEdits:
    return allocate(advertised, [address(number) for number in numbers], POLICY, of or host(*numbers))


def paths(edits: ContainerEdits) -> Sequence[str]:
    return [node.container_path for node in edits.device_nodes]


def test_a_container_gets_the_nodes_of_its_devices_and_the_common_one_once() -> None:
    edits = get(offer(CARDS), 2, 1)
    assert edits == ContainerEdits(
        device_nodes=tuple(DeviceNode(path, path) for path in ("/dev/net/verbs1", "/dev/net/verbs2", COMMON))
    )


@pytest.mark.parametrize(
    "policy",
    [
        AllocationPolicy(dev_root="/run/driver"),
        AllocationPolicy(pass_device_specs=False),
        AllocationPolicy(list_strategies=frozenset({ListStrategy.CDI_CRI})),
        AllocationPolicy(list_strategies=frozenset({ListStrategy.VOLUME_MOUNTS}), extras=("x",)),
    ],
)
def test_what_the_policy_says_of_other_devices_is_not_about_these(policy: AllocationPolicy) -> None:
    assert allocate(offer(CARDS), [address(1)], policy, host(1)) == get(offer(CARDS), 1)


@pytest.mark.parametrize(("there", "missing"), [([], "verbs1 and /dev/net/common"), (["common"], "verbs1")])
def test_an_allocation_without_one_of_the_nodes_is_refused_with_its_path(there: list[str], missing: str) -> None:
    lacking = Host(folders={"/dev/net": there, folder(1): ["verbs1"]})
    with pytest.raises(MissingNodeError, match=f"^/dev/net/{missing} is not there; not given out: {address(1)}$"):
        get(offer(CARDS), 1, of=lacking)


@pytest.mark.parametrize("content", [None, []])
def test_a_device_without_nodes_at_the_moment_is_refused(content: Sequence[str] | None) -> None:
    folders = {"/dev/net": ["common", "verbs1"], **({} if content is None else {folder(1): content})}
    with pytest.raises(MissingNodeError, match=rf"^{folder(1)}/\* is not there"):
        get(offer(CARDS), 1, of=Host(folders=folders))


def test_a_device_of_which_no_node_was_ever_seen_is_refused() -> None:
    with pytest.raises(MissingNodeError, match=folder(1)):
        get(offer([card(1, nodes=())]), 1)


def test_nodes_that_were_made_anew_are_given_under_the_names_of_this_moment() -> None:
    anew = Host(folders={"/dev/net": ["common", "verbs7", "verbs1"], folder(1): ["verbs7"]})
    edits = get(offer(CARDS, options=ContainerOptions(details_variable="INFO")), 1, of=anew)
    assert paths(edits) == ["/dev/net/verbs7", COMMON]
    assert json.loads(edits.environment["INFO"])[address(1)]["net"] == {"common": COMMON, "verbs": "/dev/net/verbs7"}


def test_a_device_with_more_nodes_than_before_gives_all_of_them() -> None:
    more = Host(folders={"/dev/net": ["common", "verbs1", "verbs8"], folder(1): ["verbs1", "verbs8"]})
    assert paths(get(offer(CARDS), 1, of=more)) == ["/dev/net/verbs1", "/dev/net/verbs8", COMMON]


def test_requested_nodes_are_given_where_somebody_asks_for_them() -> None:
    asked = offer(CARDS, options=ContainerOptions(requested_nodes=("fabric", "unknown")))
    assert paths(get(asked, 1)) == ["/dev/net/verbs1", "/dev/net/fabric1", COMMON]


def test_requested_nodes_are_refused_where_the_others_were_made_anew() -> None:
    """They were made anew as well, so the one with this name can be that of another device."""
    asked = offer(CARDS, options=ContainerOptions(requested_nodes=("fabric",)))
    anew = Host(folders={"/dev/net": ["common", "verbs7", "fabric1"], folder(1): ["verbs7"]})
    with pytest.raises(MissingNodeError, match="/dev/net/fabric1 is not there"):
        get(asked, 1, of=anew)


def test_optional_nodes_are_given_where_they_are() -> None:
    recipe = Recipe(optional_nodes=("/dev/net/more",), is_complete=True)
    there, elsewhere = (get(offer(CARDS, recipe=recipe), 1, of=host(1, names=names)) for names in (["more"], []))
    assert paths(there) == ["/dev/net/verbs1", "/dev/net/more"]
    assert paths(elsewhere) == ["/dev/net/verbs1"]


def test_variables_name_the_devices_with_commas() -> None:
    options = ContainerOptions(
        variables=(
            DeviceVariable("DEVICES"),
            DeviceVariable("NAMES", "name", "=="),
            DeviceVariable("NONE", "no such word"),
        ),
        environment={"MODE": "fast"},
    )
    cards = [card(0), card(1, values={}), card(2)]
    assert get(offer(cards, options=options), 2, 1, 0).environment == {
        "MODE": "fast",
        "DEVICES": ",".join(map(address, (0, 1, 2))),
        "NAMES": "==x_0:1,x_2:1",
    }


def test_two_variables_with_one_name_are_one() -> None:
    options = ContainerOptions(variables=(DeviceVariable("ALL"), DeviceVariable("ALL", "name")))
    assert get(offer(CARDS, options=options), 1).environment == {"ALL": f"{address(1)},x_1:1"}


def test_details_are_told_in_json_without_the_nodes_that_are_not_given() -> None:
    edits = get(offer(CARDS, options=ContainerOptions(details_variable="INFO")), 1, 0)
    assert edits.environment["INFO"] == (
        '{"0000:3b:00.0":{"generic":{"deviceID":"0000:3b:00.0"},'
        '"net":{"common":"/dev/net/common","verbs":"/dev/net/verbs0"}},'
        '"0000:3b:00.1":{"generic":{"deviceID":"0000:3b:00.1"},'
        '"net":{"common":"/dev/net/common","verbs":"/dev/net/verbs1"}}}'
    )


def test_files_of_the_host_are_mounted_read_only_each_once() -> None:
    files = FileMounts("/opt/x/lib", ("libx.so*", "libx.so", "libx_ext.so*"), "/usr/lib64")
    libraries = host(1, **{"/opt/x/lib": ["libother.so", "libx.so", "libx.so.2", "libx_ext.so.1"]})
    edits = get(offer(CARDS, options=ContainerOptions(files=(files,))), 1, of=libraries)
    names = ("libx.so", "libx.so.2", "libx_ext.so.1")
    assert edits.mounts == tuple(Mount(f"/usr/lib64/{name}", f"/opt/x/lib/{name}", read_only=True) for name in names)


@pytest.mark.parametrize("content", [None, ["libx.so"]])
def test_a_pattern_that_matches_no_file_refuses_the_allocation(content: Sequence[str] | None) -> None:
    files = FileMounts("/opt/x/lib", ("libx.so*", "libx_ext.so*"), "/usr/lib64")
    libraries = host(1, **({} if content is None else {"/opt/x/lib": content}))
    with pytest.raises(MissingNodeError, match=r"/opt/x/lib/libx_ext\.so\* is not there"):
        get(offer(CARDS, options=ContainerOptions(files=(files,))), 1, of=libraries)


def test_each_folder_is_looked_into_once() -> None:
    looked: list[str] = []

    class Watched(EveryNode):
        def names_in(self, folder: str) -> Sequence[str] | None:
            looked.append(folder)
            return of.names_in(folder)

    of = host(0, 1)
    allocate(offer(CARDS), [address(0), address(1)], POLICY, Watched())
    assert sorted(looked) == sorted({"/dev/net", folder(0), folder(1)})


def test_a_replica_gives_the_device_and_names_it_once() -> None:
    advertised = offer(CARDS, Sharing(replicas=3), ContainerOptions(variables=(DeviceVariable("DEVICES"),)))
    edits = allocate(advertised, [f"{address(1)}::0", f"{address(1)}::2"], POLICY, host(1))
    assert edits.environment == {"DEVICES": address(1)}
    assert paths(edits) == ["/dev/net/verbs1", COMMON]


def test_where_a_device_does_not_need_all_nodes_those_that_are_there_are_given() -> None:
    recipe = Recipe(shared_nodes=(COMMON,))
    options = ContainerOptions(requested_nodes=("fabric",), environment={"MODE": "fast"})
    some = allocate(offer(CARDS, options=options, recipe=recipe), [address(1)], POLICY, Host("/dev/net/fabric1"))
    assert paths(some) == ["/dev/net/fabric1"]
    assert some.absent_nodes == ("/dev/net/verbs1", COMMON)
    assert some.environment == {"MODE": "fast"}


POOL = Sharing(replicas=3, is_pool=True)


def test_any_id_of_a_pool_gives_all_devices_of_it() -> None:
    advertised = offer(CARDS, POOL, ContainerOptions(variables=(DeviceVariable("DEVICES"),)))
    for ids in (["0"], ["2"], ["2", "0"]):
        edits = allocate(advertised, ids, POLICY, host(0, 1, 2, 3))
        assert paths(edits) == [*(f"/dev/net/verbs{number}" for number in range(4)), COMMON]
        assert edits.environment == {"DEVICES": ",".join(map(address, range(4)))}


def test_an_unhealthy_device_of_a_pool_is_left_out_until_all_are() -> None:
    advertised = offer(CARDS, POOL).withholding({CARDS[1].id, CARDS[2].id})
    assert paths(allocate(advertised, ["1"], POLICY, host(0, 3))) == ["/dev/net/verbs0", "/dev/net/verbs3", COMMON]
    with pytest.raises(UnhealthyDeviceError, match=r": 1$"):
        allocate(advertised.withholding({CARDS[0].id, CARDS[3].id}), ["1"], POLICY, host())


def test_a_device_of_a_pool_that_another_container_has_is_left_out_until_all_are() -> None:
    away = host(0, 2, 3, **{folder(1): []})
    assert paths(allocate(offer(CARDS, POOL), ["1"], POLICY, away)) == [
        *(f"/dev/net/verbs{number}" for number in (0, 2, 3)),
        COMMON,
    ]
    with pytest.raises(MissingNodeError, match=folder(3)):
        allocate(offer(CARDS, POOL), ["1"], POLICY, host())


def test_the_addresses_of_a_pool_are_no_ids() -> None:
    with pytest.raises(UnknownDeviceError):
        allocate(offer(CARDS, POOL), [address(1)], POLICY, host(1))


def test_a_resource_without_such_devices_and_options_asks_for_nothing_more() -> None:
    plain: Sequence[Device] = [card(0)]
    assert not offer(plain, recipe=Recipe()).asks_for_more
    assert offer(plain, recipe=RECIPE).asks_for_more
    assert offer(plain, recipe=Recipe(), options=ContainerOptions(requested_nodes=("fabric",))).asks_for_more
    assert offer(plain, Sharing(replicas=1, is_pool=True), recipe=Recipe()).asks_for_more
