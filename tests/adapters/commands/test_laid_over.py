"""`doctor` and `devices` look with what the gateway has in force, whatever became of its file, and their own flags."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import harness.process
from driver.driver import Driver
from harness.process import Process, run_to_end, started
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release

H100 = 'version: v1\nresources:\n  gpus:\n  - {pattern: "*H100*", name: h100}\n'
BROKEN = "version: v1\nflags: {logLevel: loud, logFormat: xml}\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(H100)
    return path


@asynccontextmanager
async def gateway(kubelet_dir: Path, driver: Driver, config: Path) -> AsyncIterator[Process]:
    """A gateway with everything but the state directory given by flags, and a kubelet that has taken it."""
    flags = ("--kubelet-dir", str(kubelet_dir), "--driver-root", str(driver.root), "--config-file", str(config))
    async with (
        FakeKubelet(kubelet_dir, release("1.36")),
        started(*flags, environment=driver.environment) as process,
    ):
        await process.wait_for_event("registered")
        await process.wait_for_control()
        yield process


def mends(output: str) -> Mapping[str, str]:
    return {each["what"]: each["todo"] for each in json.loads(output) if each["verdict"] == "mend"}


@pytest.mark.parametrize("is_gone", [False, True])
async def test_a_file_that_is_broken_or_gone_is_a_finding_and_all_else_is_looked_at(
    is_gone: bool, kubelet_dir: Path, driver: Driver, config: Path
) -> None:
    async with gateway(kubelet_dir, driver, config):
        config.unlink() if is_gone else config.write_text(BROKEN)
        status, output, errors = await run_to_end("doctor", "--json", environment=driver.environment)
        assert (status, errors) == (1, "")
        told = (
            [
                f"configuration file {config}: No such file or directory",
            ]
            if is_gone
            else [
                f"{config}:2:19: flags.logLevel: invalid value 'loud'; expected debug, info, warning, error",
                f"{config}:2:36: flags.logFormat: invalid value 'xml'; expected auto, json, json-gcp, text",
            ]
        )
        assert list(mends(output)) == [f"a start with this configuration is refused: {each}" for each in told]
        cure = "correct it, then start the gateway, or plugin-gateway reload if it runs"
        assert set(mends(output).values()) == {cure}
        whats = [each["what"] for each in json.loads(output) if each["verdict"] == "well"]
        assert "nvidia.com/h100 is registered as v1beta1" in whats
        assert "the driver shows 8 devices: NVIDIA H100 80GB HBM3" in whats
        assert any(str(kubelet_dir) in what for what in whats)
        status, output, errors = await run_to_end("devices", "--json", environment=driver.environment)
        assert (status, errors) == (1, "")
        shown = json.loads(output)
        assert {each["resource"] for each in shown["devices"]} == {"nvidia.com/h100"}
        assert shown["problems"] == told
        status, output, errors = await run_to_end("devices", environment=driver.environment)
        assert status == 1
        assert "nvidia.com/h100: 8 devices" in output
        assert errors.splitlines() == [f"plugin-gateway: {each}" for each in told]


async def test_rules_are_those_of_the_gateway_also_where_its_file_is_broken(
    kubelet_dir: Path, driver: Driver, config: Path
) -> None:
    rules = [f"{{uuid: {driver.uuid(0)}, never: true}}", "{index: 1, name: shared, replicas: 3}"]
    config.write_text(f"version: v1\nresources: {{rules: [{', '.join(rules)}]}}\n")
    async with gateway(kubelet_dir, driver, config):
        config.write_text(BROKEN)
        _, output, _ = await run_to_end("devices", "--json", "--explain", environment=driver.environment)
        told = json.loads(output)
        assert [(each["id"], each["resource"], each["replicas"]) for each in told["devices"]][:2] == [
            (driver.uuid(1), "nvidia.com/shared", 3),
            (driver.uuid(2), "nvidia.com/gpu", 1),
        ]
        assert [each["origin"] for each in told["rules"]] == [f"file {config}:2", f"file {config}:2", None]
        assert [each["taken_by"] for each in told["explained"]] == [0, 1, *[2] * 6]


async def test_what_containers_get_is_that_of_the_gateway_also_where_its_file_is_broken(
    kubelet_dir: Path, driver: Driver, config: Path
) -> None:
    config.write_text(
        "version: v1\nflags: {gdsEnabled: true, plugin: {deviceListStrategy: [volume-mounts, envvar]}}\n"
        "imex: {channelIDs: [0], required: true}\n"
    )
    async with gateway(kubelet_dir, driver, config):
        config.write_text(BROKEN)
        _, output, _ = await run_to_end("doctor", environment=driver.environment)
        assert "note  gds: /dev/nvidia-fs* is not seen below " in output
        assert "mend  imex-channel: " in output
        assert "containers are told their GPUs by mounts" in output
        assert "gdrcopy" not in output


async def test_a_file_that_the_gateway_refused_is_told_once(kubelet_dir: Path, driver: Driver, config: Path) -> None:
    async with gateway(kubelet_dir, driver, config):
        config.write_text(BROKEN)
        assert (await run_to_end("reload"))[0] == 1
        _, output, _ = await run_to_end("doctor", "--json", environment=driver.environment)
        (told,) = mends(output)
        assert told.startswith("the gateway refused its configuration file and goes on with an older one: ")
        assert "'loud'" in told
        assert "'xml'" in told


async def test_an_environment_that_is_refused_is_a_finding(kubelet_dir: Path, driver: Driver) -> None:
    environment = {**driver.environment, "LOG_LEVEL": "loud", "MIG_STRATEGY": "both"}
    flags = ("--kubelet-dir", str(kubelet_dir), "--driver-root", str(driver.root))
    status, output, errors = await run_to_end("doctor", "--json", *flags, environment=environment)
    assert (status, errors) == (1, "")
    start = "a start with this configuration is refused: environment variable"
    told = list(mends(output))
    assert f"{start} LOG_LEVEL: invalid value 'loud'; expected debug, info, warning, error" in told
    assert f"{start} MIG_STRATEGY: invalid value 'both'; expected none, single, mixed" in told
    assert any("the driver shows 8 devices" in each["what"] for each in json.loads(output))


async def test_flags_are_laid_over_those_of_the_gateway(
    kubelet_dir: Path, driver: Driver, config: Path, tmp_path: Path
) -> None:
    async with gateway(kubelet_dir, driver, config):
        status, output, _ = await run_to_end(
            "doctor", "--kubelet-dir", str(kubelet_dir), environment=driver.environment
        )
        assert status == 0
        assert "the driver shows 8 devices" in output
        assert "nvidia.com/h100 is registered as v1beta1" in output
        status, output, _ = await run_to_end("doctor", "--driver-root=/nowhere", environment=driver.environment)
        assert status == 1
        assert "libnvidia-ml.so.1 is neither" in output
        assert f"a kubelet listens on {kubelet_dir}/kubelet.sock" in output
        other = tmp_path / "other.yaml"
        other.write_text(H100.replace("h100}", "fast}"))
        arguments = ("devices", "--json", "--config-file", str(other))
        _, output, _ = await run_to_end(*arguments, environment=driver.environment)
        assert {each["resource"] for each in json.loads(output)["devices"]} == {"nvidia.com/fast"}
        other.write_text(BROKEN)
        status, output, errors = await run_to_end(*arguments, environment=driver.environment)
        assert (status, output) == (2, "")
        assert errors.count("plugin-gateway: ") == 2
        _, output, _ = await run_to_end(
            "devices", "--json", "--resource-name=example.com/gpu", environment=driver.environment
        )
        assert {each["resource"] for each in json.loads(output)["devices"]} == {"example.com/gpu"}


@pytest.mark.parametrize(
    ("command", "flags"),
    [
        (
            "doctor",
            {"--kubelet-dir", "--state-dir", "--driver-root", "--driver-root-ctr-path", "--dev-root", "--backend"}
            | {"--kernel-log", "--mig-strategy", "--host-root"},
        ),
        (
            "devices",
            {
                "--state-dir",
                "--driver-root",
                "--driver-root-ctr-path",
                "--backend",
                "--host-root",
                "--mig-strategy",
                "--mps-root",
                "--resource-name",
                "--explain",
                "--links",
            },
        ),
        (
            "health-policy",
            {"--quiet-time", "--probation", "--decision-time", "--driver-timeout", "--flap-count", "--flap-window"}
            | {"--disable-healthchecks", "--enable-healthchecks"},
        ),
    ],
)
async def test_each_command_has_its_own_few_flags(command: str, flags: set[str]) -> None:
    _, output, _ = await run_to_end(command, "--help", environment={"COLUMNS": "100"})
    shown = {word.rstrip(",") for word in output.partition("examples:")[0].split() if word.startswith("--")}
    aliases = {"--nvidia-driver-root", "--container-driver-root", "--nvidia-dev-root"}
    assert shown - aliases == flags | {"--help", "--json", "--config-file"}
    status, _, errors = await run_to_end(command, "--listen=9400")
    assert status == 2
    assert errors.startswith("plugin-gateway: unknown flag --listen=9400")


@pytest.mark.parametrize("command", ["doctor", "devices"])
async def test_a_flag_of_its_own_that_is_wrong_is_a_mistake_of_the_user(command: str) -> None:
    status, output, errors = await run_to_end(command, "--driver-root=here", "--driver-root=/x", "--json")
    assert (status, output) == (2, "")
    assert errors == "plugin-gateway: --driver-root: invalid value 'here'; expected an absolute path\n"


async def test_a_gateway_with_the_name_of_nvidias_program_reads_its_file_as_that_does_and_doctor_with_it(
    kubelet_dir: Path, driver: Driver, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_text(f"{H100}surprise: true\n")
    link = tmp_path / "nvidia-device-plugin"
    link.symlink_to(harness.process.PROGRAM)
    monkeypatch.setattr(harness.process, "COMMAND", (str(link),))
    async with gateway(kubelet_dir, driver, config) as process:
        ignored = [line["problem"] for line in process.lines if line["event"] == "this has no effect"]
        assert ignored == [
            f"{config}:{line}: {key} is ignored, as by NVIDIA's device plugin"
            for line, key in (("3:3", "resources.gpus"), ("5:1", "surprise"))
        ]
        _, output, _ = await run_to_end("doctor", "--json", environment=driver.environment)
        assert "nvidia.com/gpu is registered as v1beta1" in [each["what"] for each in json.loads(output)]
        assert not [what for what in mends(output) if "refused" in what]
