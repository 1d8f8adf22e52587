"""Renders the chart with helm."""

import json
import subprocess
from pathlib import Path
from typing import Any

import yaml

from deployment.schemas import RELEASES

DEPLOY = Path(__file__).parents[2] / "deploy"
CHART = DEPLOY / "helm" / "plugin-gateway"
HELM = Path(__file__).parents[2] / "build" / "helm" / "helm"


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run((str(HELM), *arguments), check=False, timeout=60, capture_output=True, text=True)


def refused(folder: Path, values: object, namespace: str = "kube-system") -> str:
    outcome = helm("template", "x", str(CHART), f"--namespace={namespace}", f"--values={written(folder, values)}")
    assert outcome.returncode != 0
    return outcome.stderr


def written(folder: Path, values: object) -> Path:
    path = folder / "values.json"
    path.write_text(json.dumps(values))
    return path


def rendered(
    folder: Path, values: object, release: str = RELEASES[-1], namespace: str = "kube-system", chart: Path = CHART
) -> list[Any]:
    outcome = helm(
        "template", "gpus", str(chart), f"--namespace={namespace}", f"--kube-version={release}",
        f"--values={written(folder, values)}",
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stderr
    return [each for each in yaml.safe_load_all(outcome.stdout) if each is not None]


def daemonset(
    folder: Path, values: object, release: str = RELEASES[-1], namespace: str = "kube-system", chart: Path = CHART
) -> Any:
    (found,) = (each for each in rendered(folder, values, release, namespace, chart) if each["kind"] == "DaemonSet")
    return found
