"""A device that comes and goes stays out, unless it is not its own fault."""

from core.health.story import GPU, LOST, OTHER, POLICY, Story
from plugin_gateway.core.health.faults import Stage
from plugin_gateway.core.health.observations import DevicesChecked, DriverSeen, DriverSilence, EvidenceReported
from plugin_gateway.nvidia.evidence import xid_kind


def test_what_strikes_every_device_at_once_is_no_flapping_of_any() -> None:
    story = Story()
    for _ in range(POLICY.flap_count + 1):
        story.see(DevicesChecked({GPU: LOST, OTHER: LOST})).check().sleep(60)
        assert story.stage is Stage.HEALTHY


def test_a_driver_that_comes_and_goes_is_no_flapping_of_its_devices() -> None:
    story = Story()
    for _ in range(6):
        story.see(DriverSilence(31.0), DriverSilence(0.0)).check().sleep(60)
        assert story.state.faults == {}


def test_a_device_that_comes_and_goes_stays_out_the_third_time() -> None:
    story = Story()
    for _ in range(2):
        story.see(EvidenceReported(xid_kind(1000), GPU)).check().sleep(60)
        assert story.stage is Stage.HEALTHY
    story.see(EvidenceReported(xid_kind(1000), GPU)).check().sleep(600)
    assert story.stage is Stage.UNHEALTHY
    assert "taken out too often" in story.fault.lacks
    assert story.restart().check().sleep(600).stage is Stage.UNHEALTHY
    story.see(DriverSeen("575", "1"), DriverSeen("575", "2"))
    assert story.check().sleep(60).stage is Stage.HEALTHY


def test_faults_that_are_further_apart_than_the_window_are_no_flapping() -> None:
    story = Story()
    for _ in range(10):
        story.see(EvidenceReported(xid_kind(1000), GPU)).check().sleep(1801)
        assert story.stage is Stage.HEALTHY
