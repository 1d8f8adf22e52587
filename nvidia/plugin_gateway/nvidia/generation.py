"""The generation of a GPU, as far as NVIDIA's catalog of XIDs tells them apart."""

import re

UNKNOWN = ""
A100 = "A100"
"""Compute capability below 9.0: Ampere and Ada, and what is older."""
H100 = "H100"
"""Hopper: compute capability 9.x. GH200 is one of them."""
B100 = "B100"
"""Blackwell without a CPU of NVIDIA: compute capability 10.x and 12.x."""
GB200 = "GB200"
"""Blackwell with a CPU of NVIDIA: GB200, GB300, GB10."""
GENERATIONS = (A100, H100, B100, GB200)
"""Each is named after its column in the catalog."""

_BLACKWELL = (10, 12)
_WITH_CPU = re.compile(r"\bGB[0-9]")


def generation_of(capability: tuple[int, int] | None, product: str) -> str:
    """Return the generation. `UNKNOWN` if there is no capability, or the catalog says nothing about it."""
    major = capability[0] if capability is not None else None
    if major is None:
        return UNKNOWN
    if major < 9:  # noqa: PLR2004 - the major number of Hopper
        return A100
    if major in _BLACKWELL:
        return GB200 if _WITH_CPU.search(product) else B100
    return H100 if major == 9 else UNKNOWN  # noqa: PLR2004 - see above
