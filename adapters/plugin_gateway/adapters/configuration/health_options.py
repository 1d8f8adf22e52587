"""The options about health, and what only they take. They are part of the table of options."""

from typing import TYPE_CHECKING, NamedTuple

from plugin_gateway.adapters.configuration.kinds import (
    COUNT,
    FOLDER,
    MAX_NUMBER_LENGTH,
    SWITCH,
    kind,
    kind_made_later,
    seconds,
    word_of,
)
from plugin_gateway.adapters.configuration.option import Option, Values, nothing
from plugin_gateway.core.errors import InvalidValueError

if TYPE_CHECKING:
    from plugin_gateway.core.health.policy import Probation

KERNEL_LOG = "/dev/kmsg"
XID = "xid"
"""The family of evidence that has numbers. Flags, variables and the file decide about its members by number."""
_EVERY_HEALTHCHECK = ("all", "xids")
"""Words that stand for all XIDs in NVIDIA's plugin."""


class Healthchecks(NamedTuple):
    """The value of DP_DISABLE_HEALTHCHECKS or DP_ENABLE_HEALTHCHECKS."""

    everything: bool
    """Whether it contains a word that stands for all of them."""
    xids: frozenset[int]

    def __str__(self) -> str:
        everything = _EVERY_HEALTHCHECK[:1] if self.everything else ()
        return ",".join((*everything, *map(str, sorted(self.xids))))


def parse_healthchecks(text: str) -> Healthchecks:
    """Return the XIDs of a list with commas; also accepts NVIDIA's words for all of them."""
    words = [word.strip().lower() for word in text.split(",") if word.strip()]
    numbers = [word for word in words if word not in _EVERY_HEALTHCHECK]
    for word in numbers:
        if not (word.isascii() and word.isdigit() and len(word) <= MAX_NUMBER_LENGTH):
            raise InvalidValueError(
                f"invalid value {word[:80]!r}; expected XIDs with commas between them, or "
                f"{' or '.join(_EVERY_HEALTHCHECK)}"
            )
    return Healthchecks(len(numbers) < len(words), frozenset(int(word) for word in numbers))


def range_name(first: int, last: int) -> str:
    """Return a range as people write it: ``48`` or ``126-135``."""
    return str(first) if first == last else f"{first}-{last}"


def _probation(kept: str) -> "Probation":
    from plugin_gateway.core.health.policy import Probation  # noqa: PLC0415 - `run` uses the first one while the driver initialises

    return Probation(kept)


XIDS = kind(
    parse_healthchecks,
    "XIDS",
    {"type": ["string", "integer", "array"], "pattern": "^([0-9]|[Aa][Ll][Ll]|[Xx][Ii][Dd][Ss]|[^0-9A-Za-z])*$"},
)
PROBATION = kind_made_later(
    word_of(("quiet-time", "external")), _probation, "WHAT", {"enum": ["quiet-time", "external"]}
)
"""The words are those of `Probation`, which is imported later."""


class PolicyOptions(Values, heading="health"):
    """What belongs to the health policy. The file decides about single kinds of evidence, see `health_section`."""

    __slots__ = ()

    quiet_time = Option(
        seconds(at_least=0),
        "60",
        "how long a GPU that was unhealthy has to be well before it is given out again",
        key="health.quietTime",
    )
    probation = Option(
        PROBATION,
        "quiet-time",
        "what ends the probation of a GPU: quiet-time, or external for plugin-gateway health clear, by an operator or "
        "a test",
        key="health.probation",
    )
    decision_time = Option(
        seconds(at_least=1, at_most=600),
        "5",
        "how long after an XID the driver's answer counts that it asks for no recovery",
        key="health.decisionTime",
    )
    driver_timeout = Option(
        seconds(at_least=10),
        "30",
        "how long a driver may be gone or hang before every device of it is unhealthy",
        key="health.driverTimeout",
    )
    flap_count = Option(
        COUNT,
        "3",
        "a GPU that becomes unhealthy so many times within --flap-window stays so until it is reset",
        key="health.flapCount",
    )
    flap_window = Option(seconds(at_least=1), "3600", "the time in which --flap-count counts", key="health.flapWindow")
    disabled_healthchecks = Option(
        XIDS,
        "",
        "XIDs to ignore, with commas between them, as with NVIDIA's device plugin; all ignores every XID and "
        "everything else that speaks against a GPU",
        flags=("--disable-healthchecks",),
        variables=("DP_DISABLE_HEALTHCHECKS",),
        example="31,43",
    )
    enabled_healthchecks = Option(
        XIDS,
        "",
        "XIDs that count although they would be ignored, also where --disable-healthchecks is all",
        flags=("--enable-healthchecks",),
        variables=("DP_ENABLE_HEALTHCHECKS",),
    )


class HealthOptions(Values, heading="health"):
    """What is known and kept about the health of the GPUs."""

    __slots__ = ()

    expected_gpus = Option(
        COUNT,
        nothing("as many as it had before, as long as --state-dir remembers it"),
        "how many GPUs the node should have; fewer are reported as missing",
        key="health.expectedGpus",
        example="8",
    )
    state_dir = Option(
        FOLDER,
        "/run/plugin-gateway",
        "where it is kept which devices are unhealthy, and where plugin-gateway status and health find the gateway",
    )
    kernel_log = Option(
        SWITCH, "false", f"read {KERNEL_LOG}, which has the sub-codes of NVLink errors and the errors of NVSwitches"
    )
