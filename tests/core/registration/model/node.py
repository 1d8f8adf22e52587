"""A node in virtual time: kubelets one after the other, gateways side by side, and everything that can go wrong."""

from collections import Counter
from collections.abc import Sequence
from itertools import count

from core.registration.model.checks import Counts
from core.registration.model.files import Folder, Identity
from core.registration.model.gateways import Gateway
from core.registration.model.kubelets import FAMILIES, Connection, Family, Kubelet, Second
from core.registration.model.virtual_time import Time
from core.registration.model.words import ControlSockets
from core.registration.story import DIALECTS
from plugin_gateway.core.registration.failures import Failure
from plugin_gateway.core.registration.states import Absent, StandingBy, Streaming

RESOURCES = ("one", "two", "three")
QUIET = 60.0
"""Seconds after the last fault in which everything has to be in order again.

A Register that is never answered takes 25 s, an older gateway without a stream has precedence for 15 s, a retry waits
for up to 12 s.
"""
REFUSALS = (Failure.NAME_REFUSED, Failure.REFUSED, Failure.DIAL_BACK_FAILED, Failure.VERSION_REFUSED)
START = 0.15
"""Seconds that the start of a process takes at least."""
LONG_STOP = 0.9
"""Seconds of a stop that is longer than what the longest pause after a stream covers."""


SHARING_SEEDS = (1, 4)
"""The remainders of the seeds with which it is certain that all kubelets are of 1.37, so that gateways can share."""
KINDS = (*FAMILIES, FAMILIES[0], FAMILIES[4])
"""The families that a kubelet can be of. Those of which more can be wrong are there twice."""


def family(choice: int) -> Family:
    return KINDS[choice % len(KINDS)]


class Node:
    """One node. Each method is a fault. ``choice`` says which of the possible ones it is."""

    def __init__(self, seed: int, counts: Counts | None = None) -> None:
        self.time = Time(seed)
        self.counts = counts if counts is not None else Counts(Counter())
        self.folder = Folder()
        self.kubelet: Kubelet | None = None
        self.gateways: list[Gateway] = []
        self.wanted: list[str] = list(RESOURCES[: 1 + seed % len(RESOURCES)])
        """The resources that every gateway offers."""
        self.control = ControlSockets(self.time) if seed % 16 in SHARING_SEEDS else None
        """None unless it is certain that all kubelets are of 1.37."""
        self.devices = 0
        """The state of the devices. Gateways see it a moment later."""
        self._numbers = count(1)

    # Kubelets.

    def start_kubelet(self, choice: int) -> None:
        """Start a kubelet, of another family maybe. An earlier one ends before."""
        self.kill_kubelet(0)
        self._begin(family(choice), reuses_inode=choice // len(KINDS) % 2 == 1)

    def restart_kubelet(self, choice: int) -> None:
        """End the kubelet and start it again a moment later."""
        before = self.kubelet.family if self.kubelet is not None else family(choice)
        (self.end_kubelet if choice % 2 else self.kill_kubelet)(choice // 16)
        self.time.run((0.0, 0.002, 0.1, 2.0)[choice // 2 % 4])
        self._begin(before, reuses_inode=choice // 8 % 2 == 1)

    def _begin(self, family: Family, *, reuses_inode: bool) -> None:
        family = family if self.control is None else FAMILIES[-1]
        if not self.folder.exists:
            self.folder.appear()
        self.kubelet = Kubelet(self.time, self.folder, family, next(self._numbers))
        self.folder.delete_sockets()
        self.folder.listen(self.kubelet, reuses_inode=reuses_inode)
        self.time.tell(self.kubelet.name, "starts", "with the same inode" if reuses_inode else "")

    def kill_kubelet(self, choice: int) -> None:
        """Kill the kubelet. Its socket stays. Its connections can end a moment after it."""
        if self.kubelet is not None:
            self.kubelet.end(lingering=(0.0, 0.0, 0.5, 1.5)[choice % 4])
            self.kubelet = None

    def end_kubelet(self, choice: int) -> None:
        """End the kubelet in order."""
        self.kill_kubelet(choice)
        self.folder.remove_kubelet()

    def stop_kubelet(self, choice: int) -> None:
        """Stop the kubelet for a while."""
        if (kubelet := self.kubelet) is not None and not kubelet.is_stopped:
            seconds = (0.05, 0.3, 0.8, 3.0, 12.0, 30.0)[choice % 6]
            kubelet.was_stopped_long |= seconds > LONG_STOP
            kubelet.stop()
            self.time.after(seconds, kubelet.go_on)

    def touch_kubelet(self, _choice: int) -> None:
        """Change the time of kubelet.sock. The kubelet lives on."""
        self.time.tell("node", "touches kubelet.sock")
        self.folder.touch()
        if self.folder.kubelet is not None:
            self.folder.kubelet.was_touched = True

    def move_kubelet_socket(self, choice: int) -> None:
        """Move kubelet.sock away and back. The kubelet lives on."""
        if (identity := self.folder.identity) is not None and self.folder.kubelet is not None:
            self.time.tell("node", "moves kubelet.sock away")
            self.folder.move_kubelet_away()
            self.time.after((0.0005, 0.02, 0.3, 2.0)[choice % 4], self._move_back, self.folder.kubelet, identity)

    def _move_back(self, kubelet: Kubelet, identity: Identity) -> None:
        if self.folder.kubelet is kubelet and self.folder.identity is None:
            self.time.tell("node", "moves kubelet.sock back")
            self.folder.move_kubelet_back(identity)

    def replace_directory(self, choice: int) -> None:
        """Replace the directory. The kubelet is killed and starts again in the new one."""
        before = self.kubelet.family if self.kubelet is not None else family(choice)
        self.time.tell("node", "replaces the directory")
        self.folder.vanish()
        self.time.run((0.0, 0.01, 2.0)[choice % 3])
        self.folder.appear()
        self.time.run((0.0, 0.01, 2.0)[choice // 3 % 3])
        self.kill_kubelet(0)
        self._begin(before, reuses_inode=False)

    def delete_sockets(self, _choice: int) -> None:
        """Delete the sockets of the gateways."""
        self.time.tell("node", "deletes the sockets")
        self.folder.delete_sockets()

    def slow_answers(self, choice: int) -> None:
        """Let the answers of the kubelet take longer."""
        if self.kubelet is not None:
            self.kubelet.answer_delay = (0.0, 0.01, 0.5, 1.2, 5.0, 24.0, 30.0)[choice % 7]

    def lose_answers(self, choice: int) -> None:
        """Lose the next answers of the kubelet."""
        if self.kubelet is not None:
            self.kubelet.lost_answers = 1 + choice % 2

    def refuse(self, choice: int) -> None:
        """Let the kubelet refuse the next Register calls."""
        if self.kubelet is not None:
            self.kubelet.refusals += [REFUSALS[choice % len(REFUSALS)]] * (1 + choice // len(REFUSALS) % 4)

    def slow_dials(self, choice: int) -> None:
        """Let the kubelet reach no endpoint for a while."""
        if self.kubelet is not None:
            self.kubelet.dial_not_before = self.time.now + (0.01, 0.5, 2.0, 9.0, 11.0)[choice % 5]

    def slow_streams(self, choice: int) -> None:
        """Let the kubelet open its streams later."""
        if self.kubelet is not None:
            self.kubelet.stream_delay = (0.0, 0.1, 1.2, 2.5)[choice % 4]

    def drop_stream(self, choice: int) -> None:
        """Let the kubelet end one of its streams."""
        if self.kubelet is not None and not self.kubelet.is_stopped:
            streams = [each for made in self.kubelet.connections.values() for each in made if each.is_open]
            if streams:
                self.kubelet.close(streams[choice % len(streams)])

    # Gateways.

    def start_gateway(self, choice: int) -> None:
        """Start another gateway. There are three at most."""
        running = self._running()
        if len(running) < 3:
            self.time.run(START)
            name = f"{next(self._numbers):03}"
            gateway = Gateway(
                self.time,
                self.folder,
                name,
                self.counts,
                devices=self.devices,
                control=self.control,
                has_inotify=choice % 4 != 0,
            )
            self.gateways.append(gateway)
            for resource in self.wanted:
                gateway.add(resource)

    def end_gateway(self, choice: int) -> None:
        """Let a gateway leave, in order or killed. The last one is followed by another."""
        running = self._running()
        if running:
            gateway = running[choice // 2 % len(running)]
            gateway.end(in_order=choice % 2 == 0)
            self.gateways.remove(gateway)
            if self.control is None and choice // 4 % 2:  # else they cannot reach its control socket
                for other in self._running():
                    other.deliver(other.hear_left, gateway.name)

    def change_devices(self, choice: int) -> None:
        """Change the state of the devices. One of the gateways may see it late."""
        self.devices += 1
        for number, gateway in enumerate(running := self._running()):
            slowly = choice // 2 % 2 and number == choice % 2 % len(running)
            gateway.later(2.0 if slowly else self.time.list_delay(), gateway.see_devices, self.devices)

    def break_words(self, choice: int) -> None:
        """Break the connections to the control sockets, or let words come late for a while."""
        if self.control is not None:
            if choice % 2:
                self.control.break_all()
            self.control.delay = (0.0, 0.02, 0.5, 2.0, 7.0)[choice // 2 % 5]
            self.time.after(3.0, self._hurry_words)

    def _hurry_words(self) -> None:
        if self.control is not None:
            self.control.delay = 0.0

    def stop_gateway(self, choice: int) -> None:
        """Stop a gateway for a while."""
        running = self._running()
        if running:
            gateway = running[choice % len(running)]
            if not gateway.is_stopped:
                gateway.stop()
                self.time.after((0.02, 0.5, 2.0, 12.0, 30.0)[choice // 3 % 5], gateway.go_on)

    def _running(self) -> list[Gateway]:
        return [each for each in self.gateways if each.is_alive]

    def change_settings(self, choice: int) -> None:
        """Allow only some dialects, or all."""
        allowed = [DIALECTS, DIALECTS[:1], DIALECTS[1:], DIALECTS[:2], DIALECTS[2:], DIALECTS][choice % 6]
        for gateway in self._running():
            gateway.allow(allowed)

    def add_or_withdraw(self, choice: int) -> None:
        """Offer a resource that was not offered, or withdraw one."""
        self._toggle(RESOURCES[choice % len(RESOURCES)])

    def withdraw_for_a_moment(self, choice: int) -> None:
        """Withdraw a resource and offer it again at once."""
        name = RESOURCES[choice % len(RESOURCES)]
        self._toggle(name)
        self.time.run((0.0, 0.0005, 0.01, 0.5)[choice // len(RESOURCES) % 4])
        self._toggle(name)

    def _toggle(self, name: str) -> None:
        is_wanted = name in self.wanted
        (self.wanted.remove if is_wanted else self.wanted.append)(name)
        for gateway in self._running():
            gateway.deliver(gateway.withdraw if is_wanted else gateway.add, name)

    def fail_binds(self, choice: int) -> None:
        """Let the gateways create no sockets for a while."""
        for gateway in self._running():
            gateway.can_bind = False
        self.time.after((0.01, 0.5, 3.0)[choice % 3], self._allow_binds)

    def _allow_binds(self) -> None:
        for gateway in self.gateways:
            gateway.can_bind = True

    def renew(self, choice: int) -> None:
        """Let a resource be registered again."""
        for gateway in self._running():
            if self.wanted and not gateway.is_stopped:
                gateway.renew(self.wanted[choice % len(self.wanted)])

    def jump(self, choice: int) -> None:
        """Let time pass in which no process runs."""
        self.time.tell("node", "is suspended")
        self.time.jump((0.1, 2.0, 40.0, 4000.0)[choice % 4])

    # Quiet.

    def be_quiet(self, _choice: int) -> None:
        """End all faults, wait, and see that everything is in order."""
        self._end_faults()
        self.time.run(QUIET)
        if self._restore_lost():
            self.time.run(QUIET)
        self.check()

    def _restore_lost(self) -> bool:
        """Do as the watch for conflicts does if the kubelet has lost the devices to a gateway that left at once.

        The other gateway had its stream for less time than it takes to notice it.
        """
        kubelet, has_lost = self.kubelet, False
        assert kubelet is not None
        for name in sorted(kubelet.may_be_lost):
            for stream in kubelet.connections.get(name, []):
                if stream.is_open and not self._is_known(kubelet, stream):
                    has_lost = True
                    self._renew_with(stream)
        return has_lost

    def _renew_with(self, stream: Connection) -> None:
        for gateway in self._running():
            if gateway is stream.call.plugin:
                gateway.renew(stream.call.resource)

    def _end_faults(self) -> None:
        kubelet = self.kubelet
        if kubelet is None:
            self._begin(FAMILIES[-1 - next(self._numbers) % len(FAMILIES)], reuses_inode=False)
        else:
            kubelet.go_on()
            kubelet.stream_delay = 0.0
            kubelet.answer_delay, kubelet.lost_answers, kubelet.refusals, kubelet.dial_not_before = 0.0, 0, [], 0.0
        if not self._running():
            self.start_gateway(1)
        for gateway in self._running():
            gateway.can_bind = True
            gateway.go_on()
            gateway.allow(DIALECTS)

    def check(self) -> None:
        """Every resource that is offered has one stream with one gateway, and no other has any."""
        must, kubelet = self.time.must, self.kubelet
        assert kubelet is not None
        for name in RESOURCES:
            streams = [each for each in kubelet.connections.get(name, []) if each.is_open]
            expected = 1 if name in self.wanted else 0
            must(len(streams) == expected, f"{name} has {len(streams)} streams, not {expected}")
            for stream in streams:
                must(self._is_known(kubelet, stream), f"the kubelet has lost track of {stream.socket.name}")
                must(kubelet.lists[name][1] == self.devices, f"the last list of {name} is of {kubelet.lists[name][1]}")
        for gateway in self._running():
            self._check_gateway(gateway, kubelet)

    def _is_known(self, kubelet: Kubelet, stream: Connection) -> bool:
        if kubelet.was_stopped_long:
            return True
        key = stream.socket.name if kubelet.family.second is Second.BY_PATH else stream.call.resource
        return kubelet.newest.get(key) is stream

    def _check_gateway(self, gateway: Gateway, kubelet: Kubelet) -> None:
        for resource in gateway.resources.values():
            state = resource.registration.state
            if resource.name not in self.wanted:
                self.time.must(isinstance(state, Absent), f"{gateway.name} keeps {resource.name}: {state}")
                continue
            is_served = any(each.call.plugin is gateway for each in kubelet.connections[resource.name])
            expected = Streaming if is_served else StandingBy
            self.time.must(isinstance(state, expected), f"{gateway.name} has {resource.registration}")


FAULTS: Sequence[str] = (
    "start_kubelet",
    "restart_kubelet",
    "restart_kubelet",
    "kill_kubelet",
    "end_kubelet",
    "stop_kubelet",
    "touch_kubelet",
    "move_kubelet_socket",
    "replace_directory",
    "delete_sockets",
    "slow_answers",
    "slow_answers",
    "lose_answers",
    "refuse",
    "slow_dials",
    "slow_streams",
    "drop_stream",
    "drop_stream",
    "start_gateway",
    "end_gateway",
    "stop_gateway",
    "change_devices",
    "break_words",
    "change_settings",
    "add_or_withdraw",
    "add_or_withdraw",
    "withdraw_for_a_moment",
    "withdraw_for_a_moment",
    "fail_binds",
    "renew",
    "jump",
    "be_quiet",
)
"""The methods of `Node`. Those that stand twice happen more often."""
SHARING_FAULTS: Sequence[str] = (
    "restart_kubelet",
    "touch_kubelet",
    "move_kubelet_socket",
    "slow_answers",
    "slow_streams",
    "slow_streams",
    "drop_stream",
    "drop_stream",
    "start_gateway",
    "start_gateway",
    "end_gateway",
    "stop_gateway",
    "stop_gateway",
    "change_devices",
    "break_words",
    "break_words",
)
"""Those that matter most to gateways that share a resource."""
