"""`config.map` and `config.name` of the chart: one configuration for each node, as in NVIDIA's chart."""

from pathlib import Path
from typing import Any

import pytest

from deployment.chart import daemonset, refused, rendered
from deployment.test_chart import rights, volumes

SHARED = "version: v1\nsharing:\n  timeSlicing:\n    resources:\n    - name: nvidia.com/gpu\n      replicas: 4\n"
MAP = {"default": "version: v1\n", "shared": SHARED, "a.100": {"version": "v1", "flags": {"logLevel": "debug"}}}


def container(folder: Path, config: dict[str, Any]) -> Any:
    return daemonset(folder, {"config": config})["spec"]["template"]["spec"]["containers"][0]


@pytest.mark.parametrize(
    ("config", "flags"),
    [
        ({"map": MAP}, ["--config-fallback-strategies=named,single"]),
        ({"map": MAP, "default": "shared"}, ["--config-default=shared", "--config-fallback-strategies=named,single"]),
        ({"name": "mine", "fallbackStrategies": ["empty"]}, ["--config-fallback-strategies=empty"]),
        ({"name": "mine", "default": None, "fallbackStrategies": None, "use": "a"}, ["--config-name=a"]),
    ],
)
def test_the_gateway_is_told_of_the_folder_and_how_to_choose(
    config: dict[str, Any], flags: list[str], tmp_path: Path
) -> None:
    found = container(tmp_path, config)
    assert [each for each in found["args"] if "config" in each] == ["--config-dir=/config", *flags]
    (mount,) = (each for each in found["volumeMounts"] if each["name"] == "config")
    assert (mount["mountPath"], "subPath" in mount) == ("/config", False)
    names = [each["name"] for each in found["env"]]
    assert ("NODE_NAME" in names) is ("use" not in config)


def test_each_file_of_the_map_is_a_key_of_the_config_map(tmp_path: Path) -> None:
    objects = rendered(tmp_path, {"config": {"map": MAP}})
    (made,) = (each for each in objects if each["kind"] == "ConfigMap")
    assert made["data"] == {
        "default": "version: v1\n", "shared": SHARED, "a.100": "flags:\n  logLevel: debug\nversion: v1\n",
    }  # fmt: skip
    (volume,) = (
        each for each in daemonset(tmp_path, {"config": {"map": MAP}})["spec"]["template"]["spec"]["volumes"]
        if each["name"] == "config"
    )  # fmt: skip
    assert volume["configMap"]["name"] == made["metadata"]["name"]
    annotations = daemonset(tmp_path, {"config": {"map": MAP}})["spec"]["template"]["metadata"].get("annotations", {})
    assert "checksum/config" not in annotations, "a change needs no restart"


def test_one_file_that_asks_for_mig_or_mps_is_enough_for_the_rights(tmp_path: Path) -> None:
    config = {"map": {**MAP, "mig": "version: v1\nflags:\n  migStrategy: mixed\n  mpsRoot: /run/mps\n"}}
    security, monitor, flags = rights(tmp_path, {"config": config})
    assert (security["capabilities"]["add"], monitor, flags) == (["SYS_ADMIN"], "all", [])
    assert volumes(tmp_path, {"config": config})["mps-root"][0] == "/run/mps"
    files = {"default": "flags: {migStrategy: none}", "no": "flags:"}
    security, monitor, _ = rights(tmp_path, {"config": {"map": files}})
    assert (security["capabilities"], monitor) == ({"drop": ["ALL"]}, None)
    assert rights(tmp_path, {"config": config, "migStrategy": "none"})[1] is None, "the flag beats every file"


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"map": MAP, "name": "x"}, "one of the three"),
        ({"map": MAP, "file": {"version": "v1"}}, "one of the three"),
        ({"default": "a"}, "need config.map or config.name"),
        ({"use": "a"}, "need config.map or config.name"),
        ({"map": MAP, "default": "b"}, "config.map has no file b"),
        ({"map": {"a": "{"}}, "config.map.a is not YAML"),
        ({"map": {"a/b": "version: v1"}}, "a/b"),
        ({"name": "x", "fallbackStrategies": ["best"]}, "fallbackStrategies"),
    ],
)
def test_what_does_not_go_together_is_refused(config: dict[str, Any], words: str, tmp_path: Path) -> None:
    assert words in refused(tmp_path, {"config": config})
