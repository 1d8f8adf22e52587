"""The state of two devices on its way through virtual time."""

from core.strategies import IDS
from harness.devices import device, inventory
from plugin_gateway.core.devices import FaultId
from plugin_gateway.core.health.changes import Changes
from plugin_gateway.core.health.faults import Checkup, Fault, Moment, Stage
from plugin_gateway.core.health.memory import recall, remember
from plugin_gateway.core.health.observations import DevicesChecked, InventorySeen, Observation
from plugin_gateway.core.health.policy import NOT_ANSWERING, RECOVERY_ACTION, HealthPolicy
from plugin_gateway.core.health.state import State
from plugin_gateway.core.health.state_function import advance, clear, due, wait
from plugin_gateway.nvidia.evidence import HEALTH_POLICY, PENDING_RETIREMENT

POLICY = HEALTH_POLICY
WELL = Checkup({}, asks_for_recovery=False)
ASKING = Checkup({RECOVERY_ACTION: "GPU reset"}, asks_for_recovery=True)
LOST = Checkup({NOT_ANSWERING: "does not answer"})
PENDING = Checkup({PENDING_RETIREMENT: "memory waits"}, asks_for_recovery=False)
EPOCH = 1_000_000.0
GPU, OTHER = IDS[0], IDS[1]
SEEN = InventorySeen(inventory(device(0), device(1)))


def at(seconds: float) -> Moment:
    return Moment(uptime=seconds, epoch=EPOCH + seconds)


class Story:
    """A state on its way through virtual time."""

    def __init__(self, policy: HealthPolicy = POLICY, state: State | None = None) -> None:
        self.now = 0.0
        self.policy = policy
        self.state = state or State()
        self.changes = Changes()
        if state is None:
            self.see(SEEN)

    def see(self, *observations: Observation) -> "Story":
        for observation in observations:
            self.state, self.changes = advance(self.state, observation, at(self.now), self.policy)
        return self

    def check(self, checkup: Checkup = WELL) -> "Story":
        return self.see(DevicesChecked({GPU: checkup, OTHER: WELL}))

    def sleep(self, seconds: float) -> "Story":
        """Let time pass; whatever falls due meanwhile is done then."""
        end = self.now + seconds
        while (next_due := due(self.state, self.policy)) is not None and next_due <= end:
            self.now = max(next_due, self.now)
            before = self.state
            self.state, self.changes = wait(self.state, at(self.now), self.policy)
            assert self.state != before, "what is due changes something"
        self.now = end
        return self

    def clear(self) -> "Story":
        self.state, self.changes = clear(self.state, GPU, at(self.now), self.policy)
        return self

    def restart(self, *, boot: str = "boot") -> "Story":
        """Another gateway reads what this one left; 5 s later it looks at the devices."""
        self.state = recall(remember(self.state, "boot"), boot)
        self.now = self.now + 5 if boot == "boot" else 20.0
        return self.see(SEEN)

    @property
    def stage(self) -> Stage:
        return self.state.stage_of(GPU)

    @property
    def fault(self) -> Fault:
        return self.state.faults[GPU]


def ids_of(state: State) -> set[FaultId]:
    return set(state.ids)
