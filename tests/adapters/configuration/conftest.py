"""Reads settings as the program does, with flags, environment and file that a test decides about."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import pytest

from plugin_gateway.adapters.configuration.kinds import word_of
from plugin_gateway.adapters.configuration.option import GivenFlag
from plugin_gateway.adapters.configuration.options import run_options
from plugin_gateway.adapters.configuration.reading import decide
from plugin_gateway.adapters.configuration.settings import Settings, make_settings
from plugin_gateway.nvidia.evidence import HEALTH_POLICY

OPTIONS = run_options(("auto", "v1beta1", "v1alpha", "v1alpha2", "0.1"), word_of(("auto", "nvml", "simulated:8xH100")))


class Read(Protocol):
    """Reads settings; ``file`` is the text of the configuration file."""

    def __call__(
        self,
        flags: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        file: str | bytes | None = None,
    ) -> Settings: ...


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    return tmp_path / "config.yaml"


@pytest.fixture
def read(config_file: Path) -> Read:
    def read(
        flags: Sequence[str] = (), environment: Mapping[str, str] | None = None, file: str | bytes | None = None
    ) -> Settings:
        given = dict(_given(flag) for flag in flags)
        if file is not None:
            config_file.write_bytes(file if isinstance(file, bytes) else file.encode())
            given["config_file"] = GivenFlag("--config-file", str(config_file))
        return make_settings(decide(OPTIONS, given, environment or {}, lambda: HEALTH_POLICY))

    return read


def _given(argument: str) -> tuple[str, GivenFlag]:
    flag, _, text = argument.partition("=")
    return next((option.name for option in OPTIONS if flag in option.flags), flag), GivenFlag(flag, text)
