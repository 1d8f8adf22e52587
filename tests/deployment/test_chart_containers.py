"""What containers get, in the values of the Helm chart: list strategies, and what there is besides GPUs."""

from pathlib import Path

import pytest

from deployment.chart import daemonset, refused
from deployment.test_chart import rights


@pytest.mark.parametrize(
    ("values", "flags"),
    [
        (
            {"gdrcopyEnabled": False, "gdsEnabled": True, "mofedEnabled": True},
            ["--gdrcopy-enabled=false", "--gds-enabled=true", "--mofed-enabled=true"],
        ),
        ({"deviceListStrategy": ["envvar", "volume-mounts"]}, ["--device-list-strategy=envvar,volume-mounts"]),
        ({"deviceListStrategy": "envvar,volume-mounts"}, ["--device-list-strategy=envvar,volume-mounts"]),
        ({"deviceListStrategy": ["envvar"]}, ["--device-list-strategy=envvar"]),
        ({"imexChannelIDs": [0], "imexRequired": True}, ["--imex-channel-ids=0", "--imex-required=true"]),
        ({"imexChannelIDs": 0}, ["--imex-channel-ids=0"]),
        ({"imexChannelIDs": "0"}, ["--imex-channel-ids=0"]),
    ],
)
def test_what_containers_get_besides_is_a_flag_each(values: object, flags: list[str], tmp_path: Path) -> None:
    (plain,), (container,) = (
        daemonset(tmp_path, each)["spec"]["template"]["spec"]["containers"] for each in ({}, values)
    )
    assert sorted(set(container["args"]) - set(plain["args"])) == sorted(flags)


@pytest.mark.parametrize(
    "values",
    [{"deviceListStrategy": []}, {"deviceListStrategy": "mounts"}, {"imexChannelIDs": [1]}, {"imexChannelIDs": [0, 0]},
     {"imexChannelIDs": 1}, {"imexChannelIDs": "0,1"}, {"gdsEnabled": "yes"}],
)  # fmt: skip
def test_what_the_gateway_would_refuse_the_chart_refuses(values: object, tmp_path: Path) -> None:
    assert next(iter(values)) in refused(tmp_path, values)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    "values",
    [
        {"deviceListStrategy": "volume-mounts"},
        {"deviceListStrategy": ["envvar", "volume-mounts"]},
        {"config": {"file": {"flags": {"plugin": {"deviceListStrategy": ["volume-mounts"]}}}}},
    ],
)
def test_a_gateway_that_names_gpus_by_mounts_may_see_them_itself(values: object, tmp_path: Path) -> None:
    """As in NVIDIA's chart: its runtime can be told to believe the variable of privileged pods alone."""
    security, monitor, _ = rights(tmp_path, values)
    assert (security["capabilities"], monitor) == ({"drop": ["ALL"], "add": ["SYS_ADMIN"]}, None)
    assert "allowPrivilegeEscalation" not in security
