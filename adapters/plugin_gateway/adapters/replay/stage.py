"""Plays one recorded line at a time: a fold over what was recorded, with the pure functions of the gateway."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from plugin_gateway.adapters.dialects import dialects_for, load_dialects
from plugin_gateway.adapters.dialects.dialect import KUBELET_AGENT, Dialect, Ids, MalformedMessageError
from plugin_gateway.adapters.dialects.refusals import status_of
from plugin_gateway.adapters.replay.comparing import (
    LeftOutError,
    compare,
    compare_registers,
    described_extras,
    named_nodes,
)
from plugin_gateway.adapters.replay.offering import Offer, Offering
from plugin_gateway.adapters.replay.reading import Happening, Recording
from plugin_gateway.adapters.replay.recorded_nodes import RecordedNodes, folders_at
from plugin_gateway.adapters.replay.registering import Endpoint, Registrations
from plugin_gateway.adapters.replay.streams import Stream
from plugin_gateway.core.registration.values import AskedForOptions, StreamEnded, StreamOpened
from plugin_gateway.core.resources.allocation import ContainerEdits, allocate
from plugin_gateway.core.resources.assignment import Advertisement
from plugin_gateway.core.resources.cdi_names import carried
from plugin_gateway.core.resources.choice import known_of
from plugin_gateway.core.resources.names import ResourceName
from plugin_gateway.core.resources.pairing import Grant, Grants, counting, nearest, noted
from plugin_gateway.core.resources.preference import PreferenceRequest

Fields = Mapping[str, Any]


class Stage:
    """The gateway in a replay."""

    def __init__(self, recording: Recording) -> None:
        self._at = 0.0
        self._offering = Offering(recording)
        self._registrations = Registrations(dialects_for(recording.configuration.api_version))
        self._streams: dict[str, Stream] = {}
        self._unopened: set[str] = set()
        """Streams that could not be opened, because their resource is not registered now."""
        self._of_others: set[str | None] = set()
        """Streams that were opened by another client than the kubelet."""
        self._offered: Mapping[ResourceName, Offer] = {}
        self._grants: Grants = ()
        self.compared = 0
        """Registrations, lists and answers that were compared with the recorded ones."""
        self._acts: Mapping[str, Callable[[Fields], None]] = {
            "seen": lambda fields: self._offering.see(fields["observation"], self._at, fields["backend"]),
            "waited": lambda fields: self._offering.wait(fields["silence"], self._at, fields["backend"]),
            "cleared": lambda fields: self._offering.clear(fields["device"], self._at, fields["backend"]),
            "withheld": lambda fields: self._offering.withhold(fields["devices"], self._at),
            "configured": self._configure,
            "kubelet": lambda fields: self._registrations.see_kubelet(is_there=fields["is_there"], at=self._at),
            "replaced": lambda fields: self._registrations.replace_kubelet(
                is_same_file=fields["is_same_file"], at=self._at
            ),
            "event": self._take_event,
            "kept_back": self._keep_back,
            "register": self._expect_register,
            "answered": lambda fields: self._registrations.answer(
                fields["request"], fields["code"], fields["words"], self._at
            ),
            "opened": self._open,
            "list": self._expect_list,
            "ended": self._end,
            "call": self._call,
            "stopping": lambda _: self._registrations.stop(self._at),
        }

    def play(self, happening: Happening) -> None:
        """Play one line at its recorded time.

        Raises:
            MissedError: the gateway does not do what was recorded.
            LeftOutError: the line cannot be played.
        """
        self._leave_out(happening)
        if happening.what in self._acts:
            self._acts[happening.what](happening.fields)
            self._follow_offers()

    def move_to(self, happening: Happening) -> None:
        """Let the gateway do what is due before a line."""
        self._at = max(self._at, happening.at)
        self._offering.pass_time(self._at, is_seen=happening.what == "seen")
        self._registrations.pass_time(self._at)
        self._follow_offers()

    def open_streams(self) -> Iterator[Stream]:
        """Yield all open streams."""
        yield from self._streams.values()

    def further_registrations(self) -> Iterator[str]:
        """Yield descriptions of the registrations that are made now and were not recorded until this line."""
        return self._registrations.further(self._at)

    def find_further_lists(self, stream: Stream) -> None:
        """Look for lists that are sent now and were not recorded until this line.

        Raises:
            MissedError: there are some.
        """
        stream.find_further(self._at)

    def _follow_offers(self) -> None:
        """Register the resources that are offered, and no others, and note what their streams have to send."""
        before, self._offered = self._offered, dict(self._offering.offers)
        for name in before.keys() - self._offered.keys():
            self._registrations.remove(name, self._at)
        for name, offer in self._offered.items():
            if before.get(name) is not offer:
                self._registrations.add(name, self._at)
        for stream in self._streams.values():
            stream.follow(self._at)

    def _leave_out(self, happening: Happening) -> None:
        """Leave out calls and streams of other clients than the kubelet, and lines that say nothing.

        Raises:
            LeftOutError: the line is of another client, cut or unknown.
        """
        if happening.what == "cut":
            raise LeftOutError("cut")
        if happening.what == "unknown":
            raise LeftOutError("of a kind that this version does not know")
        stream = happening.fields.get("stream")
        is_of_another = "agent" in happening.fields and not happening.fields["agent"].startswith(KUBELET_AGENT)
        if is_of_another:
            self._of_others.add(stream)
        if is_of_another or (stream is not None and stream in self._of_others):
            raise LeftOutError("of another client than the kubelet")

    def _configure(self, fields: Fields) -> None:
        configuration = fields["configuration"]
        self._registrations.allow(dialects_for(configuration.api_version), self._at)
        self._offering.configure(configuration, self._at)

    def _take_event(self, fields: Fields) -> None:
        self._registrations.take_event(fields["resource"], fields["instance"], fields["event"], self._at)

    def _keep_back(self, fields: Fields) -> None:
        offer = self._offered.get(ResourceName(fields["resource"]))
        if offer is None:
            raise LeftOutError("of a resource that is not offered now")
        offer.is_kept_back, offer.repeats = not fields["is_over"], offer.repeats + fields["is_over"]
        for stream in self._streams.values():
            if offer.is_kept_back and stream.endpoint.offer is offer:
                stream.keep_back(self._at)

    def _expect_register(self, fields: Fields) -> None:
        if not self._registrations.is_present:
            raise LeftOutError("no kubelet in this recording")
        then = fields["request"]
        offer = self._offered.get(then.resource_name)
        self.compared += 1
        compare_registers(then, self._registrations.register(fields["api_version"], then, offer, self._at))

    def _open(self, fields: Fields) -> None:
        name = fields["stream"]
        self._unopened.add(name)
        endpoint = self._registrations.endpoint(fields["resource"])
        self._unopened.discard(name)
        dialect = _served(endpoint.dialect, fields["service"])
        self._streams[name] = stream = Stream(
            endpoint, dialect or endpoint.dialect, of_kubelet=not endpoint.is_claimed, at=self._at
        )
        if stream.of_kubelet:
            self._registrations.tell(endpoint, StreamOpened(endpoint.attempt), self._at)
            if self._offering.configuration.unhealthy_first.applies(
                forgetful_agent=stream.dialect.forgetful_agent,
                user_agent=fields["agent"],
                may_be_known=endpoint.may_be_known,
            ):
                stream.begin_with(endpoint.offer.advertisement.with_all_unhealthy())
        endpoint.is_claimed = True

    def _expect_list(self, fields: Fields) -> None:
        stream = self._followed(fields["stream"])
        self.compared += 1
        stream.expect(fields["message"], self._at)

    def _end(self, fields: Fields) -> None:
        stream = self._followed(fields["stream"])
        del self._streams[fields["stream"]]
        if stream.of_kubelet:
            self._registrations.tell(stream.endpoint, StreamEnded(stream.endpoint.attempt), self._at)
        stream.end(fields["by"], self._at)

    def _followed(self, stream: str) -> Stream:
        """Return a stream.

        Raises:
            LeftOutError: it is not open.
        """
        if stream not in self._streams:
            is_missed = stream in self._unopened
            raise LeftOutError("its stream is not there now" if is_missed else "no such stream in this recording")
        return self._streams[stream]

    def _call(self, fields: Fields) -> None:
        endpoint, method, then = self._registrations.endpoint(fields["resource"]), fields["method"], fields["answer"]
        dialect = _served(endpoint.dialect, fields["service"])
        if dialect is not None and method == dialect.options_method:
            self._registrations.tell(endpoint, AskedForOptions(endpoint.attempt), self._at)
        now = self._answer(endpoint, dialect, fields)
        self.compared += 1
        compare(dialect or endpoint.dialect, method, fields["error"] if then is None else then, now)

    def _answer(self, endpoint: Endpoint, dialect: Dialect | None, fields: Fields) -> bytes | str:
        """Return the answer to a call, or its error as the recorder writes it."""
        offer, policy = endpoint.offer, self._offering.configuration.policy
        if policy.needs_specs:
            policy = carried(policy, endpoint.dialect.carries_to(fields["agent"]))
        recipes = offer.advertisement.recipes.values()
        extras = {word: extra for recipe in recipes for word, extra in recipe.extras.items()}
        named = named_nodes(endpoint.dialect, fields["answer"], extras.values())
        nodes = RecordedNodes(named, _folders(offer.advertisement, endpoint.dialect, fields))
        if policy.needs_specs:
            described = described_extras(endpoint.dialect, fields["answer"], extras)
            policy = policy._replace(described_extras=described)

        def grant(containers: Sequence[Ids]) -> Sequence[ContainerEdits]:
            granted = [allocate(offer.advertisement, ids, policy, nodes) for ids in containers]
            self._note_granted(endpoint.resource, offer, tuple(each for ids in containers for each in ids))
            return granted

        def prefer(request: PreferenceRequest) -> Sequence[str]:
            grants = counting(self._grants, endpoint.resource, offer.backend, self._at)
            granted = [device for each in grants for device in each.devices] if self._offering.has_pairs else []
            known = known_of(offer.advertisement, offer.links)
            return nearest(known, request, granted, self._offering.configuration.preferences)

        methods = dict(dialect.answers(grant, prefer)) if dialect else {}
        if fields["method"] not in methods:
            return "UNIMPLEMENTED: Method not found!"
        try:
            return methods[fields["method"]](fields["request"])
        except Exception as error:  # noqa: BLE001 - it is what the kubelet would be told
            return ": ".join(status_of(error))

    def _note_granted(self, resource: ResourceName, offer: Offer, ids: Ids) -> None:
        offer.grant(ids, self._at)
        if self._offering.has_pairs:
            self._grants = noted(self._grants, Grant(resource, offer.backend, offer.advertisement, ids, self._at))


def _folders(advertised: Advertisement, dialect: Dialect, fields: Fields) -> Mapping[str, Sequence[str]]:
    """Return the names in the folders of the host at the time of an allocation, for devices that need them."""
    if not advertised.asks_for_more or fields["method"] != dialect.allocation.name:
        return {}
    try:
        containers = dialect.allocation.read_request(fields["request"])
        answer = None if fields["answer"] is None else dialect.allocation.read_answer(fields["answer"])
    except MalformedMessageError:
        return {}
    return folders_at(advertised, containers, answer, fields["error"] or "")


def _served(dialect: Dialect, service: str) -> Dialect | None:
    """Return the dialect in which an endpoint of a dialect serves a service. None if it does not serve it."""
    return next((each for each in (dialect, *load_dialects()) if each.service == service), None)
