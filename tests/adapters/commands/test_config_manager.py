"""`config-manager` chooses the configuration that NVIDIA's program chooses, and says why where it can choose none."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.api_server import ApiServer, api_server
from plugin_gateway.adapters.commands import config_manager
from plugin_gateway.adapters.commands.config_manager import NotLinkedError, run
from plugin_gateway.adapters.configuration.folder_options import LABEL
from plugin_gateway.adapters.configuration.options import run_options
from plugin_gateway.adapters.configuration.reading import decide
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.nvidia.evidence import HEALTH_POLICY

NODE = "node-1"


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

    def label(self, key: str, value: str) -> None:
        self.server.node.label(**{key.replace("/", "__"): value})

    def run(self, **changed: str) -> int:
        return run({**self.environment, **changed}, self.server.service_account)


@pytest.fixture
def pod(tmp_path: Path) -> Iterator[Pod]:
    with api_server(tmp_path / "account") as server:
        yield Pod(tmp_path, server)


def test_once_it_links_what_the_label_of_its_node_says(pod: Pod, capsys: pytest.CaptureFixture[str]) -> None:
    assert pod.run() == 0
    assert "# default" in pod.target.read_text()
    out = f"{pod.target} leads to {pod.configs / 'default'}: fallback strategy named\n"
    assert capsys.readouterr().out == out
    pod.label(LABEL, "other")
    assert pod.run() == 0
    assert "# other" in pod.target.read_text()
    pod.label("own", "default")
    assert pod.run(NODE_LABEL="own") == 0
    assert "# default" in pod.target.read_text()
    assert [path.name for path in pod.target.parent.iterdir()] == ["config.yaml"]


def test_without_a_configuration_it_links_an_empty_file(pod: Pod) -> None:
    assert pod.run(FALLBACK_STRATEGIES="empty") == 0
    assert str(pod.target.readlink()) == os.devnull
    assert pod.target.read_text() == ""


def test_the_plugin_starts_with_all_defaults_where_an_empty_file_is_linked(pod: Pod) -> None:
    assert pod.run(FALLBACK_STRATEGIES="empty") == 0
    decisions = decide(run_options(("auto",), str), {}, {"CONFIG_FILE": str(pod.target)}, lambda: HEALTH_POLICY)
    assert decisions.options.config_file == pod.target
    assert set(decisions.sources.values()) == {"environment CONFIG_FILE", "default"}


def test_a_label_that_leads_out_of_the_folder_is_refused(pod: Pod) -> None:
    pod.label(LABEL, "../account/token")
    with pytest.raises(InvalidValueError, match=r"'\.\./account/token' is no file of .*; expected default, other"):
        pod.run()
    assert not pod.target.exists()


@pytest.mark.parametrize(("status", "words"), [(403, "403"), (500, "500"), (200, "no node")])
def test_a_label_that_cannot_be_read_leaves_the_link_as_it_is(
    pod: Pod, status: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config_manager, "PATIENCE", 0.5)
    pod.run()
    pod.server.status, pod.server.node.words = status, b"[]"
    with pytest.raises(NotLinkedError, match=f"the label {LABEL} of node {NODE} cannot be read: .*{words}"):
        pod.run()
    assert "# default" in pod.target.read_text()


def test_no_api_server_is_a_reason_too(pod: Pod, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_manager, "PATIENCE", 0.5)
    with pytest.raises(NotLinkedError, match="KUBERNETES_SERVICE_HOST is not set"):
        pod.run(KUBERNETES_SERVICE_HOST="")
    with pytest.raises(NotLinkedError, match="Connection refused"):
        pod.run(KUBERNETES_SERVICE_PORT="1")


@pytest.mark.parametrize("name", ["NODE_NAME", "CONFIG_FILE_SRCDIR", "CONFIG_FILE_DST"])
def test_a_variable_that_is_missing_is_named(pod: Pod, name: str) -> None:
    with pytest.raises(InvalidValueError, match=f"{name} is empty"):
        pod.run(**{name: ""})


def test_what_it_does_not_read_is_refused(pod: Pod) -> None:
    with pytest.raises(InvalidValueError, match="KUBECONFIG: '/root/config' is not read"):
        pod.run(KUBECONFIG="/root/config")
    with pytest.raises(InvalidValueError, match="invalid value 'first'; expected named, single, empty"):
        pod.run(FALLBACK_STRATEGIES="first")


def test_a_folder_that_cannot_be_read_or_written_is_named(pod: Pod, tmp_path: Path) -> None:
    with pytest.raises(InvalidValueError, match=r"nowhere: No such file"):
        pod.run(CONFIG_FILE_SRCDIR=str(tmp_path / "nowhere"))
    with pytest.raises(NotLinkedError, match=r"CONFIG_FILE_DST: .* cannot be written: No such file"):
        pod.run(CONFIG_FILE_DST=str(tmp_path / "nowhere/config.yaml"))
