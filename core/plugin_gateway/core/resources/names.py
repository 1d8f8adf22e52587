"""Names of resources."""

import re
from typing import NewType

from plugin_gateway.core.errors import InvalidValueError

ResourceName = NewType("ResourceName", str)
"""The name of a resource, such as ``example.com/device``. `parse_resource_name` makes one."""


_QUOTA_PREFIX = "requests."
"""A quota for the resource has this prefix before its name. The length limit includes the prefix."""
_MAX_DOMAIN = 253 - len(_QUOTA_PREFIX)
_MAX_NAME = 63
_DOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")


def parse_resource_name(text: str) -> ResourceName:
    """Return the text as a resource name that every kubelet registers and every pod can request.

    The rules are those of kubelets of 1.10 and later. Kubelets of 1.8 and 1.9 check less, but the API server then
    rejects pods that ask for such a name.

    Raises:
        InvalidValueError: the message says which rule the name breaks.
    """
    domain, slash, name = text.partition("/")
    rules = (
        (bool(slash), "it must have the form DOMAIN/NAME"),
        ("kubernetes.io/" not in text, "kubelets refuse every name that contains kubernetes.io/"),
        (not text.startswith(_QUOTA_PREFIX), f"it must not start with {_QUOTA_PREFIX}"),
        (len(domain) <= _MAX_DOMAIN, f"the domain has {len(domain)} characters; expected at most {_MAX_DOMAIN}"),
        (_DOMAIN.fullmatch(domain), "the domain must be lower-case DNS labels: letters, digits and -, joined by dots"),
        (len(name) <= _MAX_NAME, f"the part after / has {len(name)} characters; expected at most {_MAX_NAME}"),
        (
            _NAME.fullmatch(name),
            "the part after / must be letters, digits, - _ . and start and end with a letter or digit",
        ),
    )
    for kept, rule in rules:
        if not kept:
            raise InvalidValueError(f"resource name {text!r}: {rule}")
    return ResourceName(text)
