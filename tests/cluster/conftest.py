"""Fixtures with one cluster for all tests in this folder, which run one after the other."""

from collections.abc import Iterator

import pytest

from cluster.cluster import Cluster
from cluster.facts import PAGE, Facts, Note
from cluster.gateway import SPECS, Gateway
from cluster.needs import NeedsError, require
from cluster.pods import RUNTIME_CLASS, Pods, forget
from cluster.stand_in import LAYOUT, Lay
from cluster.watch import Watch


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-page", action="store_true", help=f"write {PAGE.name} if every test passes")


def pytest_configure(config: pytest.Config) -> None:
    try:
        require()
    except NeedsError as missing:
        pytest.exit(f"make e2e: {missing}", returncode=1)
    config.pluginmanager.register(Facts(PAGE if config.getoption("--write-page") else None))


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A new cluster. If a test fails, its logs are kept."""
    made = Cluster()
    made.down()
    made.up()
    yield made
    if request.session.testsfailed:
        made.keep_logs()
    made.down()


@pytest.fixture(scope="module")
def forgotten(cluster: Cluster) -> Iterator[None]:
    """No later test has to do with a pod of this module that held a GPU as something else."""
    yield
    forget(Gateway(cluster), Pods(cluster))


@pytest.fixture
def pods(cluster: Cluster) -> Iterator[Pods]:
    """Pods in the namespace default. All are deleted at the end."""
    made = Pods(cluster)
    yield made
    made.delete()


@pytest.fixture
def watch(cluster: Cluster) -> Iterator[Watch]:  # noqa: ARG001 - it must run
    """What the kubelet reports about the GPUs during the test."""
    with Watch() as made:
        yield made


@pytest.fixture
def bare(cluster: Cluster) -> Gateway:
    """The gateway, not deployed."""
    made = Gateway(cluster)
    made.remove()
    return made


@pytest.fixture
def lay_out(cluster: Cluster, bare: Gateway, pods: Pods) -> Iterator[Lay]:
    """GPU 0 has three MIG devices, GPU 1 has one, and no GPU is in MIG mode after the test."""
    pods.apply(RUNTIME_CLASS)
    cluster.gpus.lay_out(LAYOUT)
    yield cluster.gpus.lay_out
    pods.delete()
    bare.remove()
    cluster.gpus.lay_out("")


@pytest.fixture
def no_spec_is_left(cluster: Cluster, bare: Gateway) -> Iterator[None]:
    """The CDI specs go with the test."""
    yield
    bare.remove()
    cluster.machine.run("rm", "--recursive", "--force", SPECS)


@pytest.fixture
def gateway(cluster: Cluster) -> Gateway:
    """The gateway, deployed with the manifest and ready."""
    made = Gateway(cluster)
    made.deploy()
    return made


@pytest.fixture
def note(request: pytest.FixtureRequest) -> Note:
    """Records a measured time in seconds for docs/cluster.md."""
    return lambda what, seconds: request.node.user_properties.append(("measured", f"{what} {seconds:.1f} s"))
