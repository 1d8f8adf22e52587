"""The options about what containers get besides GPUs. `options` has all others."""

from plugin_gateway.adapters.configuration.kinds import CHANNELS, SWITCH
from plugin_gateway.adapters.configuration.option import Option, Values


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
