"""Writes docs/cluster.md: what the tests of the cluster show, and the times that they measured.

The docstring of a test is its row on the page. `main` compares the page with the committed one.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.build import CONTAINERD, RELEASE, YEAR_BEFORE

PAGE = Path(__file__).parents[2] / "docs" / "cluster.md"
Note = Callable[[str, float], None]
"""Records a measured time: what was measured, and the seconds."""
_ABOUT = f"""\
# Tests in a real cluster

`make e2e` writes this page when all tests have passed. The tests run in Kubernetes {RELEASE}: etcd, API server,
controllers, scheduler, kube-proxy and kubelet, with containerd {CONTAINERD}. Two tests also use a kubelet
{YEAR_BEFORE}. Debian provides runc and the network plugins. The image is built as for a release.

Four things are not real:

- The GPUs. A stand-in for NVIDIA's library reports eight GPUs, with MIG. Their device nodes have no driver behind them;
  those of MIG have another major number than NVIDIA's.
- NVIDIA's container runtime. A stand-in, called by containerd in the same way, adds library and device nodes to a
  container, and leaves out what `NVIDIA_DRIVER_CAPABILITIES` does not ask for. It lets a container see all MIG devices
  only with `NVIDIA_MIG_MONITOR_DEVICES=all` and `SYS_ADMIN`. Most tests do without it.
- Network cards. One test lays files like those of a ConnectX-6 and of a Solarflare X2522 over the node's `/sys`, with
  device nodes that have no driver behind them. Nothing moves an interface into a pod, and Multus is not there.
- A boot of the node. It ends all processes of the node and empties its `/run`, but the kernel keeps running.

Here the kubelet reports its status every second; the default is every ten seconds. Some of the times end when the
node's allocatable changes. Up to one second of such a time is the wait for this report. In a cluster with the default
it is up to ten seconds.

| fact | measured in the last run | `make e2e PYTEST_ARGS="-k …"` |
| --- | --- | --- |
"""


class Facts:
    """Collects the docstrings and measured times of all tests; a plugin of pytest."""

    def __init__(self, page: Path | None) -> None:
        """``page`` is written if all tests pass; None for no page."""
        self._page = page
        self._facts: dict[str, str] = {}
        self._measured: dict[str, list[str]] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note the docstring of each test."""
        for item in session.items:
            assert isinstance(item, pytest.Function)
            self._facts[_name(item.nodeid)] = " ".join((item.function.__doc__ or "").split())

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note the times that a test measured."""
        if report.when == "call" and report.passed:
            measured = [value for name, value in report.user_properties if name == "measured"]
            self._measured.setdefault(_name(report.nodeid), []).extend(str(words) for words in measured)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the measured times."""
        terminalreporter.section("measured")
        for name, measured in self._measured.items():
            if measured:
                terminalreporter.write_line(f"{name}: {'; '.join(measured)}")

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Write the page if no test failed or is missing."""
        if self._page is not None and exitstatus == 0 and self._measured.keys() == self._facts.keys():
            rows = [
                f"| {fact} | {'; '.join(self._measured[name])} | `{name}` |\n" for name, fact in self._facts.items()
            ]
            self._page.write_text(f"{_ABOUT}{''.join(rows)}\nOn {os.cpu_count()} processors.\n")


def _name(nodeid: str) -> str:
    """Return the name of a test function."""
    return nodeid.rpartition("::")[2].partition("[")[0]


def _without_times(page: str) -> list[str]:
    """Return the lines of a page without measured times and without the machine."""
    lines = page.partition("\nOn ")[0].splitlines()
    return [f"{line.split(' | ')[0]} | {line.split(' | ')[-1]}" if line.startswith("| ") else line for line in lines]


def main() -> int:
    """Compare the page with the committed one. Return 1 if more than the times differs."""
    committed = subprocess.run(
        ("git", "show", f"HEAD:docs/{PAGE.name}"), cwd=PAGE.parent, check=True, capture_output=True, text=True
    ).stdout
    before, after = _without_times(committed), _without_times(PAGE.read_text())
    sys.stdout.writelines(f"- {line}\n" for line in before if line not in after)
    sys.stdout.writelines(f"+ {line}\n" for line in after if line not in before)
    return 1 if before != after else 0


if __name__ == "__main__":
    sys.exit(main())
