"""`config-manager` chooses the configuration that NVIDIA's program chooses, and says why where it can choose none."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.api_server import ApiServer, api_server
from plugin_gateway.adapters.commands.config_manager import LABEL, NotChosenError, choose, run
from plugin_gateway.core.errors import InvalidValueError

NODE = "node-1"
FIRST = ("named", "single")
"""The strategies of NVIDIA's chart unless its values say otherwise."""


@pytest.mark.parametrize(
    ("wanted", "default", "strategies", "names", "chosen"),
    [
        ("b", "a", FIRST, ("a", "b"), "b"),
        ("", "a", FIRST, ("a", "default"), "a"),
        ("", "", FIRST, ("a", "default"), "default"),
        ("", "", FIRST, ("a",), "a"),
        ("", "", ("empty", "named"), ("a", "default"), ""),
        ("", "", (*FIRST, "empty"), ("a", "b"), ""),
        ("", "", ("empty",), (), ""),
    ],
)
def test_the_label_comes_first_then_the_default_then_the_strategies(
    wanted: str, default: str, strategies: tuple[str, ...], names: tuple[str, ...], chosen: str
) -> None:
    assert choose(wanted, default, strategies, names) == chosen


@pytest.mark.parametrize(
    ("wanted", "default", "strategies", "names", "words"),
    [
        ("c", "a", FIRST, ("a", "b"), "the node's label asks for the configuration 'c'; there are a, b"),
        ("", "c", FIRST, (), "DEFAULT_CONFIG asks for the configuration 'c'; there are none"),
        ("", "", FIRST, ("a", "b"), "FALLBACK_STRATEGIES (named, single) find none; there are a, b"),
        ("", "", (), ("a",), "FALLBACK_STRATEGIES (none) find none; there are a"),
    ],
)
def test_where_none_can_be_chosen_it_says_what_there_is(
    wanted: str, default: str, strategies: tuple[str, ...], names: tuple[str, ...], words: str
) -> None:
    with pytest.raises(NotChosenError) as refused:
        choose(wanted, default, strategies, names)
    assert words in str(refused.value)


@given(st.text(max_size=8), st.text(max_size=8), st.lists(st.sampled_from((*FIRST, "empty"))), st.sets(st.text()))
def test_what_is_chosen_is_there_or_empty(wanted: str, default: str, strategies: list[str], names: set[str]) -> None:
    try:
        chosen = choose(wanted, default, strategies, sorted(names))
    except NotChosenError:
        return
    assert not chosen or chosen in names


class Pod:
    """The folders and the environment of NVIDIA's init container."""

    def __init__(self, folder: Path, server: ApiServer) -> None:
        self.configs, self.target = folder / "available-configs", folder / "config/config.yaml"
        data = self.configs / "..2026"
        data.mkdir(parents=True)
        self.target.parent.mkdir()
        (self.configs / "..data").symlink_to(data.name)
        for name in ("default", "other"):
            (data / name).write_text(f"version: v1 # {name}\n")
            (self.configs / name).symlink_to(f"..data/{name}")
        self.server = server
        self.environment = {
            **server.environment,
            "ONESHOT": "true",
            "KUBECONFIG": "",
            "NODE_NAME": NODE,
            "CONFIG_FILE_SRCDIR": str(self.configs),
            "CONFIG_FILE_DST": str(self.target),
            "DEFAULT_CONFIG": "",
            "FALLBACK_STRATEGIES": "named,single",
        }

    def label(self, **labels: str) -> None:
        self.server.words = json.dumps({"metadata": {"name": NODE, "labels": labels}}).encode()

    def run(self, **changed: str) -> int:
        return run({**self.environment, **changed}, self.server.service_account)


@pytest.fixture
def pod(tmp_path: Path) -> Iterator[Pod]:
    with api_server(tmp_path / "account") as server:
        made = Pod(tmp_path, server)
        made.label()
        yield made


def test_once_it_links_what_the_label_of_its_node_says(pod: Pod, capsys: pytest.CaptureFixture[str]) -> None:
    assert pod.run() == 0
    assert "# default" in pod.target.read_text()
    assert capsys.readouterr().out == f"{pod.target} leads to {pod.configs / 'default'}\n"
    pod.label(**{LABEL: "other"})
    assert pod.run() == 0
    assert "# other" in pod.target.read_text()
    pod.label(**{LABEL: "other", "own": "default"})
    assert pod.run(NODE_LABEL="own") == 0
    assert "# default" in pod.target.read_text()
    assert [path.name for path in pod.target.parent.iterdir()] == ["config.yaml"]


def test_without_a_configuration_it_links_an_empty_file(pod: Pod) -> None:
    assert pod.run(FALLBACK_STRATEGIES="empty") == 0
    assert str(pod.target.readlink()) == os.devnull
    assert pod.target.read_text() == ""


def test_a_label_that_leads_out_of_the_folder_is_refused(pod: Pod) -> None:
    pod.label(**{LABEL: "../account/token"})
    with pytest.raises(NotChosenError, match=r"'\.\./account/token'; there are default, other"):
        pod.run()
    assert not pod.target.exists()


@pytest.mark.parametrize(
    ("status", "words", "message"),
    [
        (403, b"{}", "403 Forbidden; the account needs `get` of `nodes`"),
        (200, b"[]", "the answer is no node"),
        (200, b'{"metadata": []}', "the answer is no node"),
        (200, b"\xff", "can't decode"),
    ],
)
def test_a_label_that_cannot_be_read_leaves_the_link_as_it_is(
    pod: Pod, status: int, words: bytes, message: str
) -> None:
    pod.run()
    pod.server.status, pod.server.words = status, words
    with pytest.raises(NotChosenError) as refused:
        pod.run()
    assert f"the label {LABEL} of node {NODE} cannot be read" in str(refused.value)
    assert message in str(refused.value)
    assert "# default" in pod.target.read_text()


def test_no_api_server_is_a_reason_too(pod: Pod) -> None:
    with pytest.raises(NotChosenError, match="KUBERNETES_SERVICE_HOST is not set"):
        pod.run(KUBERNETES_SERVICE_HOST="")
    with pytest.raises(NotChosenError, match="Connection refused"):
        pod.run(KUBERNETES_SERVICE_PORT="1")


@pytest.mark.parametrize("name", ["NODE_NAME", "CONFIG_FILE_SRCDIR", "CONFIG_FILE_DST"])
def test_a_variable_that_is_missing_is_named(pod: Pod, name: str) -> None:
    with pytest.raises(InvalidValueError, match=f"{name} is empty"):
        pod.run(**{name: ""})


def test_what_it_does_not_read_is_refused(pod: Pod) -> None:
    with pytest.raises(InvalidValueError, match="KUBECONFIG: '/root/config' is not read"):
        pod.run(KUBECONFIG="/root/config")
    with pytest.raises(InvalidValueError, match="'first', allowed are named, single and empty"):
        pod.run(FALLBACK_STRATEGIES="first")


def test_a_folder_that_cannot_be_read_or_written_is_named(pod: Pod, tmp_path: Path) -> None:
    with pytest.raises(NotChosenError, match=r"CONFIG_FILE_SRCDIR: .*nowhere: No such file"):
        pod.run(CONFIG_FILE_SRCDIR=str(tmp_path / "nowhere"))
    with pytest.raises(NotChosenError, match=r"CONFIG_FILE_DST: .* cannot be written: No such file"):
        pod.run(CONFIG_FILE_DST=str(tmp_path / "nowhere/config.yaml"))
