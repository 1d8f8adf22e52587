"""What each GPU has of MIG, from one look to the next.

A GPU that is not in MIG mode costs one call. Everything else about MIG is imported on a node where one is in it.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from plugin_gateway.core.devices import PhysicalId
from plugin_gateway.nvidia import nvml
from plugin_gateway.nvidia.naming import MigStrategy

if TYPE_CHECKING:
    from plugin_gateway.nvidia.mig_layout import MigLayout
    from plugin_gateway.nvidia.mig_nodes import CapabilityMinors

Layouts = Mapping[PhysicalId, "MigLayout | None"]
"""What the GPUs have of MIG. None for one that is not in MIG mode."""


class MigReader:
    """Reads the layouts as far as the strategy needs them."""

    def __init__(self, strategy: MigStrategy, proc: str) -> None:
        self.strategy = strategy
        self.known: Layouts = {}
        """The layouts that were read last, in any session."""
        self._proc = proc
        self._minors: CapabilityMinors | None = None
        self._profiles: dict[PhysicalId, dict[int, int]] = {}
        """NVML's numbers of the profiles of each GPU, by the driver's ids of them. They are the same in a session."""

    def begin_session(self) -> None:
        """Forget what another kernel module can say in another way."""
        self._minors = None
        self._profiles.clear()

    def read(
        self, gpu: PhysicalId, handle: nvml.Handle, minor: int | None, between: Callable[[], object]
    ) -> "MigLayout | None":
        """Return what a GPU has of MIG. None if it is not in MIG mode. A device that cannot be read now is kept.

        Raises:
            NvmlError: the driver does not tell, which is not the same as nothing.
        """
        if not nvml.is_in_mig_mode(handle):
            return None
        if self.strategy is MigStrategy.NONE:
            from plugin_gateway.nvidia.mig_layout import MigLayout  # noqa: PLC0415 - only in MIG mode

            return MigLayout()
        from plugin_gateway.nvidia.mig import scan  # noqa: PLC0415 - only in MIG mode
        from plugin_gateway.nvidia.mig_layout import keeping_known  # noqa: PLC0415 - only in MIG mode

        profiles = self._profiles.setdefault(gpu, {})
        return keeping_known(scan(handle, minor, self._read_minors(), between, profiles), self.known.get(gpu))

    def _read_minors(self) -> "CapabilityMinors":
        """Return the minor numbers, which stay the same in a session. A file that is not there yet is read again."""
        from plugin_gateway.nvidia.mig_nodes import read_minors  # noqa: PLC0415 - only in MIG mode

        if self._minors is None or self._minors.problem:
            self._minors = read_minors(self._proc)
        return self._minors
