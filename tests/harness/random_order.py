"""What tests with faults in random order share: how many there are, and of which releases the kubelet is."""

import os

from hypothesis import Phase, settings
from hypothesis import strategies as st

SOAK = os.environ.get("SOAK_EXAMPLES")
"""How many examples a soak asks for. None in the usual run."""
_DISTINCT = ("1.8", "1.9.7", "1.10.2", "1.12", "1.36", "1.37")
"""Releases of which no two behave alike in what matters here."""
releases = st.sampled_from([*_DISTINCT, *([f"1.{minor}" for minor in range(8, 38)] if SOAK else [])])


def budget(examples: int, steps: int) -> settings:
    """Return the settings for a fixed sample of so many examples, or for as many random ones as a soak asks for."""
    return settings(
        max_examples=int(SOAK or examples),
        stateful_step_count=steps,
        derandomize=SOAK is None,
        deadline=None,
        database=None,
        phases=(Phase.generate,),  # to shrink what depends on moments takes for ever and leads nowhere
        print_blob=True,
    )
