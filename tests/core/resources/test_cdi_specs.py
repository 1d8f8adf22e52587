from dataclasses import replace
from typing import Any

import pytest

from harness.cdi_schema import checked
from harness.devices import device, inventory, part
from plugin_gateway.core.cdi import CdiDevice, CdiEdits, CdiMount, CdiNode, CdiSpec, DriverFiles
from plugin_gateway.core.devices import Device, Extra, Recipe
from plugin_gateway.core.resources.cdi_specs import (
    ANOTHER_DRIVER,
    LOOKING,
    Described,
    HostDevices,
    HostNode,
    Lack,
    Source,
    describe,
    needed_nodes,
    nodes_of_extras,
)
from plugin_gateway.core.resources.policy import AllocationPolicy, DeviceIdStrategy

KIND = "k8s.example.com/card"
RECIPE = Recipe(shared_nodes=("/dev/ctl",), optional_nodes=("/dev/tools",), cdi_kind=KIND)
DRIVER = ("1.2", "7")
FILES = DriverFiles(DRIVER, CdiEdits({"A": "b"}, mounts=(CdiMount("/lib", "/lib"),)))
ONE, TWO = device(0), device(1)
BARE = HostDevices(dict.fromkeys(("/dev/nvidia0", "/dev/nvidia1", "/dev/ctl")), is_visible=True)
POLICY = AllocationPolicy()


def source(*devices: Device, files: DriverFiles | None = FILES, **recipe: Any) -> Source:
    return Source(inventory(*devices, recipe=replace(RECIPE, **recipe)), files, DRIVER)


def described(*sources: Source, policy: AllocationPolicy = POLICY, host: HostDevices = BARE) -> Described:
    found = describe(sources, policy, host)
    for spec in found.specs:
        checked(spec.encoded())
    return found


def test_each_device_has_its_nodes_and_all_have_the_files_of_the_driver() -> None:
    (spec,) = described(source(ONE, TWO)).specs
    assert checked(spec.encoded()) == {
        "cdiVersion": "0.3.0",
        "kind": KIND,
        "devices": [
            {
                "name": f"GPU-{number}",
                "containerEdits": {"deviceNodes": [{"path": f"/dev/nvidia{number}", "permissions": "rw"}]},
            }
            for number in (0, 1)
        ],
        "containerEdits": {
            "env": ["A=b"],
            "deviceNodes": [{"path": "/dev/ctl", "permissions": "rw"}],
            "mounts": [{"hostPath": "/lib", "containerPath": "/lib"}],
        },
    }


def test_nodes_have_their_numbers_and_lie_below_the_dev_root() -> None:
    host = HostDevices({"/dev/nvidia0": HostNode(195, 3, 0o660, 44), "/dev/tools": None}, is_visible=True)
    (spec,) = described(source(ONE), policy=AllocationPolicy(dev_root="/root/"), host=host).specs
    assert spec.devices[0].edits.nodes == (CdiNode("/dev/nvidia0", "/root/dev/nvidia0", 195, 3, 0o660, 44, "rw"),)
    assert spec.edits.nodes == (CdiNode("/dev/tools", "/root/dev/tools", permissions="rw"),)


def test_where_the_nodes_are_not_seen_those_that_are_needed_are_taken_for_there() -> None:
    (spec,) = described(source(ONE), host=HostDevices({}, is_visible=False)).specs
    assert [node.path for node in (*spec.devices[0].edits.nodes, *spec.edits.nodes)] == ["/dev/nvidia0", "/dev/ctl"]


def test_a_device_has_what_the_files_say_of_it_and_only_nodes_that_are_there() -> None:
    own = CdiEdits({"B": "c"}, (CdiNode("/dev/tools"), CdiNode("/dev/none")))
    files = FILES._replace(own={"GPU-1": own})
    host = HostDevices({**BARE.nodes, "/dev/tools": None}, is_visible=True)
    assert set(needed_nodes([source(ONE, TWO, files=files)])) == {*BARE.nodes, "/dev/tools", "/dev/none"}
    (spec,) = described(source(ONE, TWO, files=files, optional_nodes=()), host=host).specs
    one, two = (each.edits for each in spec.devices)
    assert (one.environment, [node.path for node in one.nodes]) == ({}, ["/dev/nvidia0"])
    assert (two.environment, [node.path for node in two.nodes]) == ({"B": "c"}, ["/dev/nvidia1", "/dev/tools"])


@pytest.mark.parametrize(
    ("files", "lack"),
    [
        (None, Lack(LOOKING)),
        (FILES._replace(driver=("1.3", "7")), Lack(ANOTHER_DRIVER)),
        (FILES._replace(problem="no library", todo="install it"), Lack("no library", "install it")),
    ],
)
def test_without_the_files_of_its_driver_a_device_is_in_no_spec(files: DriverFiles | None, lack: Lack) -> None:
    found = described(source(ONE, files=files))
    assert (found.specs, found.kind_of, found.lacking[ONE.id].reason) == ((), {}, lack.reason)
    assert found.lacking[ONE.id].todo


def test_a_device_without_its_node_is_in_no_spec_and_the_others_are() -> None:
    found = described(source(ONE, device(2)))
    assert found.kind_of == {ONE.id: KIND}
    assert {each: lack.reason for each, lack in found.lacking.items()} == {
        device(2).id: "its device nodes are not there: /dev/nvidia2"
    }


def test_a_device_with_nothing_for_a_container_is_in_no_spec_and_the_others_are() -> None:
    """A driver need not tell the minor number of a GPU. A runtime refuses a whole file with such a device."""
    found = described(source(ONE, replace(TWO, nodes=())))
    assert found.kind_of == {ONE.id: KIND}
    assert "not even a device node" in found.lacking[TWO.id].reason
    assert found.lacking[TWO.id].todo
    assert not described(source(replace(ONE, nodes=()))).specs


def test_a_device_is_named_by_its_index_where_this_is_asked_for() -> None:
    by_index, odd = AllocationPolicy(device_id_strategy=DeviceIdStrategy.INDEX), device(1, name="MIG-GPU-1/1/0")
    host = HostDevices({}, is_visible=False)
    found = described(source(part(ONE, 2), odd), policy=by_index, host=host)
    assert [each.name for each in found.specs[0].devices] == ["0:2", "1"]
    assert "'MIG-GPU-1/1/0' cannot be the name" in described(source(odd)).lacking[odd.id].reason


def test_devices_of_several_backends_with_one_kind_are_in_one_spec_each_with_all_its_edits() -> None:
    other = FILES._replace(common=CdiEdits({"OTHER": "c"}))
    (spec,) = described(source(ONE), source(TWO, files=other)).specs
    assert [dict(each.edits.environment) for each in spec.devices] == [{"A": "b"}, {"OTHER": "c"}]
    assert [node.path for node in spec.devices[1].edits.nodes] == ["/dev/ctl", "/dev/nvidia1"]
    assert spec.edits == CdiEdits()


def test_a_name_is_given_once() -> None:
    by_index = AllocationPolicy(device_id_strategy=DeviceIdStrategy.INDEX)
    found = described(source(ONE), source(device(0, name="GPU-9")), policy=by_index)
    assert "another device has the name 0" in found.lacking[device(0, name="GPU-9").id].reason


STORE = Extra(nodes=("/dev/store*",), cdi_kind="k8s.example.com/store")
CHANNEL = Extra(
    nodes=("/dev/channel0",), cdi_kind="k8s.example.com/channel", cdi_name="0", needs_nodes=True, todo="make it"
)
MORE = {"store": STORE, "channel": CHANNEL, "nameless": Extra(nodes=("/dev/x",))}
EVERY = AllocationPolicy(extras=("store", "channel", "nameless"))


def with_extras(**seen: tuple[str, ...]) -> HostDevices:
    nodes = dict.fromkeys((*BARE.nodes, *(path for each in seen.values() for path in each)))
    return HostDevices(nodes, is_visible=True, of_extras=seen)


def test_an_extra_has_a_spec_of_its_own_where_its_nodes_are_seen() -> None:
    needed = CdiEdits({"C": "d"}, mounts=(CdiMount("/run/store", "/run/store"),))
    known = source(ONE, files=FILES._replace(extras={"store": needed}), extras=MORE)
    assert nodes_of_extras([known], EVERY) == {"store": STORE.nodes, "channel": CHANNEL.nodes}
    found = described(known, policy=EVERY, host=with_extras(store=("/dev/store0", "/dev/store1"), channel=()))
    assert found.extras == {"store": "k8s.example.com/store=all"}
    (_, spec) = found.specs
    node = CdiNode("/dev/store0", "/dev/store0", permissions="rw")
    edits = CdiEdits({}, (node, node._replace(path="/dev/store1", host_path="/dev/store1")), needed.mounts)
    assert spec == CdiSpec("k8s.example.com/store", (CdiDevice("all", edits),), CdiEdits({"C": "d"}))


def test_an_extra_that_is_not_asked_for_or_of_which_no_driver_answers_is_in_no_spec() -> None:
    host, known = with_extras(store=("/dev/store0",)), source(ONE, extras=MORE)
    assert described(known, host=host).extras == {}
    assert described(known._replace(files=None), policy=EVERY, host=host).specs == ()


def test_two_backends_with_the_same_extra_have_one_spec_for_it() -> None:
    found = described(
        source(ONE, extras=MORE), source(TWO, extras=MORE), policy=EVERY, host=with_extras(channel=("/dev/channel0",))
    )
    assert [(spec.kind, spec.devices[0].name) for spec in found.specs] == [(KIND, "GPU-0"), (CHANNEL.cdi_kind, "0")]


def test_a_device_is_in_no_spec_while_the_extra_is_not_there_that_each_container_needs() -> None:
    required = EVERY._replace(required_extras=("channel",))
    found = described(source(ONE, extras=MORE), policy=required, host=with_extras(channel=()))
    assert found.lacking == {ONE.id: Lack("/dev/channel0, which every container needs, is not there", "make it")}
    found = described(source(ONE, extras=MORE), policy=required, host=with_extras(channel=("/dev/channel0",)))
    assert (found.lacking, found.kind_of) == ({}, {ONE.id: KIND})


def test_a_kind_that_is_in_no_spec_lacks_nothing() -> None:
    assert described(source(ONE, cdi_kind="")) == Described((), {}, {})
