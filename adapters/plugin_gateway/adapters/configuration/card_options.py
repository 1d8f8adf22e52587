"""The options about network cards. They are part of the table of options.

The file says in `resources.rdma` and `resources.onload` which cards are offered, see `cards_section`.
"""

from plugin_gateway.adapters.configuration.kinds import ROOT, ROOT_OR_NONE, SWITCH, one_of, seconds
from plugin_gateway.adapters.configuration.option import Option, Values

RDMA, ONLOAD = "rdma", "onload"
CARDS = (RDMA, ONLOAD)
"""The names of the backends that have network cards, each with a section of the file: `resources.NAME`."""


class CardOptions(Values, heading="network cards"):
    """How network cards are looked at."""

    __slots__ = ()

    host_root = Option(
        ROOT,
        "/",
        "where this process sees the root of the host, with its /sys and /dev; for network cards only",
        key="flags.plugin.hostRoot",
    )
    link_events = Option(
        one_of(("auto", "netlink", "poll"), "auto|netlink|poll"),
        "auto",
        "how changes of links are noticed: netlink at once, which takes the network namespace of the host; poll after "
        "--poll-interval; auto by both",
        key="flags.plugin.linkEvents",
    )
    poll_interval = Option(
        seconds(at_least=1, at_most=60),
        "1",
        "how often the ports of network cards are looked at",
        key="health.links.pollInterval",
    )
    link_quiet_time = Option(
        seconds(at_least=0),
        "10",
        "how long a network card that was unhealthy has to be well before it is given out again; doubled with each "
        "time that it becomes unhealthy within --flap-window, and never a reset",
        key="health.links.quietTime",
        word="linkQuietTime",
    )
    longest_link_quiet_time = Option(
        seconds(at_least=0),
        "300",
        "how far --link-quiet-time is doubled at most",
        key="health.links.longestQuietTime",
        word="longestLinkQuietTime",
    )
    device_info_dir = Option(
        ROOT_OR_NONE,
        "",
        "write a file about each network card that is given out alone into this folder, as Multus reads them",
        key="flags.plugin.deviceInfoDir",
        example="/var/run/k8s.cni.cncf.io/devinfo/dp",
    )
    onload_host_path = Option(
        ROOT,
        "/opt/onload",
        "the folder of the host with the user space of Onload, for entries of resources.onload without hostPath",
        key="flags.plugin.onloadHostPath",
    )
    onload_preload = Option(
        SWITCH,
        "true",
        "run every program of a container with Onload, by LD_PRELOAD, for entries of resources.onload without preload",
        key="flags.plugin.onloadPreload",
    )
