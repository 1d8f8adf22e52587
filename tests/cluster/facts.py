"""Keeps what the tests of the cluster show, and how long each took: docs/cluster.md."""

import os
from pathlib import Path

import pytest

from cluster.build import RELEASE, YEAR_BEFORE

PAGE = Path(__file__).parents[2] / "docs" / "cluster.md"
_ABOUT = f"""\
# A real cluster that it runs in

Made by `make e2e`, which writes this page anew when every test has passed: Kubernetes {RELEASE} (etcd, API server,
controllers, scheduler, kube-proxy, kubelet; for one fact a kubelet {YEAR_BEFORE}), Debian's containerd, runc and
network plugins, the image as it is released. Only the silicon is not real: a stand-in for NVIDIA's library with eight
GPUs, whose device nodes are character devices that reach the containers. The kubelet reports its status each second,
ten times as often as by default; a time that ends with the node's allocatable contains up to one second of that.

| fact | measured in the last run | `make e2e PYTEST_ARGS="-k …"` |
| --- | --- | --- |
"""


class Facts:
    """Collects the facts; a plugin of pytest."""

    def __init__(self) -> None:
        self._facts: dict[str, str] = {}
        self._measured: dict[str, list[str]] = {}
        self._is_whole = False

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note what each test states; a run of some tests leaves the page as it is."""
        for item in session.items:
            assert isinstance(item, pytest.Function)
            self._facts[_name(item.nodeid)] = " ".join((item.function.__doc__ or "").split())
        options = session.config.option
        self._is_whole = not (options.keyword or options.markexpr or options.lf) and not any(
            "::" in argument for argument in session.config.args
        )

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what one test has measured."""
        if report.when == "call" and report.passed:
            measured = [value for name, value in report.user_properties if name == "measured"]
            self._measured.setdefault(_name(report.nodeid), []).extend(str(words) for words in measured)

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Write the page, if nothing failed or is missing."""
        if exitstatus == 0 and self._is_whole and self._measured.keys() == self._facts.keys():
            rows = [
                f"| {fact} | {'; '.join(self._measured[name])} | `{name}` |\n" for name, fact in self._facts.items()
            ]
            PAGE.write_text(f"{_ABOUT}{''.join(rows)}\nOn {os.cpu_count()} processors.\n")


def _name(nodeid: str) -> str:
    """Tell the name of a test's function."""
    return nodeid.rpartition("::")[2].partition("[")[0]
