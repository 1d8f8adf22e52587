"""The command line as a user meets it: exit status, standard output, and the one line about a mistake."""

import argparse
import os
import pty
import subprocess
import sys
import termios
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple, NoReturn

import pytest

from plugin_gateway.__main__ import COMMANDS
from plugin_gateway.__main__ import main as program
from plugin_gateway.adapters.commands.command_line import PROGRAM, Command, SubCommand, fail, main
from plugin_gateway.adapters.commands.flags import add_options, given_flags
from plugin_gateway.adapters.configuration.kinds import word_of
from plugin_gateway.adapters.configuration.option import GivenFlag
from plugin_gateway.adapters.configuration.options import run_options
from plugin_gateway.core.errors import InvalidValueError

OPTIONS = run_options(("auto", "v1beta1"), word_of(("auto", "nvml")))
NAMES = (
    "run, devices, doctor, bundle, inspect, status, health, reload, driver, health-policy, labels, translate-config, "
    "replay, fake-kubelet, demo, config-manager, mps-control-daemon"
)
BEFORE = "expected --help or --version before a command"
MODELS = "with 1 to 50000 of T4, V100, A100, L40S, H100, H200, B200"


class Ended(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for option in OPTIONS:
        for variable in option.variables:
            monkeypatch.delenv(variable, raising=False)


def run_program(capsys: pytest.CaptureFixture[str], *arguments: str) -> Ended:
    """The whole program, ended by what its command line says."""
    with pytest.raises(SystemExit) as ended:
        sys.exit(program(arguments))
    assert isinstance(ended.value.code, int)
    out, err = capsys.readouterr()
    return Ended(ended.value.code, out, err)


def assert_one_line(ended: Ended, message: str) -> None:
    assert ended == Ended(2, "", f"{PROGRAM}: {message}\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serve"], f"unknown command 'serve'; expected {NAMES}"),
        (["runn"], f"unknown command 'runn'; expected {NAMES}; did you mean run?"),
        (["fake_kubelet"], f"unknown command 'fake_kubelet'; expected {NAMES}; did you mean fake-kubelet?"),
        (["halp"], f"unknown command 'halp'; expected {NAMES}; did you mean help?"),
        (["versoin"], f"unknown command 'versoin'; expected {NAMES}; did you mean version?"),
        (["help", "serve"], f"unknown command 'serve'; expected {NAMES}"),
        (["--json"], f"unknown flag --json; {BEFORE}"),
        (["health"], "the following arguments are required: clear|accept (see plugin-gateway health --help)"),
        (["driver"], "the following arguments are required: release|take (see plugin-gateway driver --help)"),
        ([""], f"unknown command ''; expected {NAMES}"),
        (["--versoin"], f"unknown flag --versoin; {BEFORE}; did you mean --version?"),
        (["--backend", "run"], f"unknown flag --backend; {BEFORE}; did you mean plugin-gateway run --backend?"),
        (["--log-level=debug"], (f"unknown flag --log-level=debug; {BEFORE}; "
         "did you mean plugin-gateway run --log-level=debug?")),
        (["run", "--log-level=loud", "--log-level=info"],
         "--log-level: invalid value 'loud'; expected debug, info, warning, error"),
        (["run", "--device-discovery-strategy=tegra", "--device-discovery-strategy=auto"],
         ("--device-discovery-strategy: 'tegra' is not supported by plugin-gateway; expected auto or nvml: "
          "GPUs are found through NVML")),
        (["run", "--gds-enabled=maybe", "--gds-enabled=false"],
         "--gds-enabled: invalid value 'maybe'; expected true or false"),
        (["run", "--device-list-strategy=envvar", "--device-list-strategy=cdi"],
         "--device-list-strategy: invalid value 'cdi'; expected envvar, volume-mounts, cdi-annotations, cdi-cri"),
        (["run", "--mig-strategy=both"], "--mig-strategy: invalid value 'both'; expected none, single, mixed"),
        (["run", "--bogus=1"], "unknown flag --bogus=1 (see plugin-gateway run --help)"),
        (["run", "--log-levl", "debug"],
         "unknown flag --log-levl; did you mean --log-level? (see plugin-gateway run --help)"),
        (["run", "--log", "debug"], "unknown flag --log; did you mean --log-level? (see plugin-gateway run --help)"),
        (["run", "extra"], "unexpected argument extra (see plugin-gateway run --help)"),
        (["run", "two\nlines"], r"unexpected argument two\nlines (see plugin-gateway run --help)"),
        (["run", "--kubelet-dir"], "--kubelet-dir: expected one argument (see plugin-gateway run --help)"),
        (["run", "--api-version", "v2"],
         "--api-version: invalid value 'v2'; expected auto, v1beta1, v1alpha, v1alpha2, 0.1"),
        (["run", "--pass-device-specs=perhaps"],
         "--pass-device-specs: invalid value 'perhaps'; expected true or false"),
        (["run", "--resource-name", "kubernetes.io/gpu"],
         "--resource-name: resource name 'kubernetes.io/gpu': kubelets refuse every name that contains kubernetes.io/"),
        (["run", "--config-file", "/nowhere/config.yaml"],
         "configuration file /nowhere/config.yaml: No such file or directory"),
        (["devices", "--jsn"], "unknown flag --jsn; did you mean --json? (see plugin-gateway devices --help)"),
        (["devices", "--backend=simulated:0xH100"],
         "--backend: GPUs to simulate '0xH100'; expected COUNTxMODEL such as 8xH100, or several such as "
         "4xA100+4xT4, " + MODELS),
        (["demo", "--fast"], "unknown flag --fast (see plugin-gateway demo --help)"),
        (["fake-kubelet"],
         "the following arguments are required: --kubelet-dir (see plugin-gateway fake-kubelet --help)"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_and_exit_2(
    arguments: Sequence[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_one_line(run_program(capsys, *arguments), message)


@pytest.mark.parametrize(("words", "flag"), [(["help"], ["--help"]), (["version"], ["--version"])])
def test_a_word_in_place_of_a_flag_means_the_same(
    words: Sequence[str], flag: Sequence[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_program(capsys, *words) == run_program(capsys, *flag)
    assert run_program(capsys, *words).status == 0


def test_help_for_a_command_is_that_of_its_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program(capsys, "help", "reload") == run_program(capsys, "reload", "--help")


def test_ctrl_c_while_the_program_is_being_loaded_ends_it_without_a_traceback() -> None:
    interrupting = (
        "import sys\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name.endswith('.command_line'): raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupting())\n"
        "import plugin_gateway.__main__\n"
    )
    done = subprocess.run([sys.executable, "-c", interrupting], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_a_mistake_in_the_environment_names_the_variable(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOG_FORMAT", "xml")
    assert_one_line(
        run_program(capsys, "run"),
        "environment variable LOG_FORMAT: invalid value 'xml'; expected auto, json, json-gcp, text",
    )


def test_a_mistake_in_the_file_names_the_place(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("version: v1\nflags:\n  logFormat: xml\n")
    assert_one_line(
        run_program(capsys, "run", f"--config-file={path}"),
        f"{path}:3:14: flags.logFormat: invalid value 'xml'; expected auto, json, json-gcp, text",
    )


def test_each_mistake_in_the_file_gets_a_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("version: v1\nflags:\n  logFormat: xml\n  logLevel: loud\n")
    ended = run_program(capsys, "run", f"--config-file={path}")
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.splitlines() == [
        f"plugin-gateway: {path}:3:14: flags.logFormat: invalid value 'xml'; expected auto, json, json-gcp, text",
        f"plugin-gateway: {path}:4:13: flags.logLevel: invalid value 'loud'; expected debug, info, warning, error",
    ]


def test_the_program_alone_shows_its_commands_and_exits_2(capsys: pytest.CaptureFixture[str]) -> None:
    ended = run_program(capsys)
    assert (ended.status, ended.out) == (2, "")
    assert ended.err == run_program(capsys, "--help").out
    for name, command in COMMANDS.items():
        assert f"\n  {name} " in ended.err
        assert command.help.split()[0] in ended.err


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_is_for_standard_output_and_exit_0(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([flag], *([name, flag] for name in COMMANDS)):
        ended = run_program(capsys, *arguments)
        assert (ended.status, ended.err) == (0, "")
        assert ended.out.startswith("usage: plugin-gateway ")


def test_the_version_is_that_of_the_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program(capsys, "--version") == Ended(0, f"plugin-gateway {version('plugin-gateway')}\n", "")


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_help_fits_the_terminal(
    columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a single word, such as a flag with its value, may be wider; examples can be copied as they are."""
    monkeypatch.setenv("COLUMNS", str(columns))
    for arguments in (["--help"], *([name, "--help"] for name in ("run", "devices", "demo"))):
        text = run_program(capsys, *arguments).out.partition("examples:")[0]
        too_wide = [line for line in text.splitlines() if len(line) > columns]
        assert columns < 80 or not too_wide
        assert all(line.lstrip().startswith(("-", "/", "usage:")) for line in too_wide)


@pytest.mark.parametrize("columns", ["", "wide", "0x50"])
def test_help_has_80_columns_where_nothing_tells_how_many_there_are(
    columns: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = run_program(capsys, "run", "--help").out
    monkeypatch.setenv("COLUMNS", columns)
    assert run_program(capsys, "run", "--help").out == expected


def test_the_help_of_run_tells_for_every_option_variable_and_default(capsys: pytest.CaptureFixture[str]) -> None:
    text = " ".join(run_program(capsys, "run", "--help").out.split())
    for option in OPTIONS:
        for name in option.flags:
            assert name in text
        assert f"[{', '.join(option.variables)}]" in text
        assert f"default: {option.default_in_words} [" in text
    assert text.count("default: ") == len(OPTIONS)
    assert "plugin-gateway run --backend simulated:8xH100" in text


def test_a_path_in_the_help_is_not_broken(capsys: pytest.CaptureFixture[str]) -> None:
    assert "/var/lib/kubelet/device-plugins" in run_program(capsys, "run", "--help").out


def no_version() -> NoReturn:
    raise AssertionError("the version was asked for")


def not_touched(_: argparse.ArgumentParser) -> NoReturn:
    raise AssertionError("arguments of a command that was not chosen")


def own_commands(seen: list[Mapping[str, GivenFlag]], description: str = "") -> dict[str, Command]:
    def take(parsed: argparse.Namespace) -> int:
        seen.append(given_flags(OPTIONS, parsed))
        return 7

    return {
        "take": Command("take", lambda: SubCommand(lambda parser: add_options(parser, OPTIONS), take, description)),
        "other": Command("other", lambda: SubCommand(not_touched, take)),
    }


@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        ([], {}),
        (["--log-level", "debug"], {"log_level": ("--log-level", "debug")}),
        (["--log-level=debug", "--log-level=error"], {"log_level": ("--log-level", "error")}),
        (["--log-level="], {"log_level": ("--log-level", "")}),
        (["--nvidia-driver-root=/x"], {"driver_root": ("--nvidia-driver-root", "/x")}),
        (["--fail-on-init-error"], {"fail_on_init_error": ("--fail-on-init-error", "true")}),
        (["--fail-on-init-error=false"], {"fail_on_init_error": ("--fail-on-init-error", "false")}),
        (
            ["--fail-on-init-error", "--log-level=info"],
            {"fail_on_init_error": ("--fail-on-init-error", "true"), "log_level": ("--log-level", "info")},
        ),
    ],
)
def test_flags_that_were_given_are_kept_with_the_name_that_was_used(
    arguments: Sequence[str], given: Mapping[str, tuple[str, str]]
) -> None:
    seen: list[Mapping[str, GivenFlag]] = []
    assert main(own_commands(seen), ["take", *arguments], no_version) == 7
    assert [{name: each[:2] for name, each in flags.items()} for flags in seen] == [given]


def test_a_description_keeps_its_paragraphs_and_its_examples(capsys: pytest.CaptureFixture[str]) -> None:
    words = "word " * 30
    commands = own_commands([], description=f"{words}\n\n{words}\n\nfor example:\n  one  line")
    with pytest.raises(SystemExit):
        main(commands, ["take", "--help"], no_version)
    paragraphs = capsys.readouterr().out.split("\n\n")
    wrapped = paragraphs[1]
    assert len(wrapped.splitlines()) == 2
    assert paragraphs[2] == wrapped
    assert paragraphs[3] == "for example:\n  one  line"


def test_what_a_command_refuses_is_one_line_and_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(_: argparse.Namespace) -> int:
        raise InvalidValueError("wrong\nin \x1b[31mcolour")

    commands = {"refuse": Command("refuse", lambda: SubCommand(lambda _: None, refuse))}
    with pytest.raises(SystemExit) as ended:
        main(commands, ["refuse"], no_version)
    assert ended.value.code == 2
    assert capsys.readouterr().err == "plugin-gateway: wrong\\nin \\x1b[31mcolour\n"


def test_a_word_that_is_not_utf8_is_shown_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        fail(os.fsdecode(b"caf\xe9"))
    assert capsys.readouterr().err == "plugin-gateway: caf\\udce9\n"


def test_help_on_a_narrow_terminal_is_narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A genuine terminal, which has no COLUMNS variable."""
    monkeypatch.delenv("COLUMNS")
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 50))
    with subprocess.Popen([sys.executable, "-m", "plugin_gateway", "--help"], stdout=theirs) as process:
        os.close(theirs)
        shown = b""
        while b"--version" not in shown:
            shown += os.read(ours, 4096)
        assert process.wait(timeout=30) == 0
    os.close(ours)
    assert max(len(line.rstrip()) for line in shown.decode().splitlines()[4:8]) <= 50


def test_only_what_a_mistake_needs_is_imported() -> None:
    """Start-up is measured in milliseconds; these are for people, files and other commands."""
    code = (
        "import sys\n"
        "from plugin_gateway.adapters.commands.command_line import main, Command, SubCommand\n"
        "from plugin_gateway.adapters.commands.flags import add_options, given_flags\n"
        "from plugin_gateway.adapters.configuration.options import run_options\n"
        "from plugin_gateway.adapters.configuration.reading import decide\n"
        "options = run_options(('auto',), str)\n"
        "def run(parsed):\n"
        "    print(decide(options, given_flags(options, parsed), {}, dict).options.log_level)\n"
        "    print(*sorted({'yaml', 'difflib', 'textwrap', 'shutil', 'importlib.metadata', 'rich', 'grpc', 'structlog',"
        " 'asyncio', 'dataclasses', 'pathlib'} & sys.modules.keys()))\n"
        "    return 0\n"
        "take = Command('', lambda: SubCommand(lambda parser: add_options(parser, options), run))\n"
        "sys.exit(main({'take': take}, ['take', '--log-level=debug'], str))\n"
    )
    # -S: a virtual environment's own start-up files import what they like.
    paths = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "debug\n\n", "")
