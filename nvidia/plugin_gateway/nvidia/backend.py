"""The NVML backend. It owns the thread that calls the driver."""

import os
import threading
import time
from typing import TYPE_CHECKING

from plugin_gateway.nvidia.library import DriverMissingError, find_libraries, initialised_library
from plugin_gateway.nvidia.naming import DEVICE_WORD, MigStrategy
from plugin_gateway.nvidia.pace import USUAL_PACE, Pace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from plugin_gateway.core.cdi import FilesWanted
    from plugin_gateway.core.health.observations import DriverUnavailable, Observation
    from plugin_gateway.core.ports import Report
    from plugin_gateway.nvidia.kernel_evidence import KernelEvidence
    from plugin_gateway.nvidia.kernel_log import KernelLog
    from plugin_gateway.nvidia.watch import Watch


def _at_once() -> None:
    """Do nothing. The driver is then asked without a wait."""


def _listed(folder: str) -> list[str]:
    """Return the names in a folder. None of them if it cannot be read."""
    try:
        return os.listdir(folder)  # noqa: PTH208 - pathlib is slow to import
    except OSError:
        return []


class NvmlBackend:
    """Watches NVIDIA's driver.

    If there is no driver yet, the thread tries again until there is one.
    """

    device_word = DEVICE_WORD

    def __init__(
        self,
        *,
        driver_root: str = "/",
        sysfs: str = "/sys",
        proc: str = "/proc",
        pace: Pace = USUAL_PACE,
        kernel_log: str = "",
        mig_strategy: MigStrategy = MigStrategy.NONE,
    ) -> None:
        """Create a backend. ``kernel_log`` is the path of the kernel's log, and empty if it is not to be read."""
        self._driver_root = driver_root
        self._sysfs = sysfs
        self._proc = proc
        self._pace = pace
        self.decision_time = 5.0
        self.wants_facts = False
        self._files_wanted: FilesWanted | None = None
        self._kernel_log = kernel_log
        self._mig_strategy = mig_strategy
        self._kernel: KernelEvidence | None = None
        self._reader: KernelLog | None = None
        self._stopping = threading.Event()
        self._reporting = threading.RLock()
        self._thread: threading.Thread | None = None
        self._report: Report | None = None
        self._after: Callable[[], object] = _at_once
        self._watch: Watch | None = None
        self._unavailable: DriverUnavailable | None = None
        self._last_sign = time.monotonic()

    def start(self, report: "Report", after: "Callable[[], object]" = _at_once) -> None:
        """Start the thread. It calls ``after`` first, and then the driver.

        The thread imports the module `watch` when the driver has initialised. Who imports it before that, while the
        driver takes its 100 ms or more, has the first inventory sooner.

        Raises:
            RuntimeError: the process may not have another thread.
        """
        self._report, self._after = report, after
        thread = threading.Thread(target=self._run, name="nvml", daemon=True)
        thread.start()
        self._thread = thread  # one that has not started cannot be joined

    def want_files(self, wanted: "FilesWanted | None") -> None:
        """Have the thread find the driver's files. It notices it after its present wait."""
        self._files_wanted = wanted

    def look_again(self) -> None:
        """Do nothing: the driver is asked often enough."""

    def stop(self) -> None:
        """Stop reporting. The thread ends after its present wait, or when its call to the driver returns."""
        with self._reporting:
            self._stopping.set()
            if self._reader is not None:
                self._reader.stop()

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the threads, at most ``timeout`` seconds. Returns False if one has not ended by then."""
        if self._thread is None:
            return True
        began = time.monotonic()
        self._thread.join(timeout)
        left = None if timeout is None else max(timeout - (time.monotonic() - began), 0.0)
        return not self._thread.is_alive() and (self._reader is None or self._reader.join(left))

    def silent_for(self) -> float:
        """Return the seconds since the thread's last sign of life. 0 if the thread is not running.

        The thread may be blocked in the driver, or in ``after``.
        """
        return time.monotonic() - self._last_sign if self._thread is not None and self._thread.is_alive() else 0.0

    def is_watching(self) -> bool:
        """Whether the thread is running."""
        return self._thread is not None and self._thread.is_alive()

    def _give_sign(self) -> None:
        self._last_sign = time.monotonic()

    def _run(self) -> None:
        """Hold one session after the other until ``stop``. No error ends this loop."""
        self._after()
        while not self._stopping.is_set():
            self._give_sign()
            try:
                self._hold_session()
            except DriverMissingError as error:
                problem = str(error)
            except Exception as error:  # noqa: BLE001 - the GPUs have to be watched after any error
                problem = f"{type(error).__name__}: {error}"
            else:
                continue
            self._give_sign()
            self._report_problem(problem)
            self._stopping.wait(self._pace.retry)

    def _hold_session(self) -> None:
        """Initialise NVML, then watch the GPUs until a new session is needed."""
        with initialised_library(self._driver_root, self._give_sign) as library:
            if self._watch is None:
                from plugin_gateway.nvidia.watch import Watch  # noqa: PLC0415 - imports pynvml, not needed before

                self._watch = Watch(
                    sysfs=self._sysfs,
                    proc=self._proc,
                    pace=self._pace,
                    report=self._forward,
                    give_sign=self._give_sign,
                    stopping=self._stopping,
                    decision_time=lambda: self.decision_time,
                    mig_strategy=self._mig_strategy,
                    driver_root=self._driver_root,
                    files_wanted=lambda: self._files_wanted,
                    facts_wanted=lambda: self.wants_facts,
                )
            self._give_sign()
            self._watch.hold_session(library)

    def _report_problem(self, problem: str) -> None:
        """Report a problem of the driver. An equal problem is reported again only after an inventory."""
        from plugin_gateway.core.health.observations import DriverUnavailable  # noqa: PLC0415 - after the first look

        told_since = self._watch is not None and not self._watch.inventory_is_old
        if self._watch is not None:
            self._watch.inventory_is_old = True
        from plugin_gateway.nvidia.missing_driver import find_cause  # noqa: PLC0415 - only where there is a problem

        cause = find_cause(
            sysfs=self._sysfs,
            proc=self._proc,
            dev=("/dev", f"{self._driver_root.rstrip('/')}/dev"),
            environment=os.environ,
            has_library=bool(find_libraries(self._driver_root)),
        )
        unavailable = DriverUnavailable(
            "; ".join(filter(None, (problem, cause.words))),
            restart_may_help=self._was_usable() and self._is_loaded(),
            todo=cause.todo,
            unserved=cause.unserved,
        )
        if unavailable != self._unavailable or told_since:
            self._unavailable = unavailable
            self._forward(unavailable)

    def _was_usable(self) -> bool:
        return self._watch is not None and self._watch.has_seen_devices

    def _is_loaded(self) -> bool:
        """Whether the kernel module is loaded and uses GPUs.

        A container loses its access to the device nodes if systemd rewrites its device rules, for example after
        ``systemctl daemon-reload``. What it has open goes on working, but no new session can be opened.
        """
        return os.path.exists(f"{self._sysfs}/module/nvidia") and bool(  # noqa: PTH110 - pathlib is slow to import
            _listed(f"{self._proc}/driver/nvidia/gpus")
        )

    def _forward(self, observation: "Observation") -> None:
        with self._reporting:
            if self._report is None or self._stopping.is_set():
                return
            if not self._kernel_log:
                self._report(observation)
                return
            if self._kernel is None:
                self._kernel = self._make_kernel_evidence()
            self._forward_all(self._kernel.observe(observation))
            if self._reader is None and self._was_usable():
                self._reader = self._read_kernel_log(self._kernel)

    def _forward_all(self, observations: "Iterable[Observation]") -> None:
        if self._report is not None and not self._stopping.is_set():
            for observation in observations:
                self._report(observation)

    def _make_kernel_evidence(self) -> "KernelEvidence":
        from plugin_gateway.nvidia.kernel_evidence import KernelEvidence  # noqa: PLC0415 - only where asked for

        return KernelEvidence()

    def _read_kernel_log(self, kernel: "KernelEvidence") -> "KernelLog":
        """Start the thread that reads the kernel's log, when the GPUs and their addresses are known."""
        from plugin_gateway.nvidia.kernel_log import Batch, KernelLog, LogListener  # noqa: PLC0415 - only where asked for

        def hear(batch: Batch) -> None:
            with self._reporting:
                told = kernel.hear(batch)
                self._forward_all(told)
            if told and self._watch is not None:
                self._watch.expect_decision()

        def due() -> float | None:
            with self._reporting:
                return kernel.due()

        def say_problem(problem: str | None) -> None:
            with self._reporting:
                self._forward_all(kernel.say_problem(problem))

        return KernelLog(self._kernel_log, LogListener(hear, due, say_problem))
