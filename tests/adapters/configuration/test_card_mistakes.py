"""Every mistake in the sections about network cards is told with its place, and with what is allowed."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plugin_gateway.core.errors import InvalidValueError

from .conftest import Read

RDMA_KEYS = "name, sharing, replicas, select, nodes and variables"
ONLOAD_KEYS = "name, sharing, replicas, hostPath, containerPath, preload, script and select"
SELECT_KEYS = "vendors, devices, drivers, pciAddresses, functions, parents, interfaces and linkTypes"
IDS = "four hex digits such as 15b3"
PARENTS = 'names of interfaces and PCI addresses, also with numbers of VFs, such as "ens1f0np0#0-3,7" in quotes'
A_LIST = "expected a list with a name each, and {} for"
MISTAKES = [
    ("rdma: []", f"resources.rdma is an empty list; {A_LIST} rdma/hca"),
    ("rdma: {name: a/b}", f"resources.rdma is a mapping; {A_LIST} rdma/hca"),
    ("onload: true", f"resources.onload is 'true'; {A_LIST} amd.com/onload"),
    ("rdma: [a/b]", "resources.rdma is 'a/b'; expected keys with values"),
    ("rdma: [{sharing: shared}]", "name missing in an entry of resources.rdma"),
    ("rdma: [{name: hca}]", "resource name 'hca': it must have the form DOMAIN/NAME"),
    ("rdma: [{name: }]", "resources.rdma.name is empty; expected names such as rdma/hca"),
    ("rdma: [{name: a/b, name: a/c}]", "resources.rdma.name occurs twice, first at"),
    ("rdma: [{name: a/b, colour: red}]", f"unknown key resources.rdma.colour, known are {RDMA_KEYS}"),
    ("rdma: [{name: a/b, replica: 2}]", f"unknown key resources.rdma.replica, known are {RDMA_KEYS}; did you mean"),
    ("rdma: [{name: a/b, rdmaHcaMax: 2}]", f"known are {RDMA_KEYS}; did you mean replicas?"),
    ("rdma: [{resourceName: b}]", f"known are {RDMA_KEYS}; did you mean name?"),
    ("rdma: [{name: a/b, selectors: {}}]", f"known are {RDMA_KEYS}; did you mean select?"),
    (
        "rdma: [{name: a/b, sharing: alone}]",
        "resources.rdma.sharing: invalid value 'alone'; expected exclusive, shared or pool",
    ),
    (
        "onload: [{name: a/b, sharing: exclusive}]",
        "resources.onload.sharing: invalid value 'exclusive'; expected pool or shared",
    ),
    (
        "rdma: [{name: a/b, replicas: 2}]",
        "replicas in an entry of resources.rdma that is exclusive, allowed with sharing: shared and sharing: pool",
    ),
    (
        "rdma: [{name: a/b, sharing: shared, replicas: 1}]",
        "1 replica in an entry of resources.rdma with sharing: shared; expected 2 or more",
    ),
    (
        "rdma: [{name: a/b, sharing: pool, replicas: 0}]",
        "resources.rdma.replicas: invalid value '0'; expected 1 to 1024",
    ),
    (
        "rdma: [{name: a/b, sharing: pool, replicas: 1025}]",
        "resources.rdma.replicas: invalid value '1025'; expected 1 to 1024",
    ),
    (
        "rdma: [{name: a/b, select: {vendor: [15b3]}}]",
        f"unknown key resources.rdma.select.vendor, known are {SELECT_KEYS}; did you mean vendors?",
    ),
    ("rdma: [{name: a/b, select: {pfNames: [a]}}]", f"known are {SELECT_KEYS}; did you mean parents?"),
    ("rdma: [{name: a/b, select: [a]}]", "resources.rdma.select is a list; expected keys with values"),
    (
        "rdma: [{name: a/b, select: {vendors: [mlx]}}]",
        f"resources.rdma.select.vendors: invalid value 'mlx'; expected {IDS}",
    ),
    (
        "rdma: [{name: a/b, select: {devices: 0x1}}]",
        f"resources.rdma.select.devices: invalid value '0x1'; expected {IDS}",
    ),
    (
        "rdma: [{name: a/b, select: {vendors: [{a: b}]}}]",
        f"vendors is a mapping; expected {IDS}; one, or a list of them",
    ),
    (
        "rdma: [{name: a/b, select: {pciAddresses: [3b]}}]",
        "select.pciAddresses: invalid value '3b'; expected a PCI address such as 0000:3b:00.0",
    ),
    (
        "rdma: [{name: a/b, select: {functions: both}}]",
        "select.functions: invalid value 'both'; expected pf, vf or any",
    ),
    (
        "rdma: [{name: a/b, select: {linkTypes: [ib]}}]",
        "linkTypes: invalid value 'ib'; expected ethernet or infiniband",
    ),
    ("rdma: [{name: a/b, select: {interfaces: ['']}}]", "select.interfaces is empty; '*' matches every one"),
    ("rdma: [{name: a/b, select: {drivers: ['mlx[5']}}]", "drivers: 'mlx[5' has a [ without ]"),
    ("rdma: [{name: a/b, select: {parents: [eth0#0, 7]}}]", f"select.parents: invalid value '7'; expected {PARENTS}"),
    ("rdma: [{name: a/b, select: {parents: ['#1']}}]", f"select.parents: invalid value '#1'; expected {PARENTS}"),
    (
        "rdma: [{name: a/b, select: {parents: ['eth0#']}}]",
        "select.parents: invalid value 'eth0#'; expected numbers of VFs from 0 to 1023",
    ),
    (
        "rdma: [{name: a/b, select: {parents: ['eth0#3-1']}}]",
        "invalid value 'eth0#3-1'; expected numbers of VFs from 0 to 1023",
    ),
    (
        "rdma: [{name: a/b, select: {parents: ['eth0#1024']}}]",
        "invalid value 'eth0#1024'; expected numbers of VFs from 0 to 1023",
    ),
    (
        "rdma: [{name: a/b, select: {parents: ['eth0#1,']}}]",
        "invalid value 'eth0#1,'; expected numbers of VFs from 0 to 1023",
    ),
    (
        "rdma: [{name: a/b, select: {functions: pf, parents: [eth0]}}]",
        "resources.rdma.select has parents with functions: pf; expected vf and any",
    ),
    ("rdma: [{name: a/b, nodes: {issm: true}}]", "unknown key resources.rdma.nodes.issm, known are umad and"),
    ("rdma: [{name: a/b, nodes: {umad: 'yes'}}]", "nodes.umad is the text 'yes'; expected true or false"),
    ("rdma: [{name: a/b, variables: [nccl, pci]}]", "variables: invalid value 'pci'; expected pcidevice, nccl or ucx"),
    (
        "rdma: [{name: a/b, sharing: pool}, {name: a/b, sharing: pool, select: {functions: vf}}]",
        "resources.rdma.name: a/b occurs twice, first at",
    ),
    ("rdma: [{name: a/b}, {name: a/b, sharing: shared}]", "resources.rdma.name: a/b occurs twice, first at"),
    ("onload: [{name: a/b, nodes: {}}]", f"unknown key resources.onload.nodes, known are {ONLOAD_KEYS}"),
    ("onload: [{name: a/b, hostOnloadPath: /a}]", f"known are {ONLOAD_KEYS}; did you mean hostPath?"),
    (
        "onload: [{name: a/b, hostPath: opt}]",
        "resources.onload.hostPath: invalid value 'opt'; expected an absolute path",
    ),
    ("onload: [{name: a/b, preload: 1}]", "resources.onload.preload is '1'; expected true or false"),
    (
        "onload: [{name: a/b, preload: true, script: true}]",
        "preload and script in an entry of resources.onload; expected one of them",
    ),
    ("roce: {}", "unknown key resources.roce"),
]


@pytest.mark.parametrize(("written", "said"), MISTAKES, ids=[written for written, _ in MISTAKES])
def test_a_mistake_is_told_with_its_line(written: str, said: str, read: Read) -> None:
    with pytest.raises(InvalidValueError) as caught:
        read((), {}, f"version: v1\nresources:\n  {written}\n")
    (problem,) = caught.value.problems
    assert said in problem
    assert "config.yaml:3" in problem


def test_every_mistake_of_a_file_is_told_at_once(read: Read) -> None:
    with pytest.raises(InvalidValueError) as caught:
        read((), {}, "resources:\n  rdma: [{name: a}, {name: a/b, select: {a: 1, vendors: [x]}}]\n  onload: [1]\n")
    assert len(caught.value.problems) == 4


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(
    text=st.text(st.sampled_from("rdma:onload{}[]name/vendors #-0123,'\"\n \ta.b")),
    key=st.sampled_from(["rdma", "onload", "rdma: [{name: a/b, select", "onload: [{name: a/b, select: {parents"]),
)
def test_no_text_is_answered_with_anything_but_a_complaint(text: str, key: str, read: Read) -> None:
    problems: object = ["none"]
    try:
        read((), {}, f"resources:\n  {key}: {text}")
    except InvalidValueError as error:
        problems = error.problems
    assert problems
