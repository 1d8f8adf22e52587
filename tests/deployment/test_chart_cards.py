"""Network cards in the values of the Helm chart: what is mounted of the host, and no right besides."""

from pathlib import Path
from typing import Any

import pytest

from deployment.chart import daemonset, refused
from deployment.schemas import RELEASES, api
from plugin_gateway.adapters.configuration.options import run_options

RDMA = {"config": {"file": {"version": "v1", "resources": {"rdma": [{"name": "rdma/hca"}]}}}}
HOST = {"host-sys": "/sys", "host-dev": "/dev"}


def pod(folder: Path, values: object, release: str = RELEASES[-1]) -> Any:
    return daemonset(folder, values, release)["spec"]["template"]["spec"]


def paths(spec: Any) -> dict[str, str]:
    return {each["name"]: each["hostPath"]["path"] for each in spec["volumes"] if "hostPath" in each}


def args(spec: Any) -> list[str]:
    flags: list[str] = spec["containers"][0]["args"]
    return flags


@pytest.mark.parametrize("values", [{}, {"rdma": {"enabled": False}}, {"rdma": None, "onload": None},
                                    {"config": {"file": {"resources": {"gpus": [{"pattern": "*", "name": "a/b"}]}}}},
                                    {"config": {"file": {"resources": {"rdma": None}}}}])  # fmt: skip
def test_without_network_cards_nothing_of_the_host_is_mounted(values: object, tmp_path: Path) -> None:
    spec = pod(tmp_path, values)
    assert paths(spec).keys() == {"device-plugins", "state"} | (paths(spec).keys() & {"pod-resources"})
    assert not [flag for flag in args(spec) if "host-root" in flag]


@pytest.mark.parametrize(
    "values",
    [
        RDMA,
        {"rdma": {"enabled": True}, "config": {"name": "others"}},
        {"config": {"file": {"resources": {"rdma": {}}}}},
        {"config": {"map": {"default": "version: v1\nresources: {rdma: [{name: a/b}]}", "other": "{}"}}},
    ],
)
def test_rdma_mounts_sys_and_dev_read_only_and_needs_no_right(values: object, tmp_path: Path) -> None:
    (plain,), spec = pod(tmp_path, {})["containers"], pod(tmp_path, values)
    (container,) = spec["containers"]
    assert HOST.items() <= paths(spec).items()
    mounts = {each["name"]: each for each in container["volumeMounts"]}
    assert [mounts[name]["mountPath"] for name in HOST] == ["/host/sys", "/host/dev"]
    assert all(mounts[name]["readOnly"] for name in HOST)
    assert "--host-root=/host" in args(spec)
    assert container["securityContext"] == plain["securityContext"]
    assert not spec.keys() & {"hostNetwork", "hostPID", "hostIPC"}


@pytest.mark.parametrize("release", RELEASES)
def test_it_is_taken_by_every_release(release: str, tmp_path: Path) -> None:
    values = {**RDMA, "rdma": {"hostNetwork": True, "deviceInfoDir": "/a"}, "onload": {"enabled": True}}
    assert list(api(release).problems(daemonset(tmp_path, values, release))) == []


def test_what_is_mounted_below_is_read_only_where_the_release_knows_it(tmp_path: Path) -> None:
    def of(release: str) -> list[str | None]:
        mounts = pod(tmp_path, RDMA, release)["containers"][0]["volumeMounts"]
        return [each.get("recursiveReadOnly") for each in mounts if each["name"] in HOST]

    assert (of("1.30.0"), of("1.31.0")) == ([None, None], ["IfPossible", "IfPossible"])


def test_link_events_need_the_network_of_the_host_only_where_asked_for(tmp_path: Path) -> None:
    spec = pod(tmp_path, {**RDMA, "rdma": {"linkEvents": "poll"}})
    assert ("--link-events=poll" in args(spec), "hostNetwork" in spec) == (True, False)
    spec = pod(tmp_path, {**RDMA, "rdma": {"linkEvents": "netlink", "hostNetwork": True}})
    assert ("--link-events=netlink" in args(spec), spec["hostNetwork"]) == (True, True)
    assert "ports" not in spec["containers"][0]
    assert "tells of the host's links only with rdma.hostNetwork" in refused(
        tmp_path, {"rdma": {"linkEvents": "netlink"}}
    )


def test_files_for_multus_are_written_to_the_folder_of_the_host(tmp_path: Path) -> None:
    folder = "/var/run/k8s.cni.cncf.io/devinfo/dp"
    spec = pod(tmp_path, {**RDMA, "rdma": {"deviceInfoDir": folder}})
    assert paths(spec)["device-info"] == folder
    assert f"--device-info-dir={folder}" in args(spec)
    (mount,) = (each for each in spec["containers"][0]["volumeMounts"] if each["name"] == "device-info")
    assert mount == {"name": "device-info", "mountPath": folder}


def test_onload_mounts_each_folder_with_its_user_space(tmp_path: Path) -> None:
    spec = pod(tmp_path, {"onload": {"enabled": True}})
    assert paths(spec).items() >= {**HOST, "onload-0": "/opt/onload"}.items()
    (mount,) = (each for each in spec["containers"][0]["volumeMounts"] if each["name"] == "onload-0")
    assert mount == {"name": "onload-0", "mountPath": "/host/opt/onload", "readOnly": True}
    entries = [{"name": "a/b", "hostPath": "/opt/a"}, {"name": "a/c"}, {"name": "a/d"}]
    values = {"config": {"file": {"resources": {"onload": entries}}}, "onload": {"hostPath": "/opt/b"}}
    spec = pod(tmp_path, values)
    assert sorted(path for name, path in paths(spec).items() if name.startswith("onload-")) == ["/opt/a", "/opt/b"]
    assert "--onload-host-path=/opt/b" in args(spec)


@pytest.mark.parametrize(("name", "file"), [("rdma", RDMA), ("onload", {"config": {"map": {"default": "resources: "
                                                                 "{onload: {}}"}}})])  # fmt: skip
def test_cards_that_a_file_offers_are_not_switched_off_silently(
    name: str, file: dict[str, object], tmp_path: Path
) -> None:
    said = refused(tmp_path, {**file, name: {"enabled": False}})
    assert f"has resources.{name}, and {name}.enabled is false" in said


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"rdma": {"enabled": "yes"}}, "rdma"),
        ({"rdma": {"linkEvents": "inotify"}}, "rdma"),
        ({"rdma": {"enable": True}}, "rdma"),
        ({"onload": {"hostPath": "opt"}}, "onload"),
    ],
)
def test_a_value_that_is_wrong_is_refused_by_its_name(values: object, said: str, tmp_path: Path) -> None:
    assert said in refused(tmp_path, values)


def test_its_flags_are_those_that_the_gateway_knows(tmp_path: Path) -> None:
    values = {**RDMA, "rdma": {"linkEvents": "poll", "deviceInfoDir": "/a"}, "onload": {"enabled": True}}
    _, *flags = args(pod(tmp_path, values))
    known = {flag for option in run_options(("auto",), str) for flag in option.flags}
    assert {flag.partition("=")[0] for flag in flags} <= known
    assert {"--host-root", "--link-events", "--device-info-dir", "--onload-host-path"} <= known
