"""Names and values of labels and taints, as the API server takes them.

Source: the Kubernetes documentation, Labels and Selectors, syntax and character set. Both are the same for taints.
"""

import re
from collections import Counter
from collections.abc import Iterable
from typing import NewType

from plugin_gateway.core.errors import InvalidValueError

LabelName = NewType("LabelName", str)
"""The name of a label or a taint, such as ``example.com/product``. `parse_label_name` makes one."""

OWN = "plugin-gateway"
"""What stands before the slash in names that are the gateway's own."""
MAX_LENGTH = 63
"""Characters of a value, and of a name after the slash."""
_MAX_PREFIX = 253
_PREFIX = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*", re.ASCII)
_WORD = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?", re.ASCII)
_ENDS = "-_."
"""Characters that may only stand between others."""
_RESERVED = ("kubernetes.io", "k8s.io")
"""Domains whose labels are those of Kubernetes itself."""


def parse_label_name(text: str) -> LabelName:
    """Return the text as the name of a label that is nobody else's to write.

    Raises:
        InvalidValueError: it has no domain, a domain of Kubernetes, or a form that the API server refuses.
    """
    prefix, slash, name = text.partition("/")
    if not slash or len(prefix) > _MAX_PREFIX or not _PREFIX.fullmatch(prefix) or not is_word(name):
        raise InvalidValueError(f"invalid value {text[:80]!r}; expected a name such as example.com/name")
    if is_of_kubernetes(text):
        raise InvalidValueError(f"{text[:80]!r}, which is a name of Kubernetes; expected another one")
    return LabelName(text)


def is_of_kubernetes(name: str) -> bool:
    """Whether a label or a taint is one of Kubernetes itself, which nobody else writes."""
    prefix, _, _ = name.partition("/")
    return any(prefix == domain or prefix.endswith(f".{domain}") for domain in _RESERVED)


def is_word(text: str) -> bool:
    """Whether it may stand behind the slash of a name, or be a value that is not empty."""
    return len(text) <= MAX_LENGTH and _WORD.fullmatch(text) is not None


def is_value(text: str) -> bool:
    """Whether it may be the value of a label or a taint."""
    return not text or is_word(text)


def cleaned(text: str, suffix: str = "", limit: int = MAX_LENGTH) -> str:
    """Return a text as a value, with the suffix behind it. Empty if nothing of both is left.

    What no value may have is left out, and blanks become one dash. A text that is too long is cut, and the suffix is
    kept. It has to be a value itself, but for what it begins with.
    """
    kept = "".join(each for each in text if each.isascii() and (each.isalnum() or each in _ENDS or each.isspace()))
    head = "-".join(kept.split()).strip(_ENDS)[: max(limit - len(suffix), 0)].rstrip(_ENDS)
    return head + suffix if head else suffix.lstrip(_ENDS)


def most_frequent(products: Iterable[str]) -> str:
    """Return the product that most devices are, the first by name of equals. Empty if there is no device.

    It does not depend on the order of the devices.
    """
    counts = Counter(products)
    return min(counts, key=lambda product: (-counts[product], product), default="")
