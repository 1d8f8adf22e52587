"""The versions of the device plugin protocol, called dialects: codecs between bytes and plain values.

A kubelet accepts exactly one of them, by the version string in Register.

- `0.1` (1.8): package `deviceplugin`. The response to Allocate is a list with one spec for each device. The kubelet
  merges the specs, and of an environment variable that occurs in two of them it keeps the first value. The whole answer
  is therefore in one spec.
- `v1alpha2` (1.9): the same package, services and methods as 1.8, but another response to Allocate. Field 1 is a list
  of messages on 1.8 and a map on 1.9, so the same bytes cannot serve both.
- `v1beta1` (1.10 and later): package `v1beta1`. Allocate has one response for each container request. Kubelets of 1.10
  and 1.11 crash if there is none. Options exist in two places: 1.10 to 1.24 read them from Register, 1.25 and later
  call GetDevicePluginOptions. New fields and methods were added without another version: topology in 1.17,
  GetPreferredAllocation in 1.19, CDI devices in 1.28. Older kubelets ignore them.

Two traps do not belong to one dialect. Kubelets of 1.10 and later accept at most 4 MiB in one message. Kubelets of
1.9.7 and 1.10.0 to 1.10.2 ignore a list of healthy devices after a restart of the plugin (`forgetful_agent`).

A dialect reads and writes messages, and does nothing else: what is granted, logged, measured and recorded is decided in
`serving`. Each dialect has both sides, the plugin's for the gateway and the kubelet's for `inspect`, `replay` and the
fake kubelet.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plugin_gateway.adapters.dialects.dialect import Dialect

MODULES: Mapping[str, tuple[str, ...]] = {
    "v1beta1": ("v1beta1",),
    "v1alpha": ("v1alpha2", "0.1"),
}
"""The one table of dialects, the newest first, which is the order in which they are tried: the version strings by the
module that has them in its `DIALECTS`. These are words, because `--api-version` is checked before `run` starts the
driver, and the modules are imported while it initialises."""


def api_versions() -> Mapping[str, tuple[str, ...]]:
    """Return the values of ``--api-version``, and the version strings that each stands for, the newest first."""
    every = tuple(version for versions in MODULES.values() for version in versions)
    return {"auto": every, **MODULES, **{version: (version,) for version in every}}


def load_dialects() -> "tuple[Dialect, ...]":
    """Import all dialects, and return them, the newest first."""
    return tuple(dialect for module in MODULES for dialect in import_module(f"{__name__}.{module}").DIALECTS)


def dialects_for(api_version: str) -> "tuple[Dialect, ...]":
    """Return the dialects that a value of ``--api-version`` stands for, the newest first."""
    allowed = api_versions()[api_version]
    return tuple(dialect for dialect in load_dialects() if dialect.version in allowed)


def dialect_of(version: str) -> "Dialect":
    """Return the dialect with this version string.

    For an unknown version it is the newest dialect, because what comes after it is most likely to resemble it.
    """
    dialects = load_dialects()
    return next((dialect for dialect in dialects if dialect.version == version), dialects[0])
