"""In which order the dialects are tried, and the resources are registered."""

from core.registration.story import DIALECTS, MIDDLE, NEWEST, OLDEST
from plugin_gateway.core.registration.order import ladder, next_turn
from plugin_gateway.core.registration.precedence import Precedence
from plugin_gateway.core.registration.states import Accepted, Leaving, Queued, Registering, Registration, Streaming


def registration(state: Queued | Registering | Accepted | Streaming | Leaving) -> Registration:
    return Registration(Precedence("a"), state)


def test_the_ladder_begins_with_what_the_last_kubelet_took() -> None:
    assert ladder(DIALECTS, None) == DIALECTS
    assert ladder(DIALECTS, OLDEST.version) == (OLDEST, NEWEST, MIDDLE)
    assert ladder((NEWEST,), OLDEST.version) == (NEWEST,)


def test_whoever_waits_longest_has_the_next_turn_unless_the_kubelet_is_busy() -> None:
    early, late = registration(Queued(1.0, OLDEST, ())), registration(Queued(2.0, OLDEST, ()))
    assert next_turn([late, early]) is early
    assert next_turn([early, registration(Registering(1, 0.0, OLDEST, ()))]) is None
    assert next_turn([early, registration(Accepted(1, 0.0, OLDEST, 3.0, 3.0))]) is None
    assert next_turn([early, registration(Leaving(1, OLDEST, 1.0))]) is None, "it may still be dialed"
    assert next_turn([early, registration(Streaming(1, OLDEST))]) is early
    assert next_turn([early, registration(Registering(1, 0.0, NEWEST, ()))]) is early
    assert next_turn([]) is None
