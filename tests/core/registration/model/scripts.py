"""Scripts of faults: drawn at random, played on a node, and made shorter while they still fail."""

import random
from collections.abc import Sequence
from typing import NamedTuple

from core.registration.model.checks import Counts
from core.registration.model.node import FAULTS, SHARING_FAULTS, SHARING_SEEDS, Node
from core.registration.model.virtual_time import InvariantError

PAUSES = (0.0, 0.0003, 0.001, 0.004, 0.02, 0.06, 0.1, 0.3, 1.0, 1.5, 3.0, 5.0, 11.0, 16.0)
"""Seconds between two faults."""
HURRY = 9
"""The number of pauses that are short."""
MAX_CHOICE = 63


class Fault(NamedTuple):
    """A fault, and how long it is quiet after it."""

    name: str
    choice: int
    pause: float


Script = Sequence[Fault]


def draw(seed: int, length: int) -> Script:
    """Return random faults. In every second script they follow each other quickly."""
    chance = random.Random(seed)
    pauses = PAUSES if seed % 2 else PAUSES[:HURRY]
    faults = SHARING_FAULTS if seed % 16 == SHARING_SEEDS[0] else FAULTS
    return [Fault(chance.choice(faults), chance.randint(0, MAX_CHOICE), chance.choice(pauses)) for _ in range(length)]


def play(seed: int, script: Script, counts: Counts | None = None) -> str:
    """Let the faults happen to a node with a kubelet and a gateway. Then it has to become orderly.

    Returns the end of the story.

    Raises:
        InvariantError: with the story.
    """
    return after(seed, script, counts).time.story()


def after(seed: int, script: Script, counts: Counts | None = None) -> Node:
    """Return the node on which a script was played.

    Raises:
        InvariantError: with the story.
    """
    node = Node(seed, counts)
    node.start_kubelet(seed)
    node.start_gateway(1)
    for fault in script:
        node.time.tell("fault", *fault)
        getattr(node, fault.name)(fault.choice)
        node.time.run(fault.pause)
    node.be_quiet(0)
    return node


def problem(seed: int, script: Script) -> str | None:
    """Return what goes wrong. None if nothing does."""
    try:
        play(seed, script)
    except InvariantError as error:
        return str(error)
    return None


def shortest(seed: int, script: Script) -> Script:
    """Return the script without faults that are not needed for it to fail."""
    size = len(script)
    while size:
        for begin in range(len(script) - size, -1, -1):
            shorter = [*script[:begin], *script[begin + size :]]
            if problem(seed, shorter) is not None:
                script = shorter
        size = min(size // 2, len(script))
    return script
