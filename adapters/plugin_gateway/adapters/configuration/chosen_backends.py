"""What the value of `--backend` chooses. `rules_by_backend` says what it means for the rules.

It is read before the driver is started. So nothing is imported here that is not needed until then.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from plugin_gateway.adapters.configuration.card_options import CARDS
from plugin_gateway.adapters.configuration.options import AUTO, DEFAULT_RESOURCE
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.resources.names import ResourceName

GPUS = "nvml"
"""The backend that ``auto`` stands for where no other one has GPUs."""
_SIMULATED = "simulated-"
"""How the name of a backend begins that simulates network cards."""


class ChosenBackend(NamedTuple):
    """One backend of `--backend`."""

    name: str
    """No other backend of this gateway has it."""
    text: str
    """The backend as it was written, such as ``simulated:8xH100``."""
    default_resource: ResourceName = DEFAULT_RESOURCE
    """The resource of its devices where no rule gives them another one. Network cards have none without a rule."""

    @property
    def has_cards(self) -> bool:
        """Whether its devices are network cards."""
        return self.name in CARDS


def resolved(text: str, sections: Collection[str]) -> str:
    """Return a value of `--backend` with what ``auto`` stands for. ``sections`` has the backends with a section.

    It stands for those with network cards that have a section, and for NVML unless GPUs come from another backend.
    """
    words = text.split(",")
    if AUTO not in words:
        return text
    others = [each for each in words if each != AUTO]
    named = {each.partition(":")[0].removeprefix(_SIMULATED) for each in others}
    gpus = () if named - {*CARDS} else (GPUS,)
    return ",".join((*gpus, *others, *(each for each in CARDS if each in sections and each not in named)))


def split(text: str, kinds: Sequence[str]) -> Sequence[str]:
    """Return the backends of a list with commas.

    What stands behind a comma and is of no known kind belongs to the backend before it: a list of parts has commas too.
    """
    found: list[str] = []
    for each in text.split(","):
        if found and each.partition(":")[0] not in kinds:
            found[-1] += f",{each}"
        else:
            found.append(each)
    return found


def check_distinct(chosen: Sequence[ChosenBackend]) -> Sequence[ChosenBackend]:
    """Return these backends, those with network cards last: what is about the first one is about GPUs.

    Raises:
        InvalidValueError: two have one name.
    """
    names = [each.name for each in chosen]
    if twice := next((each for each in names if names.count(each) > 1), None):
        raise InvalidValueError(
            f"backend {twice!r} occurs twice; expected each one once; simulated ones can have a name each, such as "
            "simulated:8xH100/name=other"
        )
    return sorted(chosen, key=lambda each: each.has_cards)


def alone(text: str) -> Sequence[ChosenBackend]:
    """Return the only backend that the text chooses."""
    return (ChosenBackend(text.partition(":")[0], text),)
