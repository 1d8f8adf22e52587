"""Writes the manifests, and the version of the project into all files that contain it: ``make generate``.

The manifests are made from one template and a variant for each range of releases. The version is in pyproject.toml.
"""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import NamedTuple

DEPLOY = Path(__file__).resolve().parent
FOLDER = DEPLOY / "manifests"
PROJECT = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text())["project"]

_IMAGE = r"(?<=\bplugin-gateway:)\d+\.\d+\.\d+(?:(?!-operator\b)[0-9A-Za-z.-])*(?<![.-])"
VERSIONED: Mapping[str, re.Pattern[str]] = {
    "README.md": re.compile(_IMAGE),
    "deploy/Containerfile": re.compile(rf'{_IMAGE}|(?<=\bimage\.version=")[^"]*'),
    "deploy/README.md": re.compile(_IMAGE),
    "deploy/examples/probation-test/job.yaml": re.compile(_IMAGE),
    "deploy/helm/plugin-gateway/Chart.yaml": re.compile(r'(?<=^version: ).*|(?<=^appVersion: ")[^"]*', re.MULTILINE),
}
"""Files that are written by hand and contain the version, and where it stands in each."""


class Variant(NamedTuple):
    """The parts of a manifest that depend on the Kubernetes release."""

    file: str
    """The name of the manifest's file."""
    releases: str
    """The releases that it is for, in words."""
    api_version: str
    annotations: str
    priority: str


NEWER = Variant(
    file="plugin-gateway.yaml",
    releases="Kubernetes 1.9 and later",
    api_version="apps/v1",
    annotations="",
    priority="""\
      # Takes effect from 1.11 on. Earlier releases drop it silently. Up to 1.16 only kube-system may use it.
      priorityClassName: system-node-critical
""",
)
OLDEST = Variant(
    file="plugin-gateway-1.8.yaml",
    releases="Kubernetes 1.8, which has no apps/v1",
    api_version="apps/v1beta2",
    annotations="""\
      annotations:
        # Takes effect in kube-system if the feature gate ExperimentalCriticalPodAnnotation is on.
        scheduler.alpha.kubernetes.io/critical-pod: ""
""",
    priority="",
)

TEXT = Template("""\
# Made by `make generate`: $releases.
# Offers the NVIDIA GPUs of every node to its kubelet. On nodes without GPUs the gateway only waits.
apiVersion: $api_version
kind: DaemonSet
metadata:
  name: plugin-gateway
  namespace: kube-system
  labels:
    app.kubernetes.io/name: plugin-gateway
    app.kubernetes.io/version: "$version"
spec:
  selector:
    matchLabels:
      app.kubernetes.io/name: plugin-gateway
  updateStrategy:
    type: RollingUpdate
    rollingUpdate:
      # One node is updated after the other. On each node the old pod ends before the new one starts. Meanwhile
      # containers keep their GPUs, and pods that ask for some fail admission. From Kubernetes 1.22 on, maxSurge: 1 with
      # maxUnavailable: 0 avoids this; earlier API servers refuse it. deploy/README.md has more.
      maxUnavailable: 1
  template:
    metadata:
      labels:
        app.kubernetes.io/name: plugin-gateway
$annotations\
    spec:
$priority\
      # The gateway connects only to the kubelet, so it needs no account of its own. The field is set because an update
      # without it would keep an earlier account.
      serviceAccountName: default
      automountServiceAccountToken: false
      # The gateway ends within 2 s.
      terminationGracePeriodSeconds: 5
      tolerations:
        # GPU nodes often have a taint with the resource's name, so that only pods that ask for GPUs run there.
        - key: nvidia.com/gpu
          operator: Exists
          effect: NoSchedule
        # The gateway sets this taint only where it is asked to, and must stay on the node then.
        - key: plugin-gateway/unhealthy-device
          operator: Exists
      containers:
        - name: plugin-gateway
          image: plugin-gateway:$version
          imagePullPolicy: IfNotPresent
          args:
            - run
            # For Prometheus, and for the probes, which come from the node's own address.
            - --listen=0.0.0.0:9400
          env:
            # These variables ask NVIDIA's container runtime for every GPU, for the driver's library, and for the device
            # node nvidia-uvm. Without compute the runtime hides that node, and no container would get it.
            - name: NVIDIA_VISIBLE_DEVICES
              value: all
            - name: NVIDIA_DRIVER_CAPABILITIES
              value: compute,utility
          ports:
            - name: http
              containerPort: 9400
          livenessProbe:
            httpGet:
              path: /healthz
              port: http
            initialDelaySeconds: 10
            periodSeconds: 10
            # The gateway waits for a driver that hangs. That is no reason to restart the gateway.
            failureThreshold: 6
          readinessProbe:
            httpGet:
              path: /readyz
              port: http
            periodSeconds: 5
          resources:
            # The gateway uses 39 MiB with eight GPUs (make bench). There is no CPU limit, because it would delay the
            # kubelet's calls.
            requests:
              cpu: 10m
              memory: 64Mi
            limits:
              memory: 128Mi
          securityContext:
            # The gateway runs as root only because the kubelet's directory belongs to root, with mode 0750.
            runAsUser: 0
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities:
              drop:
                - ALL
          volumeMounts:
            - name: device-plugins
              mountPath: /var/lib/kubelet/device-plugins
            - name: state
              mountPath: /run/plugin-gateway
      volumes:
        # This folder has the kubelet's socket and the gateway's. If it does not exist, the pod does not start. Then the
        # kubelet uses another folder (see deploy/README.md), or it accepts no device plugins.
        - name: device-plugins
          hostPath:
            path: /var/lib/kubelet/device-plugins
            type: Directory
        # This folder tells the next pod which GPUs are unhealthy. It also has the socket for `plugin-gateway status`.
        - name: state
          hostPath:
            path: /run/plugin-gateway
            type: DirectoryOrCreate
""")


def text_of(variant: Variant) -> str:
    """Return one manifest."""
    return TEXT.substitute(variant._asdict(), version=PROJECT["version"])


def put_version(path: Path, place: re.Pattern[str]) -> None:
    """Write the version into all its places in a file."""
    path.write_text(place.sub(PROJECT["version"], path.read_text()))


def main() -> None:
    """Write all manifests and versions."""
    FOLDER.mkdir(exist_ok=True)
    for variant in (NEWER, OLDEST):
        (FOLDER / variant.file).write_text(text_of(variant))
    for name, place in VERSIONED.items():
        put_version(DEPLOY.parent / name, place)


if __name__ == "__main__":
    main()
