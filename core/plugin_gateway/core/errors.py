"""The errors of the device model, and the base class of all errors of the gateway."""

from collections.abc import Sequence


class GatewayError(Exception):
    """Base class of every error that the gateway raises itself. Its message is for the administrator."""


class InvalidValueError(GatewayError):
    """A value from outside breaks a rule. The message names the value and what is allowed."""

    @property
    def problems(self) -> Sequence[str]:
        """Return a message for each value that breaks a rule."""
        return (str(self),)


class CannotCheckError(InvalidValueError):
    """A value cannot be read or checked at the moment. The same value may be right a moment later."""


class InvalidValuesError(InvalidValueError):
    """Several values from outside break rules. The message has all of them."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self._problems = tuple(problems)

    @property
    def problems(self) -> Sequence[str]:
        """Return the messages one by one."""
        return self._problems


class AllocationError(GatewayError):
    """An allocation that cannot be granted. The message names the device ids."""

    problem = "cannot be allocated"
    """What is wrong with the ids. The message begins with these words."""

    def __init__(self, ids: Sequence[str]) -> None:
        super().__init__(f"{self.problem}: {', '.join(ids)}")
        self.ids = tuple(ids)


class UnknownDeviceError(AllocationError):
    """The resource has no devices with these ids."""

    problem = "no such device in this resource"


class RepeatedDeviceError(AllocationError):
    """These ids occur more than once in the request of one container."""

    problem = "device asked for more than once"


class SharedRequestError(AllocationError):
    """One container asks for more than one shared device, which the administrator does not allow.

    Two shares of a device give no more of it than one, so such a request is mostly a mistake.
    """

    def __init__(self, ids: Sequence[str]) -> None:
        self.problem = (
            f"a container can have at most 1 shared device, {len(ids)} were asked for (failRequestsGreaterThanOne)"
        )
        super().__init__(ids)


class UnhealthyDeviceError(AllocationError):
    """The devices with these ids are unhealthy at the moment."""

    problem = "device is unhealthy"


class MissingExtraError(AllocationError):
    """A container cannot be started without something besides the devices, which the node lacks."""

    def __init__(self, ids: Sequence[str], nodes: Sequence[str]) -> None:
        self.problem = f"{' and '.join(nodes)} is not there, which every container needs; not given out"
        super().__init__(ids)


class MissingNodeError(AllocationError):
    """A device needs nodes, or a container needs files, that the host does not have at the moment."""

    def __init__(self, ids: Sequence[str], missing: Sequence[str]) -> None:
        self.problem = f"{_AND.join(missing)}{_NOT_THERE}"
        super().__init__(ids)

    @staticmethod
    def missing_in(message: str) -> tuple[str, ...]:
        """Return what was missing by the message of such an error, which can have words before it."""
        missing, is_one, _ = message.partition(_NOT_THERE)
        return tuple(missing[missing.index("/") :].split(_AND)) if is_one and "/" in missing else ()


_AND, _NOT_THERE = " and ", " is not there; not given out"
