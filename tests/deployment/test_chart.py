"""The Helm chart renders what each release takes, refuses what it does not know, and equals the plain manifests."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployment.chart import CHART, DEPLOY, daemonset, helm, refused, rendered
from deployment.schemas import RELEASES, api
from plugin_gateway.adapters.configuration.options import run_options

EVERYTHING: dict[str, Any] = {
    "image": {"tag": "1.2.3"},
    "imagePullSecrets": [{"name": "secret"}],
    "deviceIDStrategy": "index",
    "failOnInitError": False,
    "nvidiaDriverRoot": "/run/nvidia/driver",
    "nvidiaDevRoot": "/",
    "mountDriverRoot": True,
    "privileged": True,
    "mountPodResources": True,
    "kernelLog": True,
    "passDeviceSpecs": False,
    "numaHints": False,
    "quietTime": 30,
    "driverTimeout": 20,
    "expectedGpus": 8,
    "logLevel": "debug",
    "config": {"file": {"version": "v1", "flags": {"failOnInitError": True}}},
    "kubernetesEvents": True,
    "nodeCondition": "GpuProblem",
    "missingInCondition": True,
    "nodeSelector": {"gpu": "yes"},
    "podAnnotations": {"a": "b"},
    "podLabels": {"c": "d"},
    "podSecurityContext": {"seLinuxOptions": {"type": "spc_t"}},
    "affinity": {"nodeAffinity": {}},
}
NO_API = {"port": 0, "config": {"name": "mine", "use": "config.yaml"}, "priorityClassName": ""}
MONITORED = {"podMonitor": {"enabled": True, "labels": {"release": "prometheus"}}}


def test_its_version_is_that_of_the_project() -> None:
    project = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text())["project"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == project["version"]


def test_nothing_is_to_be_said_against_the_chart() -> None:
    outcome = helm("lint", "--strict", str(CHART))
    assert outcome.returncode == 0, outcome.stdout


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("values", [{}, EVERYTHING, NO_API, {"config": {"map": {"default": "version: v1"}}}])
@pytest.mark.parametrize("namespace", ["kube-system", "gpus"])
def test_what_it_renders_is_taken(values: object, release: str, namespace: str, tmp_path: Path) -> None:
    objects = rendered(tmp_path, values, release, namespace)
    assert [problem for each in objects for problem in api(release).problems(each)] == []


@pytest.mark.parametrize(
    ("release", "manifest"), [(RELEASES[0], "plugin-gateway-1.8.yaml"), (RELEASES[-1], "plugin-gateway.yaml")]
)
def test_without_values_it_is_the_plain_manifest(release: str, manifest: str, tmp_path: Path) -> None:
    ours = daemonset(tmp_path, {}, release)
    plain = yaml.safe_load((DEPLOY / "manifests" / manifest).read_text())
    for each in (ours, plain):
        del each["spec"]["updateStrategy"]  # the manifest is for releases that do not know maxSurge, too
        del each["metadata"], each["spec"]["selector"], each["spec"]["template"]["metadata"]["labels"]
    assert ours == plain


def test_the_kernels_log_makes_the_pod_privileged_and_nothing_else_does(tmp_path: Path) -> None:
    containers = [
        daemonset(tmp_path, {"kernelLog": wanted})["spec"]["template"]["spec"]["containers"][0]
        for wanted in (False, True)
    ]
    without, privileged = (each["securityContext"] for each in containers)
    assert "privileged" not in without
    assert privileged == {"privileged": True, "readOnlyRootFilesystem": True, "runAsUser": 0}
    assert ["--kernel-log=true" in each["args"] for each in containers] == [False, True]
    mounts = [[mount["mountPath"] for mount in each["volumeMounts"]] for each in containers]
    assert ["/dev/kmsg" in each for each in mounts] == [False, True]


@pytest.mark.parametrize(
    ("release", "namespace", "has_class", "has_annotation"),
    [
        ("1.8.15", "kube-system", False, True),
        ("1.10.13", "kube-system", False, True),
        ("1.10.13", "gpus", False, False),
        ("1.16.15", "kube-system", True, False),
        ("1.16.15", "gpus", False, False),
        ("1.25.16", "gpus", True, False),
    ],
)
def test_the_priority_is_what_the_release_heeds(
    release: str, namespace: str, has_class: bool, has_annotation: bool, tmp_path: Path
) -> None:
    template = daemonset(tmp_path, {}, release, namespace)["spec"]["template"]
    assert ("priorityClassName" in template["spec"]) is has_class
    annotations = template["metadata"].get("annotations", {})
    assert ("scheduler.alpha.kubernetes.io/critical-pod" in annotations) is has_annotation


@pytest.mark.parametrize(
    ("values", "rules"),
    [
        ({}, None),
        ({"kubernetesEvents": True}, {("events", "create"), ("events", "patch")}),
        ({"nodeCondition": "GpuProblem"}, {("nodes/status", "patch")}),
        (EVERYTHING, {("events", "create"), ("events", "patch"), ("nodes/status", "patch")}),
        ({"config": {"file": {"version": "v1"}, "watch": True}}, None),
        ({"config": {"name": "mine"}}, {("nodes", "get"), ("nodes", "watch")}),
        ({"config": {"map": {"a": "version: v1"}}}, {("nodes", "get"), ("nodes", "watch")}),
        (NO_API, None),
        ({"nodeLabels": "patch"}, {("nodes", "get"), ("nodes", "patch")}),
        ({"nodeLabels": "file"}, None),
        ({"nodeLabels": "off"}, None),
    ],
)
def test_it_may_ask_the_api_server_for_no_more_than_what_is_switched_on(
    values: object, rules: set[tuple[str, str]] | None, tmp_path: Path
) -> None:
    objects = rendered(tmp_path, values)
    roles = [each for each in objects if each["kind"] == "ClusterRole"]
    found = {(rule["resources"][0], verb) for role in roles for rule in role["rules"] for verb in rule["verbs"]}
    assert found == (rules or set())
    assert len(roles) == (rules is not None)
    spec = daemonset(tmp_path, values)["spec"]["template"]["spec"]
    assert spec["automountServiceAccountToken"] is (rules is not None)
    # Left out it would be what an upgrade found, which the API server also keeps under another name.
    made = [each["metadata"]["name"] for each in objects if each["kind"] == "ServiceAccount"]
    assert [spec["serviceAccountName"]] == (made or ["default"])


def test_every_flag_is_one_that_the_gateway_knows_and_every_value_arrives(tmp_path: Path) -> None:
    (container,) = daemonset(tmp_path, EVERYTHING)["spec"]["template"]["spec"]["containers"]
    command, *flags = container["args"]
    assert command == "run"
    given = dict(flag.partition("=")[::2] for flag in flags)
    assert set(given) <= {flag for option in run_options(("auto",), str) for flag in option.flags}
    assert given == {
        "--listen": "0.0.0.0:9400",
        "--device-id-strategy": "index",
        "--fail-on-init-error": "false",
        "--driver-root": "/run/nvidia/driver",
        "--driver-root-ctr-path": "/driver-root",
        "--dev-root": "/",
        "--pass-device-specs": "false",
        "--numa-hints": "false",
        "--quiet-time": "30",
        "--expected-gpus": "8",
        "--driver-timeout": "20",
        "--log-level": "debug",
        "--config-file": "/config/config.yaml",
        "--kernel-log": "true",
        "--kubernetes-events": "true",
        "--node-condition": "GpuProblem",
        "--missing-in-condition": "true",
    }
    (config,) = (each for each in rendered(tmp_path, EVERYTHING) if each["kind"] == "ConfigMap")
    assert yaml.safe_load(config["data"]["config.yaml"]) == EVERYTHING["config"]["file"]


@pytest.mark.parametrize("watch", [False, True])
def test_a_change_of_the_file_rolls_the_pods_or_is_watched_and_never_both(watch: bool, tmp_path: Path) -> None:
    template = daemonset(tmp_path, {"config": {"file": {"version": "v1"}, "watch": watch}})["spec"]["template"]
    (container,) = template["spec"]["containers"]
    assert ("--watch-config" in container["args"]) is watch
    annotations = template["metadata"].get("annotations", {})
    assert ("checksum/config" in annotations) is not watch
    (mount,) = (each for each in container["volumeMounts"] if each["name"] == "config")
    assert "subPath" not in mount, "the kubelet never renews a file that is mounted so"


SURGE = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
ONE_BY_ONE = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}}


@pytest.mark.parametrize(
    ("release", "values", "strategy"),
    [
        ("1.8.15", {}, ONE_BY_ONE),
        ("1.21.14", {}, ONE_BY_ONE),
        ("1.22.0", {}, SURGE),
        ("1.37.2", {}, SURGE),
        ("1.37.2", {"hostNetwork": True}, ONE_BY_ONE),
        ("1.37.2", {"updateStrategy": {"type": "OnDelete"}}, {"type": "OnDelete"}),
        ("1.37.2", {"updateStrategy": ONE_BY_ONE, "hostNetwork": True}, ONE_BY_ONE),
    ],
)
def test_a_new_pod_starts_beside_the_old_one_where_that_is_possible(
    release: str, values: object, strategy: object, tmp_path: Path
) -> None:
    assert daemonset(tmp_path, values, release)["spec"]["updateStrategy"] == strategy


def test_two_pods_never_share_a_port_of_the_host(tmp_path: Path) -> None:
    spec = daemonset(tmp_path, {"hostNetwork": True})["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert spec["hostNetwork"] is True
    assert "ports" not in container
    probes = [container[name]["httpGet"]["port"] for name in ("livenessProbe", "readinessProbe")]
    assert probes == [9400, 9400]
    complaint = "maxSurge must be 0 with hostNetwork"
    assert complaint in refused(tmp_path, {"hostNetwork": True, "updateStrategy": SURGE})
    assert "needs the container port" in refused(tmp_path, {"hostNetwork": True, **MONITORED})


def test_without_a_file_nothing_is_watched(tmp_path: Path) -> None:
    assert daemonset(tmp_path, {"config": {"watch": True}}) == daemonset(tmp_path, {})


def test_values_of_nvidias_chart_that_ask_for_nothing_are_taken(tmp_path: Path) -> None:
    nothing = {"deviceDiscoveryStrategy": "auto", "imexChannelIDs": []}
    assert daemonset(tmp_path, nothing) == daemonset(tmp_path, {})


def rights(folder: Path, values: object) -> tuple[Any, Any, list[str]]:
    """Return the security context, the right to see MIG devices in the environment, and the flags of the strategy."""
    (container,) = daemonset(folder, values)["spec"]["template"]["spec"]["containers"]
    variables = {each["name"]: each.get("value") for each in container["env"]}
    flags = [each for each in container["args"] if each.startswith("--mig-strategy")]
    return container["securityContext"], variables.get("NVIDIA_MIG_MONITOR_DEVICES"), flags


@pytest.mark.parametrize("strategy", ["single", "mixed"])
def test_a_pod_that_offers_mig_devices_may_see_them(strategy: str, tmp_path: Path) -> None:
    flag = [f"--mig-strategy={strategy}"]
    security = {
        "runAsUser": 0,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"], "add": ["SYS_ADMIN"]},
    }
    assert rights(tmp_path, {"migStrategy": strategy}) == (security, "all", flag)
    file = {"config": {"file": {"version": "v1", "flags": {"migStrategy": strategy}}}}
    assert rights(tmp_path, file) == (security, "all", [])
    more = {"migStrategy": strategy, "securityContext": {"capabilities": {"add": ["SYSLOG"]}}}
    assert rights(tmp_path, more)[0]["capabilities"] == {"drop": ["ALL"], "add": ["SYSLOG", "SYS_ADMIN"]}
    privileged = {"privileged": True, "runAsUser": 0, "readOnlyRootFilesystem": True}
    assert rights(tmp_path, {"migStrategy": strategy, "privileged": True}) == (privileged, "all", flag)


@pytest.mark.parametrize(
    "values", [{"mpsRoot": "/run/mps"}, {"config": {"file": {"version": "v1", "flags": {"mpsRoot": "/run/mps"}}}}]
)
def test_the_folder_of_the_mps_daemon_is_seen_at_the_same_path(values: object, tmp_path: Path) -> None:
    spec = daemonset(tmp_path, values)["spec"]["template"]["spec"]
    mount = {"name": "mps-root", "mountPath": "/run/mps", "readOnly": True}
    volume = {"name": "mps-root", "hostPath": {"path": "/run/mps", "type": "DirectoryOrCreate"}}
    assert mount in spec["containers"][0]["volumeMounts"]
    assert volume in spec["volumes"]
    assert rights(tmp_path, values) == rights(tmp_path, {}), "it needs no more rights"


@pytest.mark.parametrize(
    "values",
    [
        {"deviceListStrategy": "cdi-annotations,cdi-cri", "cdiSpecDir": "/etc/cdi"},
        {"deviceListStrategy": ["cdi-annotations", "cdi-cri"], "cdiSpecDir": "/etc/cdi"},
        {
            "cdiSpecDir": "/etc/cdi",
            "config": {"file": {"version": "v1", "flags": {"plugin": {"deviceListStrategy": ["cdi-cri"]}}}},
        },
    ],
)
def test_with_cdi_the_folder_of_specs_can_be_written_and_the_driver_is_seen(values: object, tmp_path: Path) -> None:
    spec = daemonset(tmp_path, values)["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert {"name": "cdi-specs", "mountPath": "/etc/cdi"} in container["volumeMounts"]
    volume = {"name": "cdi-specs", "hostPath": {"path": "/etc/cdi", "type": "DirectoryOrCreate"}}
    assert volume in spec["volumes"]
    assert "--driver-root-ctr-path=/driver-root" in container["args"]
    assert "driver-root" in [each["name"] for each in spec["volumes"]]
    assert "cdi" not in str(daemonset(tmp_path, {})), "nothing of it unless somebody asks for it"


def test_nothing_of_mps_is_mounted_unless_somebody_asks_for_it(tmp_path: Path) -> None:
    assert "mps" not in str(daemonset(tmp_path, {}))


@pytest.mark.parametrize(
    "values", [{}, {"migStrategy": "none"}, {"config": {"file": {"version": "v1", "flags": {"migStrategy": "none"}}}}]
)
def test_a_pod_that_offers_none_has_no_more_rights(values: object, tmp_path: Path) -> None:
    security, monitor, _ = rights(tmp_path, values)
    assert (security["capabilities"], security["allowPrivilegeEscalation"], monitor) == ({"drop": ["ALL"]}, False, None)


@pytest.mark.parametrize(
    ("values", "flag"),
    [
        ({"compatWithCPUManager": True}, "--pass-device-specs=true"),
        ({"compatWithCPUManager": False}, "--pass-device-specs=false"),
        ({"compatWithCPUManager": True, "passDeviceSpecs": False}, "--pass-device-specs=false"),
    ],
)
def test_nvidias_name_for_device_nodes_means_the_same(values: object, flag: str, tmp_path: Path) -> None:
    (container,) = daemonset(tmp_path, values)["spec"]["template"]["spec"]["containers"]
    assert [each for each in container["args"] if each.startswith("--pass-device-specs")] == [flag]


def volumes(folder: Path, values: object, release: str = RELEASES[-1]) -> dict[str, tuple[str, Any]]:
    """Return for each folder of the host that is a volume its path, and how it is mounted."""
    spec = daemonset(folder, values, release)["spec"]["template"]["spec"]
    mounts = {mount["name"]: mount for mount in spec["containers"][0]["volumeMounts"]}
    hosts = [each for each in spec["volumes"] if "hostPath" in each]
    return {each["name"]: (each["hostPath"]["path"], mounts[each["name"]]) for each in hosts}


POD_RESOURCES = "/var/lib/kubelet/pod-resources"


@pytest.mark.parametrize(
    "values",
    [
        {"migStrategy": "mixed"},
        {"resourceName": "nvidia.com/h100"},
        {"config": {"name": "own"}},
        {"config": {"map": {"a": "version: v1"}}},
        {"config": {"file": {"version": "v1", "resources": {"gpus": [{"pattern": "*", "name": "h100"}]}}}},
        {"config": {"file": {"version": "v1", "sharing": {"timeSlicing": {}}}}},
    ],
)
def test_where_devices_can_change_their_form_it_is_seen_when_a_pod_has_ended(
    values: dict[str, object], tmp_path: Path
) -> None:
    """From the checkpoint this cannot be seen, and a GPU that is withheld for an ended pod could stay so for ever."""
    path, mount = volumes(tmp_path, values)["pod-resources"]
    assert (path, mount["mountPath"], mount["readOnly"]) == (POD_RESOURCES, POD_RESOURCES, True)
    assert "pod-resources" in volumes(tmp_path, values, "1.16.15")
    for older in ("1.8.15", "1.9.11", "1.10.13"):  # the folder may not be there, and the pod would not start
        assert "pod-resources" not in volumes(tmp_path, values, older)
        assert "pod-resources" in volumes(tmp_path, {**values, "mountPodResources": True}, older)
    assert "pod-resources" not in volumes(tmp_path, {**values, "mountPodResources": False})


@pytest.mark.parametrize("values", [{}, {"config": {"file": {"version": "v1", "health": {"quietTime": 1}}}}])
def test_otherwise_the_pod_is_not_told_of_the_pods_of_its_node(values: dict[str, object], tmp_path: Path) -> None:
    assert "pod-resources" not in volumes(tmp_path, values)


@pytest.mark.parametrize(("release", "propagation"), [("1.8.15", None), ("1.10.13", "HostToContainer")])
def test_a_driver_that_is_mounted_later_is_seen(release: str, propagation: str | None, tmp_path: Path) -> None:
    """A driver in a container mounts its root when it is ready. Releases before 1.10 refuse the field by default."""
    values = {"mountDriverRoot": True, "nvidiaDriverRoot": "/run/nvidia/driver"}
    path, mount = volumes(tmp_path, values, release)["driver-root"]
    assert (path, mount["mountPath"], mount["readOnly"]) == ("/run/nvidia/driver", "/driver-root", True)
    assert mount.get("mountPropagation") == propagation


@pytest.mark.parametrize(
    ("values", "dev"),
    [
        ({}, "/dev"),
        ({"mountDriverRoot": True, "nvidiaDriverRoot": "/run/nvidia/driver"}, "/run/nvidia/driver/dev"),
        ({"mountDriverRoot": True, "nvidiaDriverRoot": "/opt/driver/", "nvidiaDevRoot": "/"}, "/dev"),
    ],
)
def test_a_privileged_pod_sees_the_device_nodes_that_it_gives_out(
    values: dict[str, object], dev: str, tmp_path: Path
) -> None:
    """The library opens the nodes below /dev. Privileged alone has those that were there when the pod started."""
    found = daemonset(tmp_path, {**values, "privileged": True})["spec"]["template"]["spec"]["containers"][0]
    # The API server refuses a privileged container with allowPrivilegeEscalation: false.
    assert found["securityContext"] == {"privileged": True, "runAsUser": 0, "readOnlyRootFilesystem": True}
    path, mount = volumes(tmp_path, {**values, "privileged": True})["dev"]
    assert (path, mount["mountPath"], mount["mountPropagation"]) == (dev, "/dev", "HostToContainer")


def test_it_is_privileged_only_by_choice(tmp_path: Path) -> None:
    assert "dev" not in volumes(tmp_path, {"mountDriverRoot": True})
    spec = daemonset(tmp_path, {"mountDriverRoot": True})["spec"]["template"]["spec"]
    assert "privileged" not in spec["containers"][0]["securityContext"]


def test_without_a_port_nothing_is_served_and_nothing_is_probed(tmp_path: Path) -> None:
    (container,) = daemonset(tmp_path, NO_API)["spec"]["template"]["spec"]["containers"]
    assert not container.keys() & {"ports", "livenessProbe", "readinessProbe"}
    assert not any(flag.startswith("--listen") for flag in container["args"])


def test_a_pod_monitor_finds_the_pods(tmp_path: Path) -> None:
    objects = rendered(tmp_path, MONITORED)
    (monitor,) = (each for each in objects if each["kind"] == "PodMonitor")
    labels = daemonset(tmp_path, MONITORED)["spec"]["template"]["metadata"]["labels"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"imag": {}}, "imag"),
        ({"image": {"registry": "x"}}, "registry"),
        ({"deviceIDStrategy": "name"}, "deviceIDStrategy"),
        ({"port": "http"}, "port"),
        ({"nvidiaDevRoot": "relative"}, "nvidiaDevRoot"),
        ({"driverTimeout": 5}, "driverTimeout"),
        ({"probation": "never"}, "probation"),
        ({"nodeCondition": "no-word"}, "nodeCondition"),
        ({"nodeCondition": "Ready"}, "nodeCondition"),
        ({"missingInCondition": True}, "missingInCondition needs nodeCondition"),
        ({"disabledHealthchecks": "xid 79"}, "disabledHealthchecks"),
        ({"kubeletVersion": 1.37}, "kubeletVersion"),
        ({"kubeletVersion": "1.37.2"}, "kubeletVersion"),
        ({"kubeletDevicePluginsDir": "relative"}, "kubeletDevicePluginsDir"),
        ({"migStrategy": "both"}, "migStrategy"),
        ({"config": {"file": {"version": "v1"}, "name": "x"}}, "one of the three"),
        ({"podMonitor": {"enabled": True}, "port": 0}, "podMonitor.enabled needs a port"),
    ],
)
def test_wrong_values_are_refused_by_name(values: object, words: str, tmp_path: Path) -> None:
    assert words in refused(tmp_path, values)
