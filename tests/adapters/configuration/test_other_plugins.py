"""Configurations of device plugins for network cards become what they mean there, or are refused with the place."""

import json
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from plugin_gateway.adapters.configuration.chart_translation import text_of, translate_any
from plugin_gateway.adapters.configuration.translation import Translation
from plugin_gateway.core.errors import InvalidValueError

FILE = "f.json"


def refuse(name: str, _: bytes) -> Translation:
    raise InvalidValueError(f"{name}: for NVIDIA's plugin")


def translated(text: str) -> Translation:
    return translate_any(FILE, text.encode(), refuse)


def of_sriov(**resource: object) -> Translation:
    return translated(json.dumps({"resourceList": [{"resourceName": "a", "resourcePrefix": "x.com", **resource}]}))


def of_shared(**resource: object) -> Translation:
    return translated(json.dumps({"configList": [{"resourceName": "a", "rdmaHcaMax": 8, **resource}]}))


def of_onload(**plugin: object) -> Translation:
    return translated(json.dumps({"apiVersion": "x", "kind": "Onload", "spec": {"devicePlugin": plugin}}))


def rules(found: Translation, section: str = "rdma") -> list[dict[str, Any]]:
    assert found.document["version"] == "v1"
    written: list[dict[str, Any]] = yaml.safe_load(text_of(found.document))["resources"][section]
    return written


def selected(found: Translation) -> dict[str, Any]:
    (rule,) = rules(found)
    select: dict[str, Any] = rule["select"]
    return select


def told(lines: tuple[str, ...]) -> str:
    assert all(line.startswith((f"{FILE}:", f"{FILE}, ")) for line in lines)
    return "\n".join(lines)


def test_a_resource_of_vfs_keeps_its_name_and_all_that_selects_them() -> None:
    found = of_sriov(
        selectors={
            "vendors": ["15b3"],
            "devices": ["101c", "101e"],
            "drivers": ["mlx5_core"],
            "pciAddresses": ["0000:3b:00.2"],
            "pfNames": ["ens1f0np0#0,2-7,9", "ens1f1np1#1"],
            "linkTypes": ["infiniband", "ether"],
            "isRdma": True,
        }
    )
    assert rules(found) == [
        {
            "name": "x.com/a",
            "sharing": "exclusive",
            "select": {
                "vendors": ["15b3"],
                "devices": ["101c", "101e"],
                "drivers": ["mlx5_core"],
                "pciAddresses": ["0000:3b:00.2"],
                "parents": ["ens1f0np0#0,2-7,9", "ens1f1np1#1"],
                "linkTypes": ["infiniband", "ethernet"],
            },
        }
    ]
    assert (found.lost, found.left_out) == ((), ())


def test_root_devices_are_parents_and_keys_count_without_case() -> None:
    found = translated('{"RESOURCElist": [{"ResourceName": "a", "selectors": {"ROOTdevices": ["0000:3b:00.0#0-3"], '
                       '"IsRdma": true}}]}')  # fmt: skip
    (rule,) = rules(found)
    assert (rule["name"], rule["select"]) == ("intel.com/a", {"parents": ["0000:3b:00.0#0-3"]})
    assert "without resourcePrefix the domain is intel.com" in told(found.left_out)


def test_each_selector_of_a_list_is_an_entry_in_its_order() -> None:
    found = of_sriov(selectors=[{"vendors": ["15b3"], "isRdma": True}, {"vendors": ["14e4"], "isRdma": True}])
    assert [(rule["name"], rule["select"]) for rule in rules(found)] == [
        ("x.com/a", {"vendors": ["15b3"]}),
        ("x.com/a", {"vendors": ["14e4"]}),
    ]


def test_json_indented_by_tabs_is_read_and_its_places_are_right() -> None:
    found = translated('{\n\t"resourceList": [{"resourceName": "a", "resourcePrefix": "x.com",\n\t\t"selectors": '
                       '{"pfNames": ["p#0"],\t"isRdma": true, "needVhostNet": true}}]\n}')  # fmt: skip
    assert told(found.lost).startswith(f"{FILE}:3:53: resourceList.selectors.needVhostNet: 'true' is lost")


def test_a_resource_without_rdma_is_said_to_get_device_nodes_here() -> None:
    found = of_sriov(selectors={"pfNames": ["p#0"]})
    assert selected(found) == {"parents": ["p#0"]}
    assert "has no isRdma: containers get no RDMA device nodes there" in told(found.lost)


def test_a_mistyped_selector_is_ignored_as_there_and_its_right_name_is_said() -> None:
    found = of_sriov(selectors={"vendor": ["15b3"], "pfNames": ["p#0"], "isRdma": True, "somethingElse": 1})
    assert selected(found) == {"parents": ["p#0"]}
    assert (
        "selectors.vendor is ignored by the SR-IOV network device plugin, and left out; did you mean vendors?"
        in told(found.lost)
    )
    assert "somethingElse is ignored" in told(found.left_out)


def test_is_rdma_beside_the_selectors_is_said_to_belong_into_them() -> None:
    found = of_sriov(isRdma=True, selectors={"pfNames": ["p#0"]})
    assert "resourceList.isRdma is ignored by the SR-IOV network device plugin, and left out; did you mean " in told(
        found.lost
    )
    assert "did you mean selectors.isRdma?" in told(found.lost)


def test_physical_functions_are_said_to_differ() -> None:
    by_name = of_sriov(selectors={"pfNames": ["p"], "isRdma": True})
    assert "a physical function without virtual ones is offered there itself" in told(by_name.left_out)
    by_id = of_sriov(selectors={"devices": ["101b"], "isRdma": True})
    assert "add functions: vf where only virtual ones are meant" in told(by_id.left_out)
    assert of_sriov(selectors={"devices": ["101c"], "isRdma": True}).left_out == ()


@pytest.mark.parametrize(
    "selector",
    [
        {"acpiIndexes": ["1"]},
        {"ddpProfiles": ["GTP"]},
        {"pKeys": ["0x1"]},
        {"vdpaType": "vhost", "isRdma": False},
        {"drivers": ["vfio-pci"]},
        {"pfNames": ["p"], "rootDevices": ["0000:3b:00.0"]},
    ],
)
def test_what_cannot_be_selected_by_loses_its_selector_and_selects_no_more(selector: dict[str, object]) -> None:
    found = of_sriov(selectors=[{"vendors": ["15b3"], "isRdma": True, **selector}])
    assert found.document == {"version": "v1"}
    assert f"resourceList.selectors.{[*selector][-1 if 'pfNames' in selector else 0]}" in told(found.lost)
    assert "this selector of x.com/a is left out" in told(found.lost)


def test_drivers_of_user_space_are_left_out_of_a_list_with_others() -> None:
    found = of_sriov(selectors={"drivers": ["vfio-pci", "mlx5_core"], "isRdma": True})
    assert selected(found) == {"drivers": ["mlx5_core"]}
    assert "a function with vfio-pci has no RDMA device" in told(found.lost)


@pytest.mark.parametrize("kind", ["accelerator", "auxNetDevice"])
def test_devices_of_another_type_stay_with_that_plugin(kind: str) -> None:
    found = of_sriov(deviceType=kind, selectors={"vendors": ["15b3"], "isRdma": True})
    assert found.document == {"version": "v1"}
    assert "x.com/a is not offered; such devices stay with that plugin" in told(found.lost)


def test_topology_and_more_information_are_lost_and_the_resource_stays() -> None:
    found = of_sriov(excludeTopology=True, additionalInfo={"*": {"a": "b"}}, selectors={"pfNames": ["p#0"]})
    assert "--numa-hints=false" in told(found.lost)
    assert "extraInfo" in told(found.lost)
    assert selected(found) == {"parents": ["p#0"]}


def test_a_shared_resource_is_a_pool_with_as_many_ids() -> None:
    found = of_shared(
        rdmaHcaMax=63,
        selectors={"vendors": ["15b3"], "deviceIDs": ["1017"], "drivers": ["mlx5_core"], "ifNames": ["ib0"],
                   "linkTypes": ["infiniband"]},
    )  # fmt: skip
    assert rules(found) == [
        {
            "name": "rdma/a",
            "sharing": "pool",
            "replicas": 63,
            "select": {"vendors": ["15b3"], "devices": ["1017"], "drivers": ["mlx5_core"], "interfaces": ["ib0"],
                       "linkTypes": ["infiniband"]},
        }
    ]  # fmt: skip
    assert found.lost == ()
    assert "umad: true" in told(found.left_out)


def test_devices_of_a_shared_resource_are_names_of_interfaces_and_no_patterns() -> None:
    found = of_shared(devices=["ib0", "we[i]rd*"], resourcePrefix="example.com")
    (rule,) = rules(found)
    assert (rule["name"], rule["select"]) == ("example.com/a", {"interfaces": ["ib0", "we[[]i]rd[*]"]})


@pytest.mark.parametrize("count", [{"rdmaHcaMax": 0}, {"rdmaHcaMax": None}])
def test_a_shared_resource_without_ids_is_left_out_as_there(count: dict[str, object]) -> None:
    found = of_shared(devices=["ib0"], **count)
    assert found.document == {"version": "v1"}
    assert "rdma/a is left out: without rdmaHcaMax the plugin offers nothing" in told(found.left_out)


def test_more_ids_than_a_pool_can_have_are_lost() -> None:
    found = of_shared(devices=["ib0"], rdmaHcaMax=5000)
    assert rules(found)[0]["replicas"] == 1024
    assert "configList.rdmaHcaMax: '5000' is lost" in told(found.lost)


def test_a_card_in_two_shared_resources_is_said_to_differ_and_so_is_ethernet() -> None:
    first = {"resourceName": "a", "rdmaHcaMax": 1, "devices": ["ib0"]}
    second = {"resourceName": "b", "rdmaHcaMax": 1, "selectors": {"linkTypes": ["ethernet"]}}
    found = translated(json.dumps({"periodicUpdateInterval": 300, "configList": [first, second]}))
    assert rules(found)[1]["select"] == {"linkTypes": ["ethernet"]}
    assert "'ethernet' matches nothing there, whose word is ether" in told(found.lost)
    assert "periodicUpdateInterval is left out" in told(found.left_out)
    assert "offered by each of them there, and by the first of them here" in told(found.left_out)


def test_the_old_plugin_has_one_resource_for_each_mode() -> None:
    made = translated('{"mode": "sriov", "pfNetdevices": ["eth0", "eth1"]}')
    assert rules(made) == [{"name": "rdma/vhca", "sharing": "exclusive", "select": {"parents": ["eth0", "eth1"]}}]
    assert "makes no virtual functions" in told(made.lost)
    assert rules(translated('{"mode": "hca"}')) == [
        {"name": "rdma/hca", "sharing": "pool", "replicas": 1000, "select": {}}
    ]


def test_an_onload_becomes_a_pool_with_the_plugins_defaults() -> None:
    assert rules(of_onload(), "onload") == [
        {
            "name": "amd.com/onload",
            "sharing": "pool",
            "replicas": 100,
            "hostPath": "/opt/onload",
            "containerPath": "/opt/onload",
            "preload": True,
            "script": False,
        }
    ]


def test_an_onloads_own_values_are_kept_and_misspelled_ones_said() -> None:
    found = of_onload(
        maxPodsPerNode=5, setPreload=False, mountOnload=True, hostOnloadPath="/a", baseMountPath="/b", preload=True,
        libMountPath="/x", binMountPath="/sbin",
    )  # fmt: skip
    (rule,) = rules(found, "onload")
    assert [rule[key] for key in ("replicas", "hostPath", "containerPath", "preload", "script")] == [
        5, "/a", "/b", False, True,
    ]  # fmt: skip
    assert "devicePlugin.preload is ignored by the operator for Onload, and left out; did you mean setPreload?" in told(
        found.lost
    )
    assert "did you mean libMounthPath?" in told(found.lost)
    assert "binMountPath: the text '/sbin' is lost" in told(found.lost)


def test_what_is_the_operators_own_is_said_to_stay_with_it() -> None:
    found = translated(
        "{apiVersion: x, kind: Onload, spec: {selector: {a: b}, onload: {version: '1'}, serviceAccountName: c}}"
    )
    assert "nodeSelector of the chart" in told(found.lost)
    assert "spec.onload is left out" in told(found.left_out)
    assert "serviceAccountName is left out" in told(found.left_out)


def test_both_plugins_of_a_policy_of_the_network_operator_go_into_one_file() -> None:
    config = {"configList": [{"resourceName": "a", "rdmaHcaMax": 2, "devices": ["ib0"]}]}
    vfs = {"resourceList": [{"resourceName": "b", "resourcePrefix": "x.com", "selectors": {"pfNames": ["p#0"]}}]}
    spec = {"rdmaSharedDevicePlugin": {"config": json.dumps(config)}, "sriovDevicePlugin": {"config": json.dumps(vfs)}}
    found = translated(json.dumps({"apiVersion": "x", "kind": "NicClusterPolicy", "spec": {"ofedDriver": {}, **spec}}))
    assert [rule["name"] for rule in rules(found)] == ["rdma/a", "x.com/b"]
    assert f"{FILE}, spec.sriovDevicePlugin.config:1:" in told(found.lost)


def test_a_config_map_is_kept_with_each_of_its_configurations_translated() -> None:
    texts = {"node1": '{"mode": "hca"}', "config.json": '{"configList": [{"resourceName": "a", "rdmaHcaMax": 2, '
             '"devices": ["ib0"]}]}'}  # fmt: skip
    found = translated(json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "data": texts}))
    names = {key: yaml.safe_load(text)["resources"]["rdma"][0]["name"] for key, text in found.document["data"].items()}
    assert names == {"node1": "rdma/hca", "config.json": "rdma/a"}


def test_anything_else_goes_to_the_translation_of_nvidias_file() -> None:
    with pytest.raises(InvalidValueError, match="for NVIDIA's plugin"):
        translated("version: v1")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"resourceList": []}', "1:18: resourceList is empty"),
        ('{"resourceList": {}}', "1:18: resourceList is a mapping; expected a list"),
        ('{"resourceList": [1]}', "1:19: resourceList is '1'; expected keys with values"),
        ('{"resourceList": [{"selectors": {}}]}', "1:19: resourceName missing"),
        (
            '{"resourceList": [{"resourceName": "a b"}]}',
            "1:36: resourceList.resourceName: resource name 'intel.com/a b'",
        ),
        (
            '{"resourceList": [{"resourceName": "a"}, {"resourceName": "a"}]}',
            "1:43: intel.com/a occurs twice, first at",
        ),
        (
            '{"resourceList": [{"resourceName": "a", "resourcename": "b"}]}',
            "1:41: resourceList.resourcename occurs twice",
        ),
        (
            '{"resourceList": [{"resourceName": "a", "deviceType": "x"}]}',
            "1:55: resourceList.deviceType: invalid value 'x'; expected",
        ),
        (
            '{"resourceList": [{"resourceName": "a", "selectors": {"vendors": ["0x15b3"]}}]}',
            "1:66: resourceList.selectors.vendors: '0x15b3' matches nothing there; expected four hex digits",
        ),
        (
            '{"resourceList": [{"resourceName": "a", "selectors": {"devices": [1018]}}]}',
            "1:67: resourceList.selectors.devices is '1018'; expected texts in quotes",
        ),
        (
            '{"resourceList": [{"resourceName": "a", "selectors": {"isRdma": "true"}}]}',
            "1:65: resourceList.selectors.isRdma is the text 'true'; expected true or false, without quotes",
        ),
        (
            '{"resourceList": [{"resourceName": "a", "selectors": {"isRdma": true, "vdpaType": "virtio"}}]}',
            "1:71: vdpaType together with isRdma",
        ),
        (
            '{"resourceList": [{"resourceName": "a", "selectors": {"pfNames": ["p#0-x"]}}]}',
            "1:66: resourceList.selectors.pfNames: 'p#0-x' selects nothing there",
        ),
        (
            '{"resourceList": [{"resourceName": "a", "selectors": {"pciAddresses": ["3b"]}}]}',
            "1:71: resourceList.selectors.pciAddresses: invalid value '3b'; expected a PCI address",
        ),
        (
            '{"resourceList": [{"resourceName": "a", "selectors": {"linkTypes": ["ib"]}}]}',
            "1:68: resourceList.selectors.linkTypes: 'ib' matches nothing there; expected ether or infiniband",
        ),
        ('{"configList": []}', "1:16: configList is empty"),
        (
            '{"configList": [{"resourceName": "a", "rdmaHcaMax": 1}]}',
            "1:17: an entry of configList has neither selectors",
        ),
        (
            '{"configList": [{"resourceName": "a", "devices": ["b"], "selectors": {"vendors": ["15b3"]}}]}',
            "1:17: an entry of configList has both selectors and devices",
        ),
        (
            '{"configList": [{"resourceName": "a", "devices": ["b"], "rdmaHcaMax": -1}]}',
            "1:71: configList.rdmaHcaMax: invalid value '-1'; expected 0",
        ),
        (
            '{"configList": [{"resourceName": "a", "devices": ["b"]}, {"resourceName": "a", "resourcePrefix": "y"}]}',
            "1:59: a occurs twice, first at f.json:1:18",
        ),
        ('{"mode": "other"}', "1:10: mode: the text 'other'; expected sriov or hca"),
        ('{"mode": "sriov"}', "1:1: pfNetdevices missing"),
        ("{apiVersion: x, kind: Onload, spec: 1}", "1:37: spec is '1'; expected keys with values"),
    ],
)
def test_nonsense_is_refused_with_its_place(text: str, said: str) -> None:
    with pytest.raises(InvalidValueError) as error:
        translated(text)
    assert str(error.value).startswith(f"{FILE}:{said}")


@pytest.mark.parametrize(
    ("plugin", "said"),
    [
        ({"mountOnload": True}, "needs setPreload: false, or the plugin does not start"),
        ({"maxPodsPerNode": 0}, "expected 1 to 1024"),
        ({"maxPodsPerNode": "5"}, "expected whole numbers, without quotes"),
        ({"hostOnloadPath": "opt"}, "expected a path that begins with /"),
    ],
)
def test_an_onload_that_its_operator_could_not_run_is_refused(plugin: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidValueError, match=said):
        of_onload(**plugin)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({}, "has no config below rdmaSharedDevicePlugin or sriovDevicePlugin"),
        ({"sriovDevicePlugin": {"config": "{}"}}, "resourceList or configList is missing"),
        ({"sriovDevicePlugin": {"config": 1}}, "expected a text with JSON"),
    ],
)
def test_a_policy_without_a_configuration_is_refused(spec: object, said: str) -> None:
    with pytest.raises(InvalidValueError, match=said):
        translated(json.dumps({"apiVersion": "x", "kind": "NicClusterPolicy", "spec": spec}))


def test_every_mistake_is_told_in_one_run() -> None:
    with pytest.raises(InvalidValueError) as error:
        translated('{"resourceList": [{"resourceName": "a", "deviceType": "x"}, {"selectors": {}}]}')
    assert len(error.value.problems) == 2


def test_a_text_that_repeats_itself_by_aliases_is_refused_soon() -> None:
    vendors = ", ".join(['"15b3"'] * 20_000)
    resources = ", ".join(f"{{resourceName: a{number}, selectors: *s}}" for number in range(5_000))
    with pytest.raises(InvalidValueError, match="more than the 50000 keys and values allowed"):
        translated(f"{{x: &s {{vendors: [{vendors}]}}, resourceList: [{resources}]}}")


VALUES: st.SearchStrategy[object] = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 2000) | st.sampled_from(["", "a", "15b3", "p#0-3", "ether", "/a"]),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)
SELECTORS = st.dictionaries(
    st.sampled_from(
        ["vendors", "devices", "deviceIDs", "drivers", "pfNames", "ifNames", "linkTypes", "isRdma", "pKeys"]
    ),
    VALUES,
    max_size=4,
)
ENTRIES = st.fixed_dictionaries(
    {"resourceName": VALUES},
    optional={
        "resourcePrefix": VALUES,
        "rdmaHcaMax": VALUES,
        "devices": VALUES,
        "deviceType": VALUES,
        "selectors": SELECTORS | st.lists(SELECTORS, max_size=2) | VALUES,
    },
)


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(st.sampled_from(["resourceList", "configList"]), st.lists(ENTRIES, max_size=3) | VALUES, min_size=1)
)
def test_any_values_are_translated_or_refused(document: dict[str, object]) -> None:
    try:
        found = translated(json.dumps(document))
    except InvalidValueError as error:
        unplaced = [problem for problem in error.problems if not problem.startswith(FILE)]
    else:
        unplaced = []
        assert yaml.safe_load(text_of(found.document)) == found.document
    assert unplaced == []
