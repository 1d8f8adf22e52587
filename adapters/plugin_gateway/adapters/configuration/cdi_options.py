"""The options about CDI specs, and what only they take. They are part of the table of options."""

from plugin_gateway.adapters.configuration.kinds import (
    FOLDER,
    MAX_NODE_NAME_LENGTH,
    PROGRAM_OR_NONE,
    kind,
    list_of,
)
from plugin_gateway.adapters.configuration.option import Option, Values
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.resources.policy import USUAL_PREFIX

HOOK_NAMES = (
    "all",
    "create-symlinks",
    "enable-cuda-compat",
    "update-ldcache",
    "disable-device-node-modification",
    "update-application-profile",
    "chmod",
)
"""The hooks of NVIDIA's container toolkit. chmod is never used."""
_OF_DNS_NAME = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")


def parse_prefix(text: str) -> str:
    """Return how the name of an annotation begins: a DNS name and a slash. An empty text asks for the usual one."""
    if not text:
        return USUAL_PREFIX
    name = text.removesuffix("/")
    parts = name.split(".")
    is_name = all(part and set(part) <= _OF_DNS_NAME and part[0] != "-" and part[-1] != "-" for part in parts)
    if name == text or not is_name or len(name) > MAX_NODE_NAME_LENGTH:
        raise InvalidValueError(
            f"invalid value {text[:80]!r}; expected a DNS name with a slash behind it, such as cdi.k8s.io/"
        )
    return text


PREFIX = kind(parse_prefix, "PREFIX", {"type": "string", "pattern": "^([a-z0-9.-]+/)?$"})


class CdiOptions(Values, heading="CDI specs"):
    """How the container runtime is told what a container with a GPU gets."""

    __slots__ = ()

    cdi_spec_dir = Option(
        FOLDER, "/var/run/cdi", "the folder of the host into which CDI specs are written, as this process sees it"
    )
    cdi_annotation_prefix = Option(
        PREFIX,
        USUAL_PREFIX,
        "how the name of an annotation begins that names GPUs",
        key="flags.plugin.cdiAnnotationPrefix",
    )
    nvidia_cdi_hook_path = Option(
        PROGRAM_OR_NONE,
        "",
        "nvidia-cdi-hook or nvidia-ctk on the host; without it, it is looked for, and where it is not there, libraries "
        "are mounted where the loader of a container looks",
        key="flags.plugin.nvidiaCTKPath",
        flags=("--nvidia-cdi-hook-path", "--nvidia-ctk-path"),
        variables=("NVIDIA_CDI_HOOK_PATH", "NVIDIA_CTK_PATH"),
        example="/usr/local/nvidia/toolkit/nvidia-cdi-hook",
    )
    cdi_disable_hooks = Option(
        list_of(HOOK_NAMES, "HOOKS"),
        "",
        "hooks that are left out of CDI specs, with commas between them, or all; without create-symlinks or "
        "update-ldcache there is none",
        example="enable-cuda-compat",
    )
