"""Writes docs/compatibility.md: which releases passed each scenario, and the names of those that failed."""

from collections.abc import Collection, Mapping
from enum import Enum
from pathlib import Path
from typing import NamedTuple

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "compatibility.md"
GATEWAY = "The gateway with each kubelet"
COMBINED = "Shared GPUs and MIG devices with each kubelet"
TOLD = "How containers are told their GPUs with each kubelet"
CARDS = "Network cards beside GPUs with each kubelet"
COMPARED = "The fake kubelet beside the genuine one"
EVERY_RELEASE = "all"
UPGRADE = "upgrade through all and back"


class Column(Enum):
    """The scenarios of the gateway with each kubelet."""

    EIGHT_GPUS = "eight GPUs, containers with 1 and 8"
    GPU_FAILS = "a GPU fails and comes back"
    KUBELET_KILLED = "kubelet killed and started"
    GATEWAY_KILLED = "gateway killed and started"
    SOCKET_DELETED = "own socket deleted"
    HANGUPS = "SIGHUP twenty times, then killed"
    STREAM_DROPPED = "stream dropped"
    UNHEALTHY_FIRST = "only 1.9.7 and 1.10.2 need `--unhealthy-first`"
    GIVEN_BACK = "given back and taken"
    UNANSWERED = "three resources, one of them not answered"


class OfCards(Enum):
    """The scenarios of network cards beside GPUs."""

    ALLOCATED = "containers with a GPU, a virtual function, a shared port and Onload"
    PORT_DOWN = "a port loses its link and gets it back"
    COME_AND_GO = "a virtual function is unplugged and plugged, and all are made anew"
    KUBELET_KILLED = "kubelet killed and started"
    GATEWAY_KILLED = "gateway killed and started while a pod has a virtual function"


_ABOUT = """# Compatibility

`make test-kubelets` writes this page when every test has passed.

## Kubernetes releases

The device plugin API has had three versions, which this documentation calls dialects. In 1.25 the kubelet also began
to connect to a plugin before it answers the registration.

| Kubernetes | API version | gRPC service | What the gateway does |
| --- | --- | --- | --- |
| 1.8 | `0.1` | `deviceplugin.DevicePlugin` | All devices of an allocation in one spec. One resource after the other. |
| 1.9 | `v1alpha2` | `deviceplugin.DevicePlugin` | The same names as 1.8, another `Allocate` response. |
| 1.10 to 1.24 | `v1beta1` | `v1beta1.DevicePlugin` | Options are sent with `Register`. |
| 1.25 and later | `v1beta1` | `v1beta1.DevicePlugin` | Serves first: the kubelet connects during `Register`. |

The gateway finds out the dialect at every registration. `--api-version` sets it instead:
see [Configure](configure.md#flags-environment-variables-and-file).

## How it was tested

A genuine kubelet is a process with the device manager and the admission code of that release. It is built from that
release's own Go module, with the grpc-go version of its time. The fake kubelet is `plugin-gateway fake-kubelet` of
the same release. [A real cluster](cluster.md) describes the tests in a whole Kubernetes.
"""
_EXPLAINED = {
    GATEWAY: "`plugin-gateway run` was tested with a stand-in for the NVML library. It ran with the genuine and with "
    "the fake kubelet of each release.",
    COMBINED: "The same, with devices that several containers share, and with MIG devices. These releases are in CI. "
    "`make test-kubelets KUBELETS=all` takes all eight.",
    TOLD: "The same, with each list of `--device-list-strategy`. A kubelet drops what its release does not know of an "
    "answer: annotations up to 1.9, the names of CDI devices up to 1.28. These releases are in CI. "
    "`make test-ways` takes all eight.",
    CARDS: "The same, with a ConnectX-6 and a Solarflare X2522 made up of files, as an exclusive, a shared and a "
    "pooled resource beside GPUs. These releases are in CI. `make test-kubelets KUBELETS=all` takes all eight.",
    COMPARED: "A test plugin, separate from the gateway, played each scenario to both kubelets of a release. "
    "Their answers, error texts, device counts, containers and calls were compared.",
}
_CLAIMS = {
    GATEWAY: "Every scenario passed with both kubelets of every release.",
    COMBINED: "Every scenario passed with both kubelets of every release.",
    TOLD: "Every scenario passed with both kubelets of every release. 1.9.11 has one of them, for its dialect.",
    CARDS: "Every scenario passed with both kubelets of every release.",
    COMPARED: "In every scenario and release both kubelets behaved the same.",
}
_LEGEND = "✓ passed, ✗ failed, ○ not run completely."
_OUTCOMES = {None: "not run", True: "passed", False: "FAILED"}


class Cell(NamedTuple):
    """The place of a test's result."""

    table: str
    release: str
    column: str
    kind: str
    """The kind of kubelet; empty if both were compared."""


class Table:
    """Collects the results of all tests; a plugin of pytest."""

    def __init__(self, expected: Collection[Cell]) -> None:
        self._expected = dict.fromkeys(expected)
        self._outcomes: dict[Cell, bool] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note the result of a test. A test passes only if its setup and teardown pass too."""
        for name, value in report.user_properties:
            if name == "cell" and isinstance(value, list | tuple):
                cell = Cell(*value)
                self._outcomes[cell] = self._outcomes.get(cell, True) and report.passed

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the tables. Write the page if no cell is missing and all have passed."""
        if not self._outcomes:
            return
        tables = [name for name in _EXPLAINED if any(cell.table == name for cell in self._outcomes)]
        text = "\n".join(self._section(name) for name in tables)
        terminalreporter.write_line(f"\n{text}")
        if self._outcomes.keys() == self._expected.keys() and all(self._outcomes.values()):
            PAGE.parent.mkdir(exist_ok=True)
            PAGE.write_text(f"{_ABOUT}\n{text}")

    def _section(self, name: str) -> str:
        outcomes = {cell: outcome for cell, outcome in self._outcomes.items() if cell.table == name}
        places = list(dict.fromkeys(cell for cell in (*self._expected, *outcomes) if cell.table == name))
        each = [cell for cell in places if cell.release != EVERY_RELEASE]
        releases = sorted({cell.release for cell in each}, key=_by_number)
        scenarios = list(dict.fromkeys(cell.column for cell in each))
        counts = f"{_count(scenarios, 'scenario')} and {_count(releases, 'release')}"
        is_whole = len(outcomes) == len(places) and all(outcomes.values())
        lines = [f"## {name}", "", _EXPLAINED[name], "", f"{counts}. {_CLAIMS[name] if is_whole else _LEGEND}", ""]
        lines += [" · ".join(f"{_shown(release)} {_mark(release, each, outcomes)}" for release in releases), ""]
        lines += ["Scenarios:", "", *(f"- {scenario}" for scenario in scenarios), ""]
        for cell in (cell for cell in places if cell.release == EVERY_RELEASE and cell.kind != "fake"):
            lines += [f"{_sentence(cell.column)}: {_words(outcomes, cell)}.", ""]
        failed = dict.fromkeys(cell._replace(kind="") for cell, passed in outcomes.items() if not passed)
        if failed:
            lines += ["Failed:", ""]
            lines += [f"- {cell.column}, {_shown(cell.release)}: {_words(outcomes, cell)}" for cell in failed]
            lines += [""]
        if len(outcomes) < len(places):
            lines += [f"Not run: {len(places) - len(outcomes)} of {len(places)}.", ""]
        return "\n".join(lines)


def _by_number(release: str) -> list[int]:
    return [int(part) for part in release.removeprefix("v").split(".")]


def _shown(release: str) -> str:
    return "all releases" if release == EVERY_RELEASE else release.removeprefix("v")


def _mark(release: str, cells: Collection[Cell], outcomes: Mapping[Cell, bool]) -> str:
    """Return the mark of a release. It is good only if all scenarios ran and passed there."""
    found = [outcomes.get(cell) for cell in cells if cell.release == release]
    return "✗" if False in found else "○" if None in found else "✓"


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]


def _count(things: Collection[str], what: str) -> str:
    return f"{len(things)} {what}{'' if len(things) == 1 else 's'}"


def _words(outcomes: Mapping[Cell, bool], cell: Cell) -> str:
    """Return the result of a scenario in words, for each kind of kubelet if there are two."""
    both, genuine, fake = (outcomes.get(cell._replace(kind=kind)) for kind in ("", "genuine", "fake"))
    if both is not None:
        return "same" if both else "DIFFERENT"
    found = (("genuine", genuine), ("fake", fake))
    return ", ".join(f"{kind} kubelet {_OUTCOMES[outcome]}" for kind, outcome in found)
