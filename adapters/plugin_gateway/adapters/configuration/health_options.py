"""The options about health. The file decides about single kinds of evidence, see `health_section`."""

from plugin_gateway.adapters.configuration.option import Option
from plugin_gateway.adapters.configuration.parsers import (
    one_of,
    parse_count,
    parse_healthchecks,
    parse_path,
    parse_switch,
    seconds,
)

PROBATIONS = ("quiet-time", "external")
"""The values of `Probation`. They are words here, because the flags are read before the core is imported."""
DEFAULT_STATE_DIR = "/run/plugin-gateway"


def health_options() -> tuple[Option, ...]:
    """Return the options of ``run`` about health."""
    group = "health"
    return (
        Option(
            name="quiet_time",
            flags=("--quiet-time",),
            variables=("QUIET_TIME",),
            file_key="health.quietTime",
            parse=seconds(at_least=0),
            default="60",
            metavar="SECONDS",
            group=group,
            help="how long a GPU that was unhealthy has to be well before it is given out again",
        ),
        Option(
            name="probation",
            flags=("--probation",),
            variables=("PROBATION",),
            file_key="health.probation",
            parse=one_of(PROBATIONS),
            default="quiet-time",
            metavar="WHAT",
            group=group,
            help="what ends the probation of a GPU: quiet-time, or external for plugin-gateway health clear, by an "
            "operator or a test",
        ),
        Option(
            name="decision_time",
            flags=("--decision-time",),
            variables=("DECISION_TIME",),
            file_key="health.decisionTime",
            parse=seconds(at_least=1, at_most=600),
            default="5",
            metavar="SECONDS",
            group=group,
            help="how long after an XID the driver's answer counts that it asks for no recovery",
        ),
        Option(
            name="driver_timeout",
            flags=("--driver-timeout",),
            variables=("DRIVER_TIMEOUT",),
            file_key="health.driverTimeout",
            parse=seconds(at_least=10),
            default="30",
            metavar="SECONDS",
            group=group,
            help="how long the driver may be gone or hang before every GPU is unhealthy",
        ),
        Option(
            name="flap_count",
            flags=("--flap-count",),
            variables=("FLAP_COUNT",),
            file_key="health.flapCount",
            parse=parse_count,
            default="3",
            metavar="COUNT",
            group=group,
            help="a GPU that becomes unhealthy so many times within --flap-window stays so until it is reset",
        ),
        Option(
            name="flap_window",
            flags=("--flap-window",),
            variables=("FLAP_WINDOW",),
            file_key="health.flapWindow",
            parse=seconds(at_least=1),
            default="3600",
            metavar="SECONDS",
            group=group,
            help="the time in which --flap-count counts",
        ),
        Option(
            name="disabled_healthchecks",
            flags=("--disable-healthchecks",),
            variables=("DP_DISABLE_HEALTHCHECKS",),
            parse=parse_healthchecks,
            default="",
            metavar="XIDS",
            group=group,
            help="XIDs to ignore, with commas between them, as with NVIDIA's device plugin; all ignores every XID and "
            "everything else that speaks against a GPU",
            example="31,43",
        ),
        Option(
            name="enabled_healthchecks",
            flags=("--enable-healthchecks",),
            variables=("DP_ENABLE_HEALTHCHECKS",),
            parse=parse_healthchecks,
            default="",
            metavar="XIDS",
            group=group,
            help="XIDs that count although they would be ignored, also where --disable-healthchecks is all",
        ),
        Option(
            name="expected_gpus",
            flags=("--expected-gpus",),
            variables=("EXPECTED_GPUS",),
            file_key="health.expectedGpus",
            parse=parse_count,
            default=None,
            metavar="COUNT",
            group=group,
            help="how many GPUs the node should have; fewer are reported as missing; default: as many as it had "
            "before, as long as --state-dir remembers it",
            example="8",
        ),
        Option(
            name="state_dir",
            flags=("--state-dir",),
            variables=("STATE_DIR",),
            parse=parse_path,
            default=DEFAULT_STATE_DIR,
            metavar="DIR",
            group=group,
            help="where it is kept which GPUs are unhealthy, and where plugin-gateway status and health find the "
            "gateway",
        ),
        Option(
            name="kernel_log",
            flags=("--kernel-log",),
            variables=("KERNEL_LOG",),
            parse=parse_switch,
            default="false",
            is_switch=True,
            group=group,
            help="read /dev/kmsg, which has the sub-codes of NVLink errors and the errors of NVSwitches",
        ),
    )
