import pytest

from plugin_gateway.core.health import APPLICATION_XIDS, Health, is_application_error


@pytest.mark.parametrize("xid", [13, 31, 43, 45, 68, 109 - 2])
def test_an_xid_of_the_application_says_nothing_against_the_gpu(xid: int) -> None:
    assert is_application_error(xid)


@pytest.mark.parametrize("xid", [48, 62, 64, 74, 79, 95, 119, 120, 140, 1000, 0, -1])
def test_an_xid_of_the_gpu_or_one_that_nobody_knows_counts(xid: int) -> None:
    assert not is_application_error(xid)


def test_the_ends_of_a_range_belong_to_it() -> None:
    assert {37, 41, 66, 72} <= APPLICATION_XIDS
    assert not {36, 42, 65, 73} & APPLICATION_XIDS


def test_the_words_are_those_of_the_device_plugin_api() -> None:
    assert [health.value for health in Health] == ["Healthy", "Unhealthy"]
