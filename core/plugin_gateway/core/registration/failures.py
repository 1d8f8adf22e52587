"""Why a registration failed, and why a resource is registered. The values say it in words."""

from enum import Enum
from typing import NamedTuple


class Failure(Enum):
    """Why a registration failed. The value says it in words."""

    NO_KUBELET_SOCKET = "no kubelet.sock"
    NOBODY_LISTENS = "kubelet.sock is there but nobody listens"
    PACKAGE_UNKNOWN = "the kubelet knows no device plugin registration: feature gate off, or package unknown"
    VERSION_REFUSED = "the kubelet refuses the API version"
    NAME_REFUSED = "the kubelet refuses the resource name"
    DIAL_BACK_FAILED = "the kubelet could not dial back"
    NO_STREAM = "registered, but the kubelet opened no stream"
    SOCKET_DELETED = "our own socket was deleted before the kubelet dialed"
    NO_ANSWER = "the kubelet did not answer in time"
    NOT_ALLOWED = "this process may not connect to kubelet.sock"
    TOO_MANY_FILES = "this process has too many open files"
    CONNECTION_LOST = "the connection to the kubelet broke"
    REFUSED = "the kubelet refused the registration"
    CANNOT_SERVE = "our own socket cannot be made"
    OTHER_CAME = "another gateway started at the same moment"

    @property
    def token(self) -> str:
        """The cause as programs read it, in metrics and in the log."""
        return self.name.lower()


class Refusal(NamedTuple):
    """A failed registration, with the kubelet's error text."""

    failure: Failure
    words: str = ""
    """The kubelet's error text. Empty if there is none."""

    @property
    def asks_for_another_dialect(self) -> bool:
        """Whether the kubelet may still accept another dialect."""
        return self.failure in {Failure.PACKAGE_UNKNOWN, Failure.VERSION_REFUSED}

    @property
    def reached_nobody(self) -> bool:
        """Whether it is certain that no kubelet received the name of the endpoint."""
        return self.failure in {
            Failure.NO_KUBELET_SOCKET,
            Failure.NOBODY_LISTENS,
            Failure.NOT_ALLOWED,
            Failure.TOO_MANY_FILES,
            Failure.CANNOT_SERVE,
            Failure.OTHER_CAME,
        }


class Reason(Enum):
    """Why a resource is registered. The value says it in words."""

    KUBELET_APPEARED = "kubelet.sock appeared"
    KUBELET_REPLACED = "kubelet.sock is another one"
    STREAM_ENDED = "the kubelet ended the stream"
    RESOURCE_ADDED = "a resource was added"
    SETTINGS_CHANGED = "the settings changed"
    OTHER_GATEWAY_CAME = "the elder of two gateways has the resource"
    OTHER_GATEWAY_LEFT = "the other gateway left"
    OTHER_GATEWAY_AGREED = "the other gateway agreed to be replaced"
    OTHER_PLUGIN_LEFT = "the other device plugin left"
    DEVICES_LOST = "the kubelet had none of the devices any more"

    @property
    def token(self) -> str:
        """The reason as programs read it, in metrics and in the log."""
        return self.name.lower()
