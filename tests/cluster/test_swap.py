"""A release of NVIDIA's chart becomes one of ours, and goes back, under pods that run."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from cluster import images
from cluster.build import BUILT, RELEASE, YEAR_BEFORE
from cluster.cluster import LIMIT, SYSTEM, Cluster
from cluster.configuration import KUBECONFIG, NODE
from cluster.facts import Note
from cluster.gateway import CHART, HELM, Gateway, post_renderer
from cluster.machine import run, wait_until
from cluster.nvidia_runtime import DRIVER_ROOT
from cluster.pods import Pods, gpu_pod
from deployment.nvidias_values import V0_20

NAME = "swap"
"""The name of the Helm release."""
THEIRS, OURS = f"{NAME}-nvidia-device-plugin", f"{NAME}-plugin-gateway"
FORM = Path(__file__).with_name("nvidias_chart")
REPOSITORY, _, TAG = images.GATEWAY.rpartition(":")


class Release:
    """The Helm release."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def install_theirs(self) -> None:
        """Install NVIDIA's chart, with our image by the name of NVIDIA's executable."""
        chart = BUILT / "nvidias-chart"
        shutil.rmtree(chart, ignore_errors=True)
        shutil.copytree(FORM, chart)
        (chart / "values.yaml").write_text(yaml.safe_dump(dict(V0_20)))
        self._helm(
            "install", NAME, str(chart), f"--set=nvidiaDriverRoot={DRIVER_ROOT}", *_image(),
            f"--post-renderer={post_renderer()}",
        )  # fmt: skip
        self.wait_for(THEIRS)

    def upgrade_to_ours(self) -> None:
        """Upgrade to our chart, with nothing but another image."""
        self._helm("upgrade", NAME, str(CHART), "--reuse-values", *_image(), f"--post-renderer={post_renderer()}")
        self.wait_for(OURS)

    def roll_back(self) -> None:
        self._helm("rollback", NAME)
        self.wait_for(THEIRS)

    def uninstall(self) -> None:
        self._helm("uninstall", NAME, "--ignore-not-found", "--wait")

    def wait_for(self, name: str) -> None:
        """Wait until this DaemonSet is the only one of the release, and its pod the only one."""
        wait_until(lambda: self._names("daemonsets") == [name], lambda: f"{name} alone", LIMIT)
        self._cluster.kubectl("rollout", "status", f"daemonset/{name}", SYSTEM, f"--timeout={LIMIT:.0f}s")

        def is_alone() -> bool:
            found = self._names("pods")
            return len(found) == 1 and found[0].startswith(name)

        wait_until(is_alone, lambda: f"one pod of {name}, not {self._names('pods')}", LIMIT)

    def _names(self, kind: str) -> list[str]:
        found = self._cluster.get(kind, SYSTEM, f"--selector=app.kubernetes.io/instance={NAME}")
        return [str(each["metadata"]["name"]) for each in found["items"]]

    def _helm(self, *arguments: str) -> None:
        run(str(HELM), f"--kubeconfig={KUBECONFIG}", SYSTEM, *arguments, limit=2 * LIMIT)


def _image() -> tuple[str, ...]:
    return f"--set=image.repository={REPOSITORY}", f"--set-string=image.tag={TAG}"


@pytest.fixture(params=[RELEASE, YEAR_BEFORE])
def kubelet(request: pytest.FixtureRequest, cluster: Cluster) -> Iterator[str]:
    """The release of the kubelet. That of a year before drops a resource when the older of two plugins ends."""
    _start_kubelet(cluster, request.param)
    yield request.param
    _start_kubelet(cluster, RELEASE)


def _start_kubelet(cluster: Cluster, wanted: str) -> None:
    """Let the node have a kubelet of this release."""
    if cluster.node()["status"]["nodeInfo"]["kubeletVersion"] != wanted:
        cluster.stop("kubelet")
        cluster.start_kubelet(wanted)
        wait_until(
            lambda: cluster.node()["status"]["nodeInfo"]["kubeletVersion"] == wanted, f"the kubelet is {wanted}", LIMIT
        )
        cluster.wait_ready()


@pytest.fixture
def release(cluster: Cluster, bare: Gateway, kubelet: str) -> Iterator[Release]:  # noqa: ARG001 - it must run
    """A node that NVIDIA's affinity takes, and a release that is gone at the end."""
    cluster.kubectl("label", "node", NODE, "nvidia.com/gpu.present=true", "--overwrite")
    made = Release(cluster)
    yield made
    made.uninstall()
    cluster.kubectl("label", "node", NODE, "nvidia.com/gpu.present-")
    wait_until(lambda: not bare.offered(), "the node has no GPU without it", LIMIT)


def test_nvidias_chart_is_upgraded_to_ours_and_rolled_back(
    release: Release, bare: Gateway, pods: Pods, kubelet: str, note: Note
) -> None:
    """NVIDIA's chart, our image, `helm upgrade --reuse-values` to ours, and back: pods run on, one plugin is there."""
    release.install_theirs()
    bare.wait_offered()
    pods.start(gpu_pod("before"))
    lives = pods.lives()
    for name, change in (("upgrade", release.upgrade_to_ours), ("rollback", release.roll_back)):
        began = time.monotonic()
        change()
        bare.wait_offered()
        note(f"kubelet {kubelet}, {name}", time.monotonic() - began)
        pods.start(gpu_pod(f"after-{name}"))
        assert pods.lives()["before"] == lives["before"]
    given = [pods.given(name).uuids for name in ("before", "after-upgrade", "after-rollback")]
    assert len(frozenset().union(*given)) == 3, "no GPU is given twice"
    assert set(pods.phases().values()) == {"Running"}
