"""In which order the dialects are tried, and the resources are registered."""

from collections.abc import Iterable, Sequence

from plugin_gateway.core.registration.states import Accepted, Leaving, Queued, Registering, Registration
from plugin_gateway.core.registration.values import Manners


def ladder(dialects: Sequence[Manners], last: str | None) -> tuple[Manners, ...]:
    """Return the dialects in the order in which to try them: the last accepted one, then the newest first.

    A kubelet refuses every other dialect, so the order only affects how long the registration takes. On 1.8, a
    container that starts before the registration gets no devices.
    """
    return (*(each for each in dialects if each.version == last), *(each for each in dialects if each.version != last))


def next_turn(registrations: Iterable[Registration]) -> Registration | None:
    """Return the registration that can be sent now, of those that wait for others. None if there is none.

    Only dialects that need it wait: there the kubelet has to open the stream of one resource before another one is
    registered.
    """
    queued: list[tuple[float, Registration]] = []
    for each in registrations:
        match each.state:
            case Registering() | Accepted() | Leaving() if each.state.dialect.one_resource_at_a_time:
                return None
            case Queued(began):
                queued.append((began, each))
            case _:
                pass
    return min(queued, key=lambda pair: pair[0])[1] if queued else None
