"""The status: what one gateway knows and does at one moment. Terminal, page, JSON, `doctor` and metrics read it.

`status_making` makes it from the gateway. `status_document` writes it as JSON, and reads it. The docstrings are the
descriptions in docs/status.schema.json. A field with a default can be missing in the answer of an older gateway.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields

from plugin_gateway.adapters.gateway.device_status import DeviceStatus
from plugin_gateway.adapters.gateway.driver_access import Released
from plugin_gateway.adapters.registration.history import Failed, Registered
from plugin_gateway.core.device_count import KnownDevice
from plugin_gateway.core.devices import RejectedDevice
from plugin_gateway.core.health.observations import KernelLogRead
from plugin_gateway.core.resources.names import parse_resource_name
from plugin_gateway.core.resources.rules import EVERY_PRODUCT, ResourceRule, Selector

VERSION = 1
"""Version of the form. A field that is added does not change it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayIdentity:
    """Which gateway it is."""

    version: str | None = None
    """Version of the gateway. Null if it is too old to say it."""
    host: str | None = None
    """Name of its host. In a cluster it is the name of the pod."""
    instance: str | None = None
    """The part of its sockets' names that no other gateway has."""
    pid: int | None = None
    """Its process, as `plugin-gateway status` sees it. Null if it is not visible there, and in /status."""
    socket: str | None = None
    """Its control socket. Null in /status."""
    role: str | None = None
    """What it does for the kubelet, as `plugin-gateway status` says it. Null in /status."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverStatus:
    """The driver of the devices."""

    version: str | None
    """Version of the driver that answered last. Null if none has told it."""
    problem: str | None
    """Why the driver cannot be asked. Null if it can."""
    todo: str | None = None
    """What to do about it, for people. Null if nothing is known, or the gateway is too old to say it."""
    events_problem: str | None
    """Why the driver's events cannot be received, so that faults go unseen. Null if they can."""
    kernel_log: KernelLogRead | None = None
    """Null if the kernel's log is not to be read, or nobody has tried yet."""
    released: Released | None = None
    """Null if no operator has released the driver."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendStatus:
    """A backend: one kind of driver, with its devices."""

    name: str
    driver: DriverStatus
    has_answered: bool
    """Whether its driver has shown its devices since the gateway started."""
    device_count: int
    """How many devices its driver shows, with their parts."""
    device_word: str = ""
    """The common word for one of the devices, in the singular. Empty if the gateway is too old to say it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationFile:
    """The configuration file of the gateway."""

    path: str
    changed: bool
    """Whether it was changed after the gateway read it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """A setting that is not a default."""

    value: str
    source: str
    """Which flag, variable or key of the file decided it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamingRule:
    """Which devices are offered under which name, and how. The first rule that matches decides."""

    pattern: str | None
    """A shell pattern for the whole product name. Null if the rule says more than a pattern and a name."""
    name: str | None
    """The name of the resource. Null if the devices are never offered."""
    rule: ResourceRule | None = None
    """The whole rule. Null if the gateway is too old to say it."""

    @property
    def whole(self) -> ResourceRule:
        """The rule itself.

        Raises:
            InvalidValueError: the gateway has a name or a pattern that this version does not allow.
        """
        if self.rule is not None:
            return self.rule
        products = (self.pattern,) if self.pattern is not None else ()
        name = parse_resource_name(self.name) if self.name is not None else None
        return ResourceRule(selector=Selector(products=products), name=name)


def naming_rule(rule: ResourceRule) -> NamingRule:
    """Return a rule as the status has it."""
    products = rule.selector.products or (EVERY_PRODUCT,)
    is_simple = rule == ResourceRule(selector=Selector(products=rule.selector.products), name=rule.name)
    return NamingRule(pattern=products[0] if is_simple and len(products) == 1 else None, name=rule.name, rule=rule)


@dataclass(frozen=True, slots=True, kw_only=True)
class InForce:
    """The settings with which other commands look at the node as this gateway does. Null if the gateway is too old."""

    kubelet_dir: str | None = None
    driver_root: str | None = None
    container_driver_root: str | None = None
    dev_root: str | None = None
    host_root: str | None = None
    backend: str | None = None
    pass_device_specs: bool | None = None
    numa_hints: bool | None = None
    kernel_log: bool | None = None
    resources: tuple[NamingRule, ...] | None = None


OPTIONS_IN_FORCE = tuple(field.name for field in fields(InForce) if field.name != "resources")
"""The fields of `InForce` that are options of the same name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedResource:
    """A resource, and how far its registration with the kubelet is."""

    name: str
    api_version: str | None
    """The API version of the open stream. Null if no stream is open."""
    endpoint: str | None
    """The name of the socket that was sent to the kubelet last. Null if there is none."""
    stream_opened: float | None
    """When the open stream was opened, in seconds since the epoch. Null if no stream is open."""
    stands_by: bool
    """Whether another gateway of this node serves the resource."""
    registrations: tuple[Registered, ...]
    """The latest registrations, the oldest first."""
    failures: tuple[Failed, ...]
    """The latest registrations that failed, the oldest first."""
    fallback: str | None = None
    """Why containers get device nodes and the variable, although CDI was asked for. Null if they do not."""

    @property
    def is_asked_for(self) -> bool:
        """Whether the kubelet was asked to open a stream, and has not done so yet."""
        return self.endpoint is not None and self.stream_opened is None

    @property
    def problem(self) -> Failed | None:
        """The last failure. None if a registration came after it."""
        since = self.registrations[-1].at if self.registrations else 0.0
        return self.failures[-1] if self.failures and self.failures[-1].at > since else None


@dataclass(frozen=True, slots=True, kw_only=True)
class CountStatus:
    """How many devices of the first backend there are and should be."""

    word: str = ""
    """The common word for one of the devices, in the singular. Empty if the gateway is too old to say it."""
    expected: int | None = None
    """How many there should be. Null if that is not known."""
    decided_by: str | None = None
    """What says how many there should be. Null if nothing does."""
    present: int | None = None
    """How many can be offered. Null until that is known."""
    missing: tuple[KnownDevice, ...] = ()
    """The known devices that are missing. Empty while there are as many as expected."""
    rejected: tuple[RejectedDevice, ...] = ()
    """The devices that cannot be offered. Empty while there are as many as expected."""
    problem: str | None = None
    """Which devices are missing, for people. Null if none is."""
    kept_in: str | None = None
    """The file that remembers the number."""
    not_kept: str | None = None
    """Why that file cannot be written. Null if it can."""
    file_system: str | None = None
    """The kind of the file system of that file. Null if it is not known."""
    outlives_boot: bool = False
    """Whether that file system outlives a boot."""
    lost_with: str | None = None
    """With what all is lost that the state directory keeps: `container` or `pod`. Null if with neither."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginSocket:
    """A socket that may be the other plugin's."""

    name: str
    pid: int | None
    """The process that listens on it. Null if it is not visible."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConflictStatus:
    """Another device plugin with the same resource or the same devices."""

    resource: str
    """The resource of this gateway."""
    cause: str
    """How it was found: `foreign_devices`, `same_devices` or `socket_name`."""
    other_resource: str | None
    """The name under which the same devices are offered. Null if it is the same resource."""
    devices: tuple[str, ...]
    """The ids that show it, as the kubelet has them."""
    sockets: tuple[PluginSocket, ...]
    """The sockets that may be those of the other plugin. Empty if none is in the kubelet's directory."""
    what: str
    """What is wrong, for people."""
    todo: str
    """What to do about it, for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CdiStatus:
    """The CDI specs of the devices."""

    folder: str
    """Where they are written, as the gateway sees it."""
    way: str | None
    """How the loader of a container finds the libraries, for people. Null if it is not known yet."""
    problem: str | None
    """Why a spec cannot be written. Null if each one was."""
    foreign_files: tuple[str, ...]
    """Files of other programs that have devices of the same kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelsStatus:
    """The labels and taints of the node."""

    way: str
    """How they get to the node: `file`, `nodefeature` or `patch`."""
    where: str | None = None
    """What is written, for people. Null before the start is over."""
    wanted: Mapping[str, str] = field(default_factory=dict)
    """The labels that the node should have."""
    taints: tuple[str, ...] = ()
    """The taints that it should have, as kubectl writes them."""
    is_written: bool = False
    """Whether all of that was written."""
    problem: str | None = None
    """Why it cannot be written. Null if it can."""
    left_alone: Mapping[str, str] = field(default_factory=dict)
    """Why a label or a taint is not as it should be, by its name: somebody else writes it."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Why the node does not have a label that was made, by its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessStatus:
    """What the process of the gateway knows of itself and of its configuration."""

    gateway: GatewayIdentity = GatewayIdentity()
    kubelet_dir: str
    """The kubelet's directory of device plugins."""
    configuration_problem: str | None
    """Why the configuration that was read last was refused, so that an older one is in force. Null if it was not."""
    configurations_refused: int = 0
    """How many configurations were refused since the start."""
    configuration_file: ConfigurationFile | None = None
    """Null if there is no file, or the gateway is too old to say it."""
    label_problem: str | None = None
    """Why the label of the node cannot be read that chooses the configuration file. Null if it can, or none does."""
    labels: LabelsStatus | None = None
    """The labels of the node. Null if the gateway writes none."""
    in_force: InForce = InForce()
    configuration: Mapping[str, Decided]
    """The settings that are not defaults, by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status(ProcessStatus):
    """The status of one gateway."""

    version: int = VERSION
    """1. A field that is added does not change it."""
    driver: DriverStatus
    """That of the first backend."""
    backends: tuple[BackendStatus, ...] = ()
    """All backends, in the order of `--backend`. Empty if the gateway is too old to say it."""
    resources: tuple[OfferedResource, ...]
    """The resources that are offered to the kubelet."""
    devices: tuple[DeviceStatus, ...]
    """The devices that the driver shows."""
    absent: tuple[DeviceStatus, ...]
    """The devices that are not healthy, and that the driver does not show now."""
    rejected: tuple[RejectedDevice, ...] = ()
    """The devices that exist and cannot be offered."""
    set_aside: tuple[RejectedDevice, ...] = ()
    """The devices that are left to others."""
    device_count: CountStatus = CountStatus()
    conflicts: tuple[ConflictStatus, ...] = ()
    """The conflicts with other device plugins."""
    cdi: CdiStatus | None = None
    """The CDI specs. Null if containers do not get their devices by CDI."""

    @property
    def drivers(self) -> Sequence[tuple[str | None, DriverStatus]]:
        """The driver of each backend, with the name of the backend if there are several."""
        if len(self.backends) > 1:
            return [(each.name, each.driver) for each in self.backends]
        return [(None, self.driver)]

    def driver_words(self, backend: str | None) -> str:
        """Return what is known of the driver of a backend, for people. Network cards have one without a version."""
        driver = next((each for name, each in self.drivers if name == backend), self.driver)
        shown = [each for each in self.backends if backend in {None, each.name} and each.has_answered]
        if driver.version or not shown or not shown[0].device_word:
            return f"driver {driver.version or 'of unknown version'}"
        count, word = shown[0].device_count, shown[0].device_word
        return f"{count} {word}{'' if count == 1 else 's'}"

    @property
    def waiting(self) -> Mapping[str, Sequence[DeviceStatus]]:
        """The devices that wait for something, by what is wrong with it, for people."""
        found: dict[str, list[DeviceStatus]] = {}
        for device in self.devices:
            if device.waits_for is not None:
                found.setdefault(f"{device.resource} is not given out: {device.waits_for.reason}", []).append(device)
        return found

    @property
    def unhealthy(self) -> Sequence[DeviceStatus]:
        """All devices that are not healthy, also those that the driver does not show now."""
        return [device for device in (*self.devices, *self.absent) if not device.is_healthy]
