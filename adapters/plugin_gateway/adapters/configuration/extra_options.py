"""The options about what containers get besides GPUs. They are part of the table of options."""

from plugin_gateway.adapters.configuration.kinds import SWITCH, kind
from plugin_gateway.adapters.configuration.option import Option, Values
from plugin_gateway.core.errors import InvalidValueError

NO_CHANNEL, CHANNEL = "[]", "0"
"""The two values of `CHANNELS`."""


def parse_channels(text: str) -> str:
    """Return ``0`` for the channel 0, and ``[]`` for none. NVIDIA's device plugin knows no other channel either."""
    if (words := text.strip(" ")) in ("", NO_CHANNEL):
        return NO_CHANNEL
    if words != CHANNEL:
        raise InvalidValueError(f"invalid value {text[:80]!r}; expected {CHANNEL} or {NO_CHANNEL}")
    return words


CHANNELS = kind(
    parse_channels,
    f"{CHANNEL}|{NO_CHANNEL}",
    {
        "type": ["string", "integer", "array"],
        "pattern": r"^ *(0|\[\])? *$",
        "not": {"type": "integer", "not": {"enum": [0]}},
        "items": {"enum": [0, CHANNEL]},
        "maxItems": 1,
    },
)


class ExtraOptions(Values, heading="what containers get besides GPUs"):
    """What the node has besides GPUs, and gives to each container with a GPU."""

    __slots__ = ()

    gdrcopy_enabled = Option(
        SWITCH,
        "false",
        "give containers GDRCopy: NVIDIA_GDRCOPY=enabled, and the device node where it is there",
        key="flags.gdrcopyEnabled",
    )
    gds_enabled = Option(
        SWITCH,
        "false",
        "give containers GPUDirect Storage: NVIDIA_GDS=enabled, and its device nodes where they are there",
        key="flags.gdsEnabled",
    )
    mofed_enabled = Option(
        SWITCH,
        "false",
        "give containers the InfiniBand devices of MOFED: NVIDIA_MOFED=enabled, and their device nodes where they are "
        "there",
        key="flags.mofedEnabled",
    )
    imex_channel_ids = Option(
        CHANNELS,
        "[]",
        "give containers the IMEX channel 0, over which GPUs of several nodes share memory, if the node has it",
        key="imex.channelIDs",
        example="0",
        word="imexChannelIDs",
    )
    imex_required = Option(
        SWITCH,
        "false",
        "give out no GPU while the node lacks the IMEX channel of --imex-channel-ids",
        key="imex.required",
        word="imexRequired",
    )
