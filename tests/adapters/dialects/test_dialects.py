"""Each dialect as a codec: the bytes are those of the protocol, and both sides read what the other one wrote."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.builders import advertisement
from core.registration.story import DIALECTS as TRIED
from plugin_gateway.adapters.configuration.options import DEFAULT_RESOURCE
from plugin_gateway.adapters.dialects import MODULES, api_versions, dialect_of, dialects_for, load_dialects
from plugin_gateway.adapters.dialects.dialect import (
    OPTIONS,
    Dialect,
    ListedDevice,
    MalformedMessageError,
    Method,
    PluginOptions,
    RegisterRequest,
)
from plugin_gateway.adapters.dialects.v1alpha import V0_1, V1ALPHA2
from plugin_gateway.adapters.dialects.v1beta1 import V1BETA1
from plugin_gateway.api.v1alpha import api_pb2 as wire19
from plugin_gateway.api.v1alpha1 import api_pb2 as wire18
from plugin_gateway.api.v1beta1 import api_pb2 as wire
from plugin_gateway.core.resources.allocation import NO_EDITS, ContainerEdits, DeviceNode, Edit, Mount
from plugin_gateway.core.resources.names import ResourceName
from plugin_gateway.core.resources.preference import PreferenceRequest

ALL = load_dialects()
EVERYTHING = ContainerEdits(
    environment={"A": "1"},
    mounts=(Mount("/in", "/out"),),
    device_nodes=(DeviceNode("/dev/in", "/dev/out"),),
    annotations={"note": "x"},
    cdi_devices=("example.com/thing=1",),
)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=400)
WORDS = st.text(st.characters(codec="utf-8"), max_size=8)
EDITS = st.builds(
    ContainerEdits,
    environment=st.dictionaries(WORDS, WORDS, max_size=3),
    mounts=st.lists(st.builds(Mount, WORDS, WORDS, st.booleans()), max_size=3).map(tuple),
    device_nodes=st.lists(st.builds(DeviceNode, WORDS, WORDS, WORDS), max_size=3).map(tuple),
    annotations=st.dictionaries(WORDS, WORDS, max_size=3),
    cdi_devices=st.lists(WORDS, max_size=3).map(tuple),
    absent_nodes=st.just(()),
)
IDS = st.lists(WORDS, max_size=4).map(tuple)


def methods(dialect: Dialect) -> list[Method[Any, Any]]:
    found = (dialect.allocation, dialect.preference, dialect.options, dialect.pre_start)
    return [each for each in found if each is not None]


def without(edits: ContainerEdits, kinds: frozenset[Edit]) -> ContainerEdits:
    return edits._replace(**{kind.value: getattr(NO_EDITS, kind.value) for kind in kinds})


def test_the_table_has_the_dialects_of_each_module_the_newest_first() -> None:
    assert [each.version for each in ALL] == [version for versions in MODULES.values() for version in versions]
    assert ALL == (V1BETA1, V1ALPHA2, V0_1)
    for versions in MODULES.values():
        assert len({dialect_of(version).package for version in versions}) == 1


def test_the_state_machine_is_tried_with_these_dialects() -> None:
    assert tuple(dialect.manners for dialect in load_dialects()) == TRIED


def test_the_command_line_knows_every_dialect_and_family() -> None:
    assert api_versions() == {
        "auto": ("v1beta1", "v1alpha2", "0.1"),
        "v1beta1": ("v1beta1",),
        "v1alpha": ("v1alpha2", "0.1"),
        "v1alpha2": ("v1alpha2",),
        "0.1": ("0.1",),
    }
    assert dialects_for("v1alpha") == (V1ALPHA2, V0_1)


def test_an_unknown_version_is_read_as_the_newest_dialect() -> None:
    assert dialect_of("0.1") is V0_1
    assert dialect_of("v7") is V1BETA1


@pytest.mark.parametrize("dialect", ALL)
def test_every_method_of_the_service_has_a_codec(dialect: Dialect) -> None:
    described = dialect.file.services_by_name["DevicePlugin"].methods_by_name
    assert set(described) == {*(each.name for each in methods(dialect)), "ListAndWatch"}
    assert dialect.package == dialect.file.package


@pytest.mark.parametrize("dialect", ALL)
def test_register_names_version_endpoint_and_resource(dialect: Dialect) -> None:
    data = dialect.registration("a.sock", DEFAULT_RESOURCE)
    request = wire.RegisterRequest.FromString(data)
    assert (request.version, request.endpoint, request.resource_name) == (dialect.version, "a.sock", "nvidia.com/gpu")
    options = OPTIONS if dialect.options else None
    assert dialect.read_registration(data) == RegisterRequest(dialect.version, "a.sock", DEFAULT_RESOURCE, options)


@given(TEXTS, TEXTS)
@pytest.mark.parametrize(("dialect", "messages"), [(V1BETA1, wire), (V1ALPHA2, wire19), (V0_1, wire18)])
def test_register_has_the_bytes_that_protobuf_would_write(
    dialect: Dialect, messages: Any, endpoint: str, name: str
) -> None:
    request = messages.RegisterRequest(version=dialect.version, endpoint=endpoint, resource_name=name)
    if dialect.options is not None:
        request.options.MergeFromString(dialect.options.write_answer(OPTIONS))
    assert dialect.registration(endpoint, ResourceName(name)) == request.SerializeToString()


def test_a_registration_without_options_is_told_from_one_with_none_set() -> None:
    bare = wire.RegisterRequest(version="v1beta1")
    assert V1BETA1.read_registration(bare.SerializeToString()).options is None
    bare.options.SetInParent()
    assert V1BETA1.read_registration(bare.SerializeToString()).options == PluginOptions()


def test_options_are_the_same_in_register_and_when_asked_for() -> None:
    assert V1BETA1.options is not None
    asked = wire.DevicePluginOptions.FromString(V1BETA1.options.write_answer(OPTIONS))
    assert wire.RegisterRequest.FromString(V1BETA1.registration("a.sock", DEFAULT_RESOURCE)).options == asked
    assert asked.get_preferred_allocation_available
    assert not asked.pre_start_required


@pytest.mark.parametrize("dialect", ALL)
def test_a_device_list_has_ids_and_the_two_words_for_health(dialect: Dialect) -> None:
    data = dialect.device_list(advertisement(2, (1,)))
    devices = wire.ListAndWatchResponse.FromString(data).devices
    assert [(device.ID, device.health) for device in devices] == [("GPU-0", "Healthy"), ("GPU-1", "Unhealthy")]
    assert dialect.read_list(data) == (ListedDevice("GPU-0", "Healthy"), ListedDevice("GPU-1", "Unhealthy"))


def test_a_numa_node_0_is_there_and_no_node_is_no_topology() -> None:
    data = V1BETA1.device_list(advertisement(1, numa_node=0))
    assert [node.ID for node in wire.ListAndWatchResponse.FromString(data).devices[0].topology.nodes] == [0]
    assert V1BETA1.read_list(data)[0].numa_nodes == (0,)
    without_one = wire.ListAndWatchResponse.FromString(V1BETA1.device_list(advertisement(1))).devices[0]
    assert not without_one.HasField("topology")


def test_a_request_is_that_of_the_protocol() -> None:
    containers = (("GPU-1", "GPU-0"), ("GPU-2",), ())
    data = V1BETA1.allocation.write_request(containers)
    read = wire.AllocateRequest.FromString(data).container_requests
    assert [tuple(each.devices_ids) for each in read] == list(containers)
    assert V1BETA1.allocation.read_request(data) == containers
    for dialect in (V1ALPHA2, V0_1):
        data = dialect.allocation.write_request([("GPU-1", "GPU-0")])
        assert list(wire19.AllocateRequest.FromString(data).devicesIDs) == ["GPU-1", "GPU-0"]
        assert dialect.allocation.read_request(data) == (("GPU-1", "GPU-0"),)


def test_no_container_gets_one_empty_response_because_1_10_would_crash() -> None:
    answer = wire.AllocateResponse.FromString(V1BETA1.allocation.write_answer([]))
    assert list(answer.container_responses) == [wire.ContainerAllocateResponse()]


def test_an_answer_without_a_container_is_read_as_none() -> None:
    assert V1BETA1.allocation.read_answer(b"") == ()
    assert V1ALPHA2.allocation.read_answer(b"") == V0_1.allocation.read_answer(b"") == (ContainerEdits(),)


def test_1_8_gets_everything_in_one_spec() -> None:
    (spec,) = wire18.AllocateResponse.FromString(V0_1.allocation.write_answer([EVERYTHING])).spec
    assert dict(spec.envs) == {"A": "1"}
    assert [node.container_path for node in spec.devices] == ["/dev/in"]


def test_1_8_keeps_the_first_of_two_values() -> None:
    specs = [wire18.DeviceRuntimeSpec(envs={"A": value, value: value}) for value in ("first", "second")]
    (read,) = V0_1.allocation.read_answer(wire18.AllocateResponse(spec=specs).SerializeToString())
    assert read.environment == {"A": "first", "first": "first", "second": "second"}


def test_1_9_gets_the_same_at_the_top_level() -> None:
    answer = wire19.AllocateResponse.FromString(V1ALPHA2.allocation.write_answer([EVERYTHING]))
    assert dict(answer.envs) == {"A": "1"}
    assert answer.mounts[0].read_only


@pytest.mark.parametrize("dialect", [V1ALPHA2, V0_1])
def test_nothing_is_written_as_nothing(dialect: Dialect) -> None:
    assert dialect.allocation.write_answer([NO_EDITS]) == b""


@pytest.mark.parametrize("dialect", ALL)
@given(edits=EDITS)
def test_what_a_dialect_carries_arrives_and_nothing_else(dialect: Dialect, edits: ContainerEdits) -> None:
    (read,) = dialect.allocation.read_answer(dialect.allocation.write_answer([edits]))
    assert read == without(edits, frozenset(Edit) - dialect.carries)


def test_every_kind_of_edit_is_a_field_and_every_field_that_is_sent_has_one() -> None:
    assert {each.value for each in Edit} == set(ContainerEdits._fields) - {"absent_nodes"}
    assert EVERYTHING.among(Edit) == frozenset(Edit)
    assert NO_EDITS.among(Edit) == frozenset()
    assert EVERYTHING.among([Edit.MOUNTS]) == {Edit.MOUNTS}


@given(containers=st.lists(st.tuples(IDS, IDS, st.integers(0, 99)), max_size=3), chosen=st.lists(IDS, max_size=3))
def test_a_preference_is_asked_and_answered_for_each_container(
    containers: list[tuple[tuple[str, ...], tuple[str, ...], int]], chosen: Sequence[tuple[str, ...]]
) -> None:
    method = V1BETA1.preference
    assert method is not None
    requests = tuple(PreferenceRequest(*each) for each in containers)
    assert method.read_request(method.write_request(requests)) == requests
    assert method.read_answer(method.write_answer(chosen)) == tuple(chosen)


@given(ids=IDS, options=st.builds(PluginOptions, st.booleans(), st.booleans()))
def test_the_small_messages_arrive(ids: tuple[str, ...], options: PluginOptions) -> None:
    assert V1BETA1.pre_start is not None
    assert V1BETA1.options is not None
    assert V1BETA1.pre_start.read_request(V1BETA1.pre_start.write_request(ids)) == ids
    assert V1BETA1.options.read_answer(V1BETA1.options.write_answer(options)) == options
    for method in (V1BETA1.pre_start, V1BETA1.options):
        assert method.write_request(() if method is V1BETA1.pre_start else None) == b""  # type: ignore[arg-type]
    V1BETA1.pre_start.read_answer(V1BETA1.pre_start.write_answer(None))


@pytest.mark.parametrize(("dialect", "method"), [(dialect, each) for dialect in ALL for each in methods(dialect)])
def test_bytes_that_are_no_message_are_refused(dialect: Dialect, method: Method[Any, Any]) -> None:
    for read in (method.read_request, method.read_answer, dialect.read_list, dialect.read_registration):
        with pytest.raises(MalformedMessageError, match=f"not a {dialect.package}"):
            read(b"\xff\xff")
