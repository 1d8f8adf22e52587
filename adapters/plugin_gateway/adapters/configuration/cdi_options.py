"""The options about CDI specs. `options` has all others."""

from plugin_gateway.adapters.configuration.kinds import FOLDER, HOOKS, PREFIX, ROOT_OR_NONE
from plugin_gateway.adapters.configuration.option import Option, Values
from plugin_gateway.core.resources.policy import USUAL_PREFIX


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
        ROOT_OR_NONE,
        "",
        "nvidia-cdi-hook or nvidia-ctk on the host; without it, it is looked for, and where it is not there, libraries "
        "are mounted where the loader of a container looks",
        key="flags.plugin.nvidiaCTKPath",
        flags=("--nvidia-cdi-hook-path", "--nvidia-ctk-path"),
        variables=("NVIDIA_CDI_HOOK_PATH", "NVIDIA_CTK_PATH"),
        example="/usr/local/nvidia/toolkit/nvidia-cdi-hook",
        word="nvidiaCDIHookPath",
    )
    cdi_disable_hooks = Option(
        HOOKS,
        "",
        "hooks that are left out of CDI specs, with commas between them, or all; without create-symlinks or "
        "update-ldcache there is none",
        example="enable-cuda-compat",
    )
