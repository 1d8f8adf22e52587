"""What doctor says of a resource without a stream is true now, and not only some time ago."""

from dataclasses import replace

from harness.statuses import RESOURCE
from plugin_gateway.adapters.commands.doctor.findings import Verdict
from plugin_gateway.adapters.commands.doctor.gateway_checks import check_resource
from plugin_gateway.adapters.registration.history import Failed, Registered

REFUSED = Failed(10.0, "the kubelet refused the registration", "busy")


def registered(at: float) -> Registered:
    return Registered(at, "v1beta1", "a resource was added", "x.sock", 1.0)


def test_a_kubelet_that_was_asked_is_not_waited_for() -> None:
    found = check_resource(replace(RESOURCE, endpoint="x.sock"))
    assert found.verdict is Verdict.HINT
    assert found.what == "example.com/thing is not registered yet: the kubelet was asked, and has opened no stream"


def test_the_last_failure_is_told_also_while_the_kubelet_is_asked_again() -> None:
    found = check_resource(replace(RESOURCE, endpoint="x.sock", registrations=(registered(9.0),), failures=(REFUSED,)))
    assert found.verdict is Verdict.MEND
    assert found.what.endswith("is not registered: the kubelet refused the registration: busy")


def test_a_failure_before_a_registration_is_no_reason_any_more() -> None:
    found = check_resource(replace(RESOURCE, registrations=(registered(11.0),), failures=(REFUSED,)))
    assert found.what.endswith("is not registered: the gateway waits for a kubelet")
