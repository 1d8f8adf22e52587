"""The configuration file: NVIDIA's keys, and where and how every mistake in it is told."""

import os
import socket
from pathlib import Path

import pytest

from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.resources.names import parse_resource_name
from plugin_gateway.core.resources.policy import DeviceIdStrategy
from plugin_gateway.core.resources.rules import ResourceRule, Selector

from .conftest import Read

WHOLE = """\
version: v1
flags:
  migStrategy: none
  failOnInitError: true
  nvidiaDriverRoot: /run/nvidia/driver
  nvidiaDevRoot: /
  gdsEnabled: False
  deviceDiscoveryStrategy: auto
  logLevel: warning
  logFormat: json
  plugin:
    passDeviceSpecs: no
    deviceListStrategy: [envvar]
    deviceIDStrategy: index
    containerDriverRoot: "/driver-root"
    apiVersion: 0.1
resources:
  gpus:
  - pattern: "*H100*"
    name: h100
  - pattern: '*'
    name: example.com/gpu
"""

ENDS = "the part after / must be letters, digits, - _ . and start and end with a letter or digit"
QUOTES = "a value that begins with * needs quotes"


def complaint(read: Read, text: str | bytes, config_file: Path) -> str:
    """What is said, without the file's own path before the line."""
    with pytest.raises(InvalidValueError) as caught:
        read((), {}, text)
    return str(caught.value).replace(f"{config_file}:", "")


def test_every_key_is_read(read: Read, config_file: Path) -> None:
    settings = read((), {}, WHOLE)
    assert settings.fail_on_init_error is True
    assert settings.driver_root == "/run/nvidia/driver"
    assert settings.dev_root == "/"
    assert settings.container_driver_root == "/driver-root"
    assert settings.pass_device_specs is False
    assert settings.device_id_strategy is DeviceIdStrategy.INDEX
    assert settings.api_version == "0.1"
    assert (settings.log_level, settings.log_format) == ("warning", "json")
    assert settings.resources == (
        ResourceRule(selector=Selector(products=("*H100*",)), name=parse_resource_name("nvidia.com/h100")),
        ResourceRule(selector=Selector(products=("*",)), name=parse_resource_name("example.com/gpu")),
    )
    assert settings.config_file == config_file


@pytest.mark.parametrize(
    "text",
    [
        "version: v1\n",
        "version: v1\nflags:\n",
        "version: v1\nflags: {plugin: {}}\n",
        "version:\n",
        "flags: {}\n",
        "flags: {logLevel: null, plugin: {apiVersion: }}\n",
        "sharing:\n",
        "sharing: {timeSlicing: null, mps: {}}\n",
        "sharing: {timeSlicing: {}}\nresources: {gpus: , mig: , rules: }\nhealth:\n",
        "",
        "# nothing\n",
        "---\n",
        "null\n",
    ],
)
def test_a_file_that_decides_nothing_leaves_the_defaults(text: str, read: Read) -> None:
    assert set(read((), {}, text).sources.values()) == {"default", "flag --config-file"}


def test_an_anchor_is_worth_what_it_stands_for(read: Read) -> None:
    text = "version: v1\nflags: {nvidiaDriverRoot: &root /driver, nvidiaDevRoot: *root}\n"
    assert read((), {}, text).dev_root == "/driver"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("version: v2\nunheard: of\n", "1:10: version: invalid value 'v2'; expected v1"),
        ("version: 1\n", "1:10: version: invalid value '1'; expected v1"),
        ("- version: v1\n", "1:1: the file is a list; expected keys with values"),
        ("v1\n", "1:1: the file is 'v1'; expected keys with values"),
        ("version: v1\nflags: yes\n", "2:8: flags is 'yes'; expected keys with values"),
        ("version: v1\nflags: [logLevel]\n", "2:8: flags is a list; expected keys with values"),
        ("version: v1\n? [a, b]\n: c\n", "2:3: a key is a list; expected a word"),
        ("version: v1\n? {}\n: c\n", "2:3: a key is a mapping; expected a word"),
    ],
)
def test_the_shape_of_the_file(text: str, said: str, read: Read, config_file: Path) -> None:
    assert complaint(read, text, config_file) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "version: v1\nflags:\n  logLevle: info\n",
            "3:3: unknown key flags.logLevle, did you mean flags.logLevel?",
        ),
        (
            "version: v1\nflags:\n  passDeviceSpecs: true\n",
            "3:3: unknown key flags.passDeviceSpecs, did you mean flags.plugin.passDeviceSpecs?",
        ),
        (
            "version: v1\nlogLevel: info\n",
            "2:1: unknown key logLevel, did you mean flags.logLevel?",
        ),
        (
            "version: v1\nflags.logLevel: info\n",
            "2:1: unknown key 'flags.logLevel', did you mean flags.logLevel?",
        ),
        ("version: v1\nflag: {}\n", "2:1: unknown key flag, did you mean flags?"),
        (
            "version: v1\nresources:\n  gpus:\n  - {pattern: a, nmae: b}\n",
            "4:18: unknown key resources.gpus.nmae, known are pattern and name",
        ),
        (
            "version: v1\nflags:\n  logLevel: info\n  logLevel: info\n",
            "4:3: flags.logLevel occurs twice, first at 3:3",
        ),
        ("version: v1\nversion: v1\n", "2:1: version occurs twice, first at 1:1"),
    ],
)
def test_a_key_that_is_unknown_or_misplaced_or_there_twice(text: str, said: str, read: Read, config_file: Path) -> None:
    assert complaint(read, text, config_file) == said


def test_a_key_like_no_other_gets_the_list_of_all(read: Read, config_file: Path) -> None:
    said = complaint(read, "version: v1\nxyzzy: 1\n", config_file)
    assert said.startswith("2:1: unknown key xyzzy, known are flags.failOnInitError, flags.gdrcopyEnabled, ")
    assert said.endswith(
        ", resources.gpus, resources.mig, resources.onload, resources.rdma, resources.rules, sharing.mps, "
        "sharing.timeSlicing, version"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "flags: {deviceDiscoveryStrategy: tegra}",
            "2:9: flags.deviceDiscoveryStrategy: 'tegra' {}; expected auto or nvml: GPUs are found through NVML",
        ),
        (
            "flags: {deviceDiscoveryStrategy: [tegra]}",
            "2:9: flags.deviceDiscoveryStrategy {}; expected auto or nvml: GPUs are found through NVML",
        ),
    ],
)
def test_what_only_nvidias_plugin_can_do_is_refused_in_these_words(
    text: str, said: str, read: Read, config_file: Path
) -> None:
    expected = said.replace("{}", "is not supported by plugin-gateway")
    assert complaint(read, f"version: v1\n{text}\n", config_file) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("logLevel: loud", "2:19: flags.logLevel: invalid value 'loud'; expected debug, info, warning, error"),
        ("nvidiaDriverRoot: here", "2:27: flags.nvidiaDriverRoot: invalid value 'here'; expected an absolute path"),
        ("nvidiaDriverRoot: 5", "2:27: flags.nvidiaDriverRoot: invalid value '5'; expected an absolute path"),
        ("nvidiaDriverRoot: true", "2:27: flags.nvidiaDriverRoot is 'true'; expected an absolute path"),
        ("nvidiaDriverRoot: [/a]", "2:27: flags.nvidiaDriverRoot is a list; expected an absolute path"),
        ("nvidiaDriverRoot: {}", "2:27: flags.nvidiaDriverRoot is a mapping; expected an absolute path"),
        (
            'nvidiaDriverRoot: "/\\ud800"',
            r"2:27: flags.nvidiaDriverRoot: invalid value '/\ud800'; expected an absolute path",
        ),
        ("logLevel: !secret info", "2:19: flags.logLevel is 'info'; expected debug, info, warning, error"),
        (
            'failOnInitError: "true"',
            "2:26: flags.failOnInitError is the text 'true'; expected true or false, without quotes",
        ),
        (
            "failOnInitError: maybe",
            "2:26: flags.failOnInitError is 'maybe'; expected true or false, without quotes",
        ),
        ("failOnInitError: 1", "2:26: flags.failOnInitError is '1'; expected true or false, without quotes"),
        (
            "plugin: {apiVersion: 0.10}",
            "2:30: flags.plugin.apiVersion: invalid value '0.10'; expected auto, v1beta1, v1alpha, v1alpha2, 0.1",
        ),
    ],
)
def test_a_value_of_a_wrong_kind_or_not_allowed(text: str, said: str, read: Read, config_file: Path) -> None:
    assert complaint(read, f"version: v1\nflags: {{{text}}}\n", config_file) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "2:19: resources.gpus is an empty list; expected a list with pattern and name each"),
        ("{}", "2:19: resources.gpus is a mapping; expected a list with pattern and name each"),
        ("[a]", "2:20: resources.gpus is 'a'; expected keys with values"),
        ("[{pattern: a}]", "2:20: name missing in an entry of resources.gpus"),
        ("[{}]", "2:20: pattern and name missing in an entry of resources.gpus"),
        ("[{pattern: '', name: a}]", "2:30: resources.gpus.pattern is empty; '*' matches every one"),
        (
            "[{pattern: 5, name: a}]",
            "2:30: resources.gpus.pattern is '5'; expected shell patterns, numbers in quotes",
        ),
        ("[{pattern: a, name: 5}]", "2:39: resources.gpus.name is '5'; expected names such as nvidia.com/gpu"),
        (
            "[{pattern: a, name: requests.x/gpu}]",
            "2:39: resource name 'requests.x/gpu': it must not start with requests.",
        ),
        (
            "[{pattern: a, name: -}]",
            "2:39: resource name 'nvidia.com/-': " + ENDS,
        ),
    ],
)
def test_a_resource_rule_that_is_not_one(text: str, said: str, read: Read, config_file: Path) -> None:
    assert complaint(read, f"version: v1\nresources: {{gpus: {text}}}\n", config_file) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "version: v1\nflags: {\n",
            "2:8: not YAML: the { that begins here is not closed",
        ),
        (
            "version: v1\n\tflags: x\n",
            "2:1: not YAML: while scanning for the next token: found character '\\t' that cannot start any token",
        ),
        (
            "version: v1\nresources: {gpus: [{pattern: *H100*, name: h100}]}\n",
            "2:35: not YAML: while scanning an alias: expected alphabetic or numeric character, but found '*'; "
            + QUOTES,
        ),
        ("version: *none\n", "1:10: not YAML: found undefined alias 'none'; " + QUOTES),
        (
            "version: v1\n---\nversion: v1\n",
            "2:1: not YAML: expected a single document in the stream: but found another document",
        ),
        (b"version: \xff\n", "1:10: not YAML: invalid start byte"),
        (b"version: v1\n\0", "2:1: not YAML: special characters are not allowed"),
        ("[" * 5_000, " nested too deeply"),
        (f"version: [{'1,' * 50_000}]", " more than the 50000 keys and values allowed"),
        ('version: "\\U00110000"\n', " not YAML: an escape stands for no character"),
        ('version: "\\Uffffffff"\n', " not YAML: an escape stands for no character"),
    ],
)
def test_a_file_that_is_not_yaml(text: str | bytes, said: str, read: Read, config_file: Path) -> None:
    assert complaint(read, text, config_file) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("version: {}", "1:10: version has 100000 characters; expected at most 4096"),
        ("version: v1\nflags: {}", "2:8: flags is '" + 80 * "x" + "'...; expected keys with values"),
        ("version: v1\n? {}\n: x", "2:3: a key has 100000 characters; expected at most 4096"),
        (
            "version: v1\nflags: {deviceDiscoveryStrategy: {}}",
            "2:9: flags.deviceDiscoveryStrategy: '" + 80 * "x" + "'... is not supported by plugin-gateway; expected "
            "auto or nvml: GPUs are found through NVML",
        ),
    ],
)
def test_a_word_without_end_is_not_repeated_in_the_complaint(
    text: str, said: str, read: Read, config_file: Path
) -> None:
    assert complaint(read, text.replace("{}", "x" * 100_000), config_file) == said


def test_aliases_that_multiply_cost_nothing(read: Read, config_file: Path) -> None:
    """Nine levels of nine aliases each would be 400 million nodes if they were written out."""
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]" for level in range(1, 10)]
    said = complaint(read, "\n".join(("version: v1", *levels)), config_file)
    assert said.startswith("2:1: unknown key a0, ")


def test_an_alias_of_what_it_stands_in_ends(read: Read, config_file: Path) -> None:
    said = complaint(read, "version: v1\nflags: &flags {plugin: *flags}\n", config_file)
    assert said.startswith("2:16: unknown key flags.plugin.plugin, ")


def test_a_file_larger_than_a_config_map_is_not_read(read: Read, config_file: Path) -> None:
    """A gigabyte of holes: reading it whole would take seconds and the memory."""
    with config_file.open("wb") as file:
        file.truncate(2**30)
    with pytest.raises(InvalidValueError) as caught:
        read([f"--config-file={config_file}"])
    assert str(caught.value) == f"configuration file {config_file}: larger than the 1048576 bytes allowed"


def test_a_file_that_is_not_there(read: Read, config_file: Path) -> None:
    with pytest.raises(InvalidValueError) as caught:
        read([f"--config-file={config_file}"])
    assert str(caught.value) == f"configuration file {config_file}: No such file or directory"


@pytest.mark.parametrize("kind", ["folder", "pipe", "socket"])
def test_what_is_no_file_is_refused_at_once(kind: str, read: Read, config_file: Path, kubelet_dir: Path) -> None:
    """Opening a pipe would wait for somebody to write."""
    path = config_file
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path = kubelet_dir / "s"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
    with pytest.raises(InvalidValueError) as caught:
        read([f"--config-file={path}"])
    assert str(caught.value) == f"configuration file {path}: it is no regular file"


def test_a_file_that_cannot_be_read(read: Read) -> None:
    """Nothing is mapped at address 0 of this process; root may open everything, but not read that."""
    with pytest.raises(InvalidValueError) as caught:
        read(["--config-file=/proc/self/mem"])
    assert str(caught.value) == "configuration file /proc/self/mem: Input/output error"
