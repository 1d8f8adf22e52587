"""Which file of ``--config-dir`` is the configuration file of a node: the rules of NVIDIA's config-manager."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugin_gateway.adapters.configuration.config_folder import Chosen, choose_file, find_folder_version
from plugin_gateway.adapters.configuration.kinds import Words
from plugin_gateway.adapters.configuration.option import GivenFlag
from plugin_gateway.adapters.configuration.options import Options
from plugin_gateway.adapters.configuration.reading import decide
from plugin_gateway.adapters.configuration.settings import Settings, make_settings
from plugin_gateway.core.errors import CannotCheckError, InvalidValueError
from plugin_gateway.nvidia.evidence import HEALTH_POLICY

from .conftest import OPTIONS, Read

FILE = "version: v1\nflags: {migStrategy: single}\n"
OTHER = "version: v1\nflags: {migStrategy: mixed}\n"
LABEL = "nvidia.com/device-plugin.config"


def folder_of(folder: Path, *names: str) -> Path:
    """A folder as the kubelet keeps it for a ConfigMap."""
    data = folder / "..2026_01"
    data.mkdir(parents=True)
    (folder / "..data").symlink_to(data.name)
    for name in names:
        (data / name).write_text(OTHER if name == "mixed" else FILE)
        (folder / name).symlink_to(f"..data/{name}")
    return folder


def options_for(folder: Path, **others: object) -> Options:
    decided: dict[str, object] = {
        "config_dir": str(folder), "config_name": "", "config_label": LABEL, "config_default": "",
        "config_fallback_strategies": Words(("named", "single")), "node_name": "n1",
    }  # fmt: skip
    return Options(decided | others)


@pytest.mark.parametrize(
    ("names", "label", "others", "name", "source"),
    [
        (["a", "b"], "b", {}, "b", f"label {LABEL}"),
        (["a", "b"], "b", {"config_name": "a"}, "a", "--config-name"),
        (["a", "b"], "b", {"config_default": "a"}, "b", f"label {LABEL}"),
        (["a", "b"], None, {"config_default": "a"}, "a", "--config-default"),
        (["a", "b"], "", {"config_default": "a"}, "a", "--config-default"),
        (["a", "default"], None, {}, "default", "fallback strategy named"),
        (["a"], None, {}, "a", "fallback strategy single"),
        (["a"], None, {"config_fallback_strategies": Words(("empty", "single"))}, None, "fallback strategy empty"),
        (
            ["a", "b"],
            None,
            {"config_fallback_strategies": Words(("named", "single", "empty"))},
            None,
            "fallback strategy empty",
        ),
        (["a"], "a", {"config_label": "example.com/c"}, "a", "label example.com/c"),
    ],
)
def test_name_beats_label_beats_default_beats_fallback(
    names: Sequence[str], label: str | None, others: Mapping[str, object], name: str | None, source: str, tmp_path: Path
) -> None:
    folder = folder_of(tmp_path / "configs", *names)
    expected = Chosen(folder / name if name else None, source)
    assert choose_file(folder, options_for(folder, **others), label) == expected


@pytest.mark.parametrize(
    ("names", "label", "others", "problem"),
    [
        (["a", "b"], "c", {}, f"label {LABEL}: 'c' is no file of {{}}; expected a, b"),
        (["a", "b"], "..data", {}, f"label {LABEL}: '..data' is no file of {{}}; expected a, b"),
        (["a"], "../configs/a", {}, f"label {LABEL}: '../configs/a' is no file of {{}}; expected a"),
        (["default"], None, {"config_default": "c"}, "--config-default: 'c' is no file of {}; expected default"),
        (["a"], "a", {"config_name": "c"}, "--config-name: 'c' is no file of {}; expected a"),
        (
            [],
            None,
            {"config_fallback_strategies": Words(("empty",))},
            "--config-dir {}: it has no file; expected a folder",
        ),
        (["a", "b"], None, {}, "the fallback strategies named,single do not either, of a, b"),
        (["a"], None, {"config_fallback_strategies": Words()}, "the fallback strategies (none) do not either, of a"),
        (["a"], None, {"node_name": ""}, "--node-name is needed with --config-dir"),
        (list("abcdefghijklmnopqrstuvwx"), "z", {}, "q, r, s, t and 4 more"),
    ],
)
def test_what_is_not_there_is_said_with_all_that_is(
    names: Sequence[str], label: str | None, others: Mapping[str, object], problem: str, tmp_path: Path
) -> None:
    folder = folder_of(tmp_path / "configs", *names)
    with pytest.raises(InvalidValueError) as raised:
        choose_file(folder, options_for(folder, **others), label)
    assert problem.format(folder) in str(raised.value)


def test_a_folder_that_is_away_may_be_there_a_moment_later(tmp_path: Path) -> None:
    with pytest.raises(CannotCheckError, match=r"--config-dir /.*: No such file or directory"):
        choose_file(tmp_path / "away", options_for(tmp_path / "away"), "a")
    assert find_folder_version(tmp_path / "away") is None


@given(label=st.text())
def test_no_value_of_the_label_leads_out_of_the_folder(label: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp() / "any-label"
    if not folder.exists():
        folder_of(folder, "default", "a")
    try:
        chosen = choose_file(folder, options_for(folder), label)
    except InvalidValueError:
        assert label not in {"", "default", "a"}
    else:
        assert chosen.path == folder / (label or "default")


def settings_of(flags: Mapping[str, str], label: str | None = None, **environment: str) -> Settings:
    given = {name: GivenFlag(f"--{name.replace('_', '-')}", text) for name, text in flags.items()}

    def choose(folder: Path, options: Options) -> Chosen:
        return choose_file(folder, options, label)

    return make_settings(decide(OPTIONS, given, environment, lambda: HEALTH_POLICY, choose=choose))


def test_the_chosen_file_decides_as_if_it_were_the_only_one(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "configs", "default", "mixed")
    flags = {"config_dir": str(folder), "node_name": "n1"}
    for label, strategy in ((None, "single"), ("mixed", "mixed")):
        settings = settings_of(flags, label)
        assert settings.mig_strategy == strategy
        assert settings.config_file == folder / (label or "default")
        assert settings.sources["mig_strategy"] == f"file {settings.config_file}:2"
    assert settings.sources["config_file"] == f"label {LABEL}"


def test_without_a_file_the_defaults_hold(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "configs", "a", "b")
    settings = settings_of({"config_dir": str(folder)}, NODE_NAME="n1", FALLBACK_STRATEGIES="empty")
    assert (settings.config_file, settings.mig_strategy) == (None, "none")
    assert settings.sources["config_file"] == "fallback strategy empty"


def test_the_variables_of_nvidias_config_manager_mean_the_same(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "configs", "a", "mixed")
    settings = settings_of(
        {}, NODE_NAME="n1", CONFIG_FILE_SRCDIR=str(folder), DEFAULT_CONFIG="mixed", FALLBACK_STRATEGIES="named, single",
        NODE_LABEL="example.com/c",
    )  # fmt: skip
    assert (settings.mig_strategy, settings.config_label) == ("mixed", "example.com/c")
    assert settings.config_fallback_strategies == ("named", "single")


def test_a_name_without_a_folder_is_refused() -> None:
    with pytest.raises(InvalidValueError, match=r"^--config-dir is needed with --config-name \[CONFIG_DIR\]$"):
        settings_of({"config_name": "a"})


def test_a_name_as_a_flag_beats_the_variable(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "configs", "a", "b")
    settings = settings_of({"config_dir": str(folder), "config_name": "a"}, CONFIG_NAME="b")
    assert (settings.config_file, settings.sources["config_name"]) == (folder / "a", "flag --config-name")


def test_a_folder_and_a_file_are_one_too_many(tmp_path: Path, read: Read) -> None:
    folder = folder_of(tmp_path / "configs", "a")
    with pytest.raises(InvalidValueError, match="--config-dir and --config-file: one of the two; the first is from"):
        read([f"--config-dir={folder}", "--config-name=a"], {}, FILE)


@pytest.mark.parametrize(
    ("flag", "allowed"),
    [
        ("--config-name=../a", "invalid value '../a'; expected the name of a file"),
        ("--config-default=..data", "invalid value '..data'; expected the name of a file"),
        (
            "--config-label=a/",
            "invalid value 'a/'; expected the key of a label, such as nvidia.com/device-plugin.config",
        ),
        ("--config-label=", "invalid value ''; expected the key of a label"),
        ("--fallback-strategies=named,best", "invalid value 'best'; expected named, single, empty"),
    ],
)
def test_other_values_are_refused(flag: str, allowed: str, read: Read) -> None:
    with pytest.raises(InvalidValueError) as raised:
        read([flag])
    assert str(raised.value).startswith(f"{flag.partition('=')[0]}: {allowed}")
