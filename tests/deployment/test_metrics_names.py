"""The metrics pass the linter of `promtool check metrics`, which `make test-deployment` builds."""

import subprocess
from pathlib import Path

from harness.node import RESOURCE, Node, running, until
from harness.pages import page_of
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release

LINTER = Path(__file__).parents[2] / "build" / "promlint" / "promlint"
PASSED, FAILED = 0, 3


def lint(text: str) -> tuple[int, str]:
    done = subprocess.run((str(LINTER),), input=text, check=False, timeout=60, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


async def test_the_linter_of_prometheus_has_nothing_to_say(kubelet_dir: Path) -> None:
    node = Node(kubelet_dir)
    async with FakeKubelet(kubelet_dir, release("1.37")) as kubelet, running(node):
        await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 8, what="8 devices")
        await kubelet.allocate(RESOURCE, 2, pod="p")
        node.fail(3, 79)
        node.fail(4, 31)
        await until(lambda: len(node.backend.counted.evidence) == 1, "the evidence")
        text = (await page_of(node, "/metrics", kubelet_dir)).body
    assert lint(text) == (PASSED, "")


def test_the_linter_finds_a_name_that_is_not_as_prometheus_wants_it() -> None:
    text = "# HELP x_milliseconds How long.\n# TYPE x_milliseconds counter\nx_milliseconds 1\n"
    status, told = lint(text)
    assert status == FAILED
    assert "x_milliseconds" in told
