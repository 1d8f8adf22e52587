"""Made-up cards whose interfaces are genuine wires, in network and mount namespaces of their own.

Run with the name of a scenario and an empty folder, it prints what it saw as JSON. `test_netlink` knows what must come.
"""

import fcntl
import json
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from plugin_gateway.core.health.observations import EventsAwaited
from plugin_gateway.linux import netlink
from plugin_gateway.linux.card_backend import CardBackend
from plugin_gateway.linux.netlink import LinkEvents, Uevents
from plugin_gateway.linux.watching import CardPace, LinkSource

from .made_up import BUS, DEVICES, function, many, write
from .plain_model import PlainModel, Watcher

PF, NAME, PEER = "0000:3b:00.0", "ens1f0np0", "peer0"
NO_POLL = CardPace(poll=60.0, scan=60.0)
"""What is seen in time is seen by an event."""
GET_FLAGS, SET_FLAGS, UP = 0x8913, 0x8914, 1
LIMIT = 5.0


def run(*command: str) -> None:
    subprocess.run(command, check=True, timeout=10)


def switch(name: str, *, on: bool) -> float:
    """Switch an interface on or off; tells when, just before."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sH14x", name.encode(), 0)
        (flags,) = struct.unpack_from("H", fcntl.ioctl(control, GET_FLAGS, request), 16)
        moment = time.monotonic()
        fcntl.ioctl(control, SET_FLAGS, struct.pack("16sH14x", name.encode(), flags | UP if on else flags & ~UP))
        return moment


def wire(root: Path) -> Path:
    """Make a wire that is up, and a card that has one end of it. Tells the root of the card's host."""
    live, host = root / "live", root / "host"
    live.mkdir()
    run("mount", "-t", "sysfs", "sysfs", str(live))
    run("ip", "link", "add", NAME, "type", "veth", "peer", "name", PEER)
    for name in (NAME, PEER):
        run("ip", "link", "set", name, "up")
    net = host / "sys/devices/virtual/net"
    net.mkdir(parents=True)
    run("mount", "--bind", str(live / "devices/virtual/net"), str(net))
    write(host, function(PF, number=0))
    link = host / f"{DEVICES[1:]}/{PF}/net/{NAME}"
    link.parent.mkdir()
    link.symlink_to(f"/sys/devices/virtual/net/{NAME}")
    return host


def watching(host: Path, model: PlainModel | None = None) -> Watcher:
    backend = CardBackend(
        lambda: model or PlainModel(),
        name="cards",
        device_word="card",
        host_root=str(host),
        link_events=LinkSource.NETLINK,
        pace=NO_POLL,
    )
    return Watcher(backend)


def lost(root: Path) -> object:
    """Tell after how many seconds a lost link and its return were reported, again and again."""
    down, up = [], []
    with watching(wire(root)) as watcher:
        watcher.until(PF, "")
        assert watcher.next(EventsAwaited).problem is None
        for _ in range(20):
            moment = switch(PEER, on=False)
            down.append(watcher.until(PF, f"{NAME} has no link") - moment)
            moment = switch(PEER, on=True)
            up.append(watcher.until(PF, "") - moment)
            time.sleep(0.02)
    return {"down": down, "up": up}


def given_away(root: Path) -> object:
    """Give the interface to another namespace and take it back, as a pod's start and end do."""
    host, model = wire(root), PlainModel()
    with subprocess.Popen(["unshare", "--net", "sleep", "60"]) as pod, watching(host, model) as watcher:
        watcher.until(PF, "")
        while Path(f"/proc/{pod.pid}/ns/net").readlink() == Path("/proc/self/ns/net").readlink():
            time.sleep(0.01)
        before = model.scans
        run("ip", "link", "set", NAME, "netns", str(pod.pid))
        told = _until(lambda: model.scans > before)
        problem, before = watcher.problem(PF), model.scans
        run("nsenter", f"--net=/proc/{pod.pid}/ns/net", "ip", "link", "set", NAME, "netns", "1")
        pod.terminate()
    return {"scans": told, "problem": problem}


def _until(what: Callable[[], bool]) -> bool:
    end = time.monotonic() + LIMIT
    while not what() and time.monotonic() < end:
        time.sleep(0.005)
    return what()


def events(_: Path) -> object:
    """Tell what is read of the life of an interface, each after a step."""
    with_events = LinkEvents()
    told = []
    for step in (
        f"link add {NAME} type veth peer name {PEER}",
        f"link set {NAME} up",
        f"link set {PEER} up",
        f"link set {PEER} down",
        f"link set {NAME} down",
        f"link set {NAME} name {NAME}x",
        f"link del {NAME}x",
    ):
        run("ip", *step.split())
        time.sleep(0.1)
        batch = with_events.read()
        mine = [each for each in batch.events if each.name.startswith(NAME)]
        told.append([mine[-1].name, mine[-1].is_there, mine[-1].operstate, mine[-1].carrier, batch.has_gap])
    again = with_events.read()
    with_events.close()
    return {"told": told, "again": [len(again.events), again.has_gap]}


def gap(_: Path) -> object:
    """Tell what a socket that was not read for long says, and that it goes on."""
    netlink.BUFFER = 1
    with_events = LinkEvents()
    run("ip", "link", "add", NAME, "type", "veth", "peer", "name", PEER)
    for _round in range(50):
        switch(NAME, on=True)
        switch(NAME, on=False)
    first = with_events.read()
    rest = with_events.read()
    switch(NAME, on=True)
    time.sleep(0.1)
    after = with_events.read()
    with_events.close()
    return {"gaps": [first.has_gap, rest.has_gap], "after": [each.name for each in after.events]}


def uevents(_: Path) -> object:
    """Tell what is read after a genuine event of a device, in a network namespace of its own."""
    with_events = Uevents()
    touch()
    time.sleep(0.1)
    batch = with_events.read()
    with_events.close()
    return [list(each) for each in batch.events if each.path.endswith("/fuse")]


def touch() -> float:
    """Let the kernel tell that a device changed, which harms nobody. Tells when, just before."""
    moment = time.monotonic()
    Path("/sys/class/misc/fuse/uevent").write_text("change\n")
    return moment


def move(bus: Path, other: Path, address: str) -> float:
    """Move the link of a function to another bus, and tell it. Tells when."""
    (bus / address).rename(other / address)
    return touch()


def plugged(root: Path) -> object:
    """Tell after how many seconds 16 functions that come, and go again, are reported."""
    host = wire(root)
    write(root / "other", many(1, 15))
    addresses = sorted(path.name for path in (root / f"other{BUS}").iterdir())
    (root / "other/sys/devices/pci0000:10").rename(host / "sys/devices/pci0000:10")
    came, went = [], []
    with watching(host) as watcher:
        watcher.until_there([PF])
        for _ in range(5):
            moments = [move(root / f"other{BUS}", host / BUS[1:], address) for address in addresses]
            came.append(watcher.until_there([*addresses, PF]) - moments[-1])
            moments = [move(host / BUS[1:], root / f"other{BUS}", address) for address in addresses]
            went.append(watcher.until_there([PF]) - moments[-1])
    return {"came": came, "went": went}


SCENARIOS: Mapping[str, Callable[[Path], object]] = {
    each.__name__: each for each in (lost, given_away, events, gap, uevents, plugged)
}

if __name__ == "__main__":
    print(json.dumps(SCENARIOS[sys.argv[1]](Path(sys.argv[2]))))
