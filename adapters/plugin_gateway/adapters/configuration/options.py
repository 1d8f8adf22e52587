"""The one table of options: it makes the flags, reads the environment and the file, and writes the help."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from plugin_gateway.adapters.configuration.settings import DEFAULT_KUBELET_DIR
from plugin_gateway.core.allocations import DeviceIdStrategy
from plugin_gateway.core.errors import InvalidValueError

Parse = Callable[[str], Any]

_TRUE = ("1", "t", "true", "yes")
_FALSE = ("0", "f", "false", "no")


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One decision: where it can be made, and what is allowed."""

    name: str
    """The field of Settings."""
    flags: tuple[str, ...]
    variables: tuple[str, ...]
    file_key: str | None = None
    """The path in the file; None for what is decided at start."""
    parse: Parse
    """Raises InvalidValueError saying what is allowed."""
    default: str | None
    """None where it follows from another option."""
    is_switch: bool = False
    metavar: str = "VALUE"
    help: str


def parse_switch(text: str) -> bool:
    """Read true or false in the ways of Go's flags, and yes or no."""
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise InvalidValueError(f"{text!r}, allowed are true and false")


def one_of(allowed: Sequence[str]) -> Parse:
    """Make a parser for a word of a list."""

    def parse(text: str) -> str:
        if text not in allowed:
            raise InvalidValueError(f"{text!r}, allowed are {', '.join(allowed)}")
        return text

    return parse


def parse_path(text: str) -> str:
    """Read an absolute path."""
    if not text.startswith("/") or "\0" in text:
        raise InvalidValueError(f"{text!r}, allowed are absolute paths")
    return text if text == "/" else text.rstrip("/")


def parse_strategy(text: str) -> DeviceIdStrategy:
    """Read how devices are named to the container runtime."""
    return DeviceIdStrategy(one_of([strategy.value for strategy in DeviceIdStrategy])(text))


def run_options(api_versions: Sequence[str], parse_backend: Parse) -> tuple[Option, ...]:
    """List the options of ``run``; what is allowed for two of them is known elsewhere."""
    return (
        Option(
            name="kubelet_dir",
            flags=("--kubelet-dir",),
            variables=("KUBELET_DIR",),
            parse=parse_path,
            default=str(DEFAULT_KUBELET_DIR),
            metavar="DIR",
            help="the kubelet's device plugin directory",
        ),
        Option(
            name="api_version",
            flags=("--api-version",),
            variables=("API_VERSION",),
            file_key="flags.plugin.apiVersion",
            parse=one_of(api_versions),
            default="auto",
            metavar="VERSION",
            help=f"the dialects to try, of {', '.join(api_versions)}",
        ),
        Option(
            name="resource_name",
            flags=("--resource-name",),
            variables=("RESOURCE_NAME",),
            parse=str,
            default=None,
            metavar="NAME",
            help="the resource under which every GPU is offered; nvidia.com/gpu unless the file says otherwise",
        ),
        Option(
            name="backend",
            flags=("--backend",),
            variables=("BACKEND",),
            parse=parse_backend,
            default="nvml",
            metavar="BACKEND",
            help="where the GPUs come from: nvml, or simulated:COUNTxMODEL such as simulated:8xH100",
        ),
        Option(
            name="driver_root",
            flags=("--driver-root", "--nvidia-driver-root"),
            variables=("NVIDIA_DRIVER_ROOT",),
            file_key="flags.nvidiaDriverRoot",
            parse=parse_path,
            default="/",
            metavar="DIR",
            help="where the driver is installed on the host",
        ),
        Option(
            name="dev_root",
            flags=("--dev-root", "--nvidia-dev-root"),
            variables=("NVIDIA_DEV_ROOT",),
            file_key="flags.nvidiaDevRoot",
            parse=parse_path,
            default=None,
            metavar="DIR",
            help="below which folder of the host the device nodes lie; the driver root by default",
        ),
        Option(
            name="container_driver_root",
            flags=("--driver-root-ctr-path", "--container-driver-root"),
            variables=("DRIVER_ROOT_CTR_PATH", "CONTAINER_DRIVER_ROOT"),
            file_key="flags.plugin.containerDriverRoot",
            parse=parse_path,
            default=None,
            metavar="DIR",
            help="where this process sees the driver root; the same path by default",
        ),
        Option(
            name="fail_on_init_error",
            flags=("--fail-on-init-error",),
            variables=("FAIL_ON_INIT_ERROR",),
            file_key="flags.failOnInitError",
            parse=parse_switch,
            default="false",
            is_switch=True,
            help="end with an error where there is no driver or no GPU, instead of waiting for them",
        ),
        Option(
            name="pass_device_specs",
            flags=("--pass-device-specs",),
            variables=("PASS_DEVICE_SPECS",),
            file_key="flags.plugin.passDeviceSpecs",
            parse=parse_switch,
            default="true",
            is_switch=True,
            help="give containers the device nodes, so that they work without NVIDIA's container runtime",
        ),
        Option(
            name="device_id_strategy",
            flags=("--device-id-strategy",),
            variables=("DEVICE_ID_STRATEGY",),
            file_key="flags.plugin.deviceIDStrategy",
            parse=parse_strategy,
            default="uuid",
            metavar="uuid|index",
            help="how NVIDIA_VISIBLE_DEVICES names the GPUs of a container",
        ),
        Option(
            name="log_level",
            flags=("--log-level",),
            variables=("LOG_LEVEL",),
            file_key="flags.logLevel",
            parse=one_of(("debug", "info", "warning", "error")),
            default="info",
            metavar="LEVEL",
            help="the least that is logged: debug, info, warning or error",
        ),
        Option(
            name="log_format",
            flags=("--log-format",),
            variables=("LOG_FORMAT",),
            file_key="flags.logFormat",
            parse=one_of(("auto", "json", "text")),
            default="auto",
            metavar="FORMAT",
            help="json, text, or auto: text on a terminal and json elsewhere",
        ),
        Option(
            name="config_file",
            flags=("--config-file",),
            variables=("CONFIG_FILE",),
            parse=parse_path,
            default=None,
            metavar="FILE",
            help="a YAML file with the keys of NVIDIA's device plugin, read again at SIGHUP",
        ),
    )
