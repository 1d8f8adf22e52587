"""Devices, inventories and observations as hypothesis draws them, from few names so that they meet again."""

from hypothesis import strategies as st

from harness.devices import GPU, PART, device, inventory
from plugin_gateway.core.devices import (
    Device,
    DeviceId,
    Inventory,
    Links,
    Pair,
    PhysicalId,
    PortOfDevice,
    RejectedDevice,
)
from plugin_gateway.core.health.faults import Checkup
from plugin_gateway.core.health.observations import (
    DevicesChecked,
    DriverSeen,
    DriverSilence,
    DriverUnavailable,
    EventsAwaited,
    EvidenceRefined,
    EvidenceReported,
    InventorySeen,
    KernelLogRead,
    LinksSeen,
    Observation,
    PortsSeen,
)
from plugin_gateway.core.health.policy import NOT_ANSWERING, Action
from plugin_gateway.core.health.state import MAX_SILENCE
from plugin_gateway.core.resources.names import ResourceName
from plugin_gateway.core.resources.rules import ResourceRule, Selector
from plugin_gateway.core.resources.sharing import Sharing
from plugin_gateway.nvidia.evidence import (
    DOUBLE_BIT_ECC,
    GPU_UNAVAILABLE,
    PENDING_RETIREMENT,
    ROW_REMAP_FAILURE,
    xid_kind,
)

IDS = tuple(DeviceId(f"GPU-{number}") for number in range(6))


@st.composite
def device_lists(draw: st.DrawFn) -> tuple[Device, ...]:
    """The same few ids in any order, with attributes that can differ between two lists."""
    ids = draw(st.lists(st.sampled_from(IDS), unique=True))
    indexes = sorted(draw(st.sets(st.integers(0, 9), min_size=len(ids), max_size=len(ids))))
    products = st.sampled_from(("NVIDIA H100", "Tesla T4"))
    nodes = st.none() | st.integers(0, 3)
    return tuple(
        device(index, name=name, product=draw(products), numa_node=draw(nodes))
        for index, name in zip(indexes, ids, strict=True)
    )


REJECTIONS = st.builds(
    RejectedDevice,
    place=st.sampled_from(("index 0", "index 1")),
    problem=st.sampled_from(("no UUID", "long UUID")),
    todo=st.sampled_from(("", "reset it")),
    physical=st.sampled_from((None, *map(PhysicalId, IDS))),
)
INVENTORIES: st.SearchStrategy[Inventory] = st.builds(
    lambda devices, **others: inventory(*devices, **others),
    devices=device_lists(),
    rejected=st.lists(REJECTIONS, max_size=3).map(tuple),
    set_aside=st.lists(REJECTIONS, max_size=2).map(tuple),
)
CHECKUPS = st.builds(
    Checkup,
    st.dictionaries(
        st.sampled_from((NOT_ANSWERING, ROW_REMAP_FAILURE, PENDING_RETIREMENT)),
        st.sampled_from(("words", "other words")),
        max_size=1,
    ),
    st.sampled_from((None, False, False, True)),
)


@st.composite
def machine_links(draw: st.DrawFn) -> Links:
    """How some of the devices are connected. All pairs of a machine are drawn from few."""
    ids = draw(st.lists(st.sampled_from(IDS), unique=True, max_size=4))
    pair = st.builds(Pair, st.sampled_from((0, 10, 20, 50)), st.integers(0, 4))
    drawn = [[draw(pair) for _ in ids[: place + 1]] for place in range(len(ids))]
    pairs = tuple(tuple(drawn[max(a, b)][min(a, b)] for b in range(len(ids))) for a in range(len(ids)))
    return Links(tuple(PhysicalId(each) for each in ids), pairs)


PORTS = st.builds(
    PortOfDevice,
    device=st.sampled_from(IDS).map(PhysicalId),
    number=st.just(1),
    layer=st.just("ethernet"),
    is_up=st.booleans(),
    words=st.just("ACTIVE"),
    rate_gbps=st.none() | st.just(100.0),
    changes=st.integers(0, 2),
)
OBSERVATIONS: st.SearchStrategy[Observation] = st.one_of(
    st.builds(InventorySeen, INVENTORIES),
    st.builds(LinksSeen, machine_links()),
    st.builds(PortsSeen, st.lists(PORTS, max_size=3).map(tuple)),
    st.builds(
        EvidenceReported,
        st.sampled_from((13, 31, 48, 79, 10_000)).map(xid_kind),
        st.none() | st.sampled_from(IDS),
    ),
    st.builds(
        EvidenceReported,
        st.sampled_from((DOUBLE_BIT_ECC, GPU_UNAVAILABLE)),
        st.none() | st.sampled_from(IDS),
    ),
    st.builds(
        EvidenceRefined,
        st.sampled_from((48, 150)).map(xid_kind),
        st.sampled_from(IDS),
        st.sampled_from(tuple(Action)),
        st.sampled_from(("", "words")),
    ),
    st.builds(DevicesChecked, st.dictionaries(st.sampled_from(IDS), CHECKUPS)),
    st.builds(DriverSeen, st.just("575.57.08"), st.sampled_from((None, "1", "2"))),
    st.builds(
        DriverUnavailable,
        st.sampled_from(("no library", "no GPU")),
        todo=st.sampled_from(("", "install it")),
        unserved=st.integers(0, 8),
    ),
    st.builds(DriverSilence, st.sampled_from((0.0, MAX_SILENCE, 99.0))),
    st.builds(KernelLogRead, st.sampled_from((None, "forbidden"))),
    st.builds(EventsAwaited, st.sampled_from((None, "Unknown Error", "GPU is lost"))),
)
HISTORIES = st.lists(OBSERVATIONS, max_size=12)

SELECTORS = st.builds(
    Selector,
    ids=st.sets(st.sampled_from(("GPU-0", "GPU-2", "MIG-2-0", "GPU-8")).map(DeviceId), max_size=2).map(tuple),
    places=st.sets(st.sampled_from(((0,), (1,), (2,), (2, 1))), max_size=2).map(tuple),
    addresses=st.sets(st.sampled_from(("0000:01:00.0", "0000:99:00.0")), max_size=1).map(tuple),
    products=st.sets(st.sampled_from(("*", "*T4", "*H100*")), max_size=2).map(tuple),
    profiles=st.sets(st.sampled_from(("*", "1g.*")), max_size=1).map(tuple),
    kinds=st.sets(st.sampled_from((GPU, PART)), max_size=1).map(tuple),
)
ONE_RULE = st.builds(
    ResourceRule,
    selector=SELECTORS,
    name=st.sampled_from((ResourceName("example.com/a"), ResourceName("example.com/b"), None)),
    sharing=st.builds(Sharing, replicas=st.integers(1, 3), one_per_request=st.booleans()),
    at_most=st.none() | st.integers(1, 3),
    origin=st.just("line 1"),
)
