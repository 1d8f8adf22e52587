"""Writes into the deployment guide where the gateway differs from NVIDIA's device plugin: ``make generate``.

What NVIDIA's plugin does was read in its release 0.20. What the gateway does comes from the code.
"""

from collections.abc import Sequence
from pathlib import Path

from generated import put, table
from plugin_gateway.__main__ import PARTS
from plugin_gateway.adapters.commands.flags import options
from plugin_gateway.adapters.configuration.nvidia_names import SETTINGS, option_of
from plugin_gateway.adapters.configuration.option import Option
from plugin_gateway.core.health.policy import Action, number_of
from plugin_gateway.nvidia.evidence import HEALTH_POLICY, XID, xid_kind

PAGE = Path(__file__).parents[1] / "deploy/README.md"
ALWAYS = {"preferred_allocation": "partition"}
"""What NVIDIA's plugin always does, and an option here."""
THEIR_IGNORED = (13, 31, 43, 45, 68, 109)
"""The XIDs that NVIDIA's plugin ignores by default. Any other one makes a GPU unhealthy for ever."""
CONFIGURE = "See [Configure](../docs/configure.md#shared-gpus)."
EXTRAS = "See [Configure](../docs/configure.md#what-containers-get-besides-gpus)."
MIG = "See [MIG](../docs/configure.md#mig)."
THEIR_MIG = (
    ("a GPU in MIG mode with `--mig-strategy=none`", "offered whole", "not offered, because CUDA refuses it", MIG),
    ("GPUs that are not divided alike with `single`", "end the plugin", "what most GPUs have is offered", MIG),
    ("a profile such as `1c.3g.40gb` with `mixed`", "ends the plugin", "`nvidia.com/mig-1c.3g.40gb`", MIG),
    ("another MIG layout", "seen after a restart", "followed within 5 s", MIG),
)
"""What NVIDIA's plugin does with MIG, and the gateway does otherwise."""
LABELS = "See [Node labels](../docs/labels.md#which-labels)."
THEIR_LABELS = (
    ("labels of a node with several products", "those of any of them", "those of the product of most GPUs", LABELS),
    ("a label with more than 63 characters", "written, and refused", "the product name in it is cut", LABELS),
    ("labels with `single` where GPUs are not divided alike", "`…-MIG-INVALID`", "about what is offered", LABELS),
    ("`vgpu.present` where that cannot be read", "`false`, or an error", "left out", LABELS),
    ("labels with a driver version of one part", "an error", "those that are known", LABELS),
)
"""What NVIDIA's GPU feature discovery does with labels, and the gateway does otherwise."""
MEANINGS = {
    "container_driver_root": "Where the driver root is mounted in the pod. Give it if you mount it.",
    "fail_on_init_error": "Whether a node without a driver ends the process. The gateway waits for the driver.",
    "nvidia_cdi_hook_path": "Where `nvidia-cdi-hook` is on the host. The gateway looks for it if it is not given.",
    "pass_device_specs": "Whether containers get device nodes from the kubelet.",
    "preferred_allocation": "Whether a pod gets the GPUs with the best links, or some that leave good ones for others.",
}
"""What a default that differs means."""


def differences() -> str:
    """Return the table of defaults and of XIDs."""
    ours = options(PARTS)
    pairs = [(option_of(each, ours), each.default) for each in SETTINGS]
    pairs += [(option, ALWAYS[option.name]) for option in ours if option.name in ALWAYS]
    defaults = [_default(each, theirs) for each, theirs in pairs if each and each.default_in_words != theirs]
    lines = table(("", "NVIDIA's plugin", "plugin-gateway", ""), [*defaults, *_xids()])
    all_names = "What becomes of each setting and each key of its file is in [all names](../docs/nvidia.md#all-names)."
    return "\n".join([*lines, "", all_names])


def _default(option: Option[object], theirs: str) -> Sequence[str]:
    return f"default of `{option.flags[0]}`", f"`{theirs}`", f"`{option.default_in_words}`", MEANINGS[option.name]


def _xids() -> Sequence[Sequence[str]]:
    """Return what follows from XIDs where both decide otherwise, and what ends that."""
    harmless = {Action.IGNORE, Action.REPORT}
    known = sorted(number for kind in HEALTH_POLICY.kinds if (number := number_of(kind, XID)) is not None)
    decided = {number: HEALTH_POLICY.about(xid_kind(number)).action for number in known}
    worse = [(number, decided[number]) for number in THEIR_IGNORED if decided[number] not in harmless]
    milder = [number for number in known if number not in THEIR_IGNORED and decided[number] in harmless]
    rows = [(f"XID {number}", "ignored", f"`{action.value}`", "As NVIDIA's catalog says.") for number, action in worse]
    return [
        *rows,
        (f"XIDs {_numbers(milder)}", "unhealthy", "only logged, or reported", "As NVIDIA's catalog says."),
        (
            "`sharing.mps` with `--mig-strategy=mixed`",
            "refused",
            "whole GPUs are shared, MIG devices are not",
            CONFIGURE,
        ),
        (
            "device nodes of GDRCopy, GDS and MOFED",
            "only through CDI",
            "given if they are there, and through CDI",
            EXTRAS,
        ),
        (
            "a required IMEX channel that is missing",
            "ends the plugin",
            "every GPU is unhealthy, with the reason",
            EXTRAS,
        ),
        ("MPS without its daemon", "no resource", "every replica is unhealthy, with the reason", CONFIGURE),
        ("an unhealthy GPU", "for ever", "until a check, a reset or a reboot", "See [Health](../docs/health.md)."),
        ("other evidence than XIDs", "none", "checks and events", "See [Health](../docs/health.md)."),
        *THEIR_MIG,
        *THEIR_LABELS,
    ]


def _numbers(numbers: Sequence[int]) -> str:
    """Return numbers in words. A run of them is written with its ends."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs)


def main() -> None:
    """Write the tables into their place in the guide."""
    put(PAGE, differences())


if __name__ == "__main__":
    main()
