"""The values of NVIDIA's chart as its releases have them, and files of values as administrators write them.

They are in own words: keys and defaults are facts, comments and order are ours.
"""

from collections.abc import Mapping
from typing import Any

_TERMS = (
    ("feature.node.kubernetes.io/pci-10de.present", "true"),
    ("feature.node.kubernetes.io/cpu-model.vendor_id", "NVIDIA"),
    ("nvidia.com/gpu.present", "true"),
)
BY_LABELS: Mapping[str, Any] = {
    "nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [
                {"matchExpressions": [{"key": key, "operator": "In", "values": [value]}]} for key, value in _TERMS
            ]
        }
    }
}
OWN_IMAGE = {"image": {"repository": "registry.example/plugin-gateway"}}
_UNSET = (
    "compatWithCPUManager", "migStrategy", "failOnInitError", "deviceListStrategy", "deviceIDStrategy",
    "nvidiaDriverRoot", "runtimeClassName",
)  # fmt: skip
_EMPTY = ("selectorLabelsOverride", "podAnnotations", "podSecurityContext", "securityContext", "resources")
_NFD: Mapping[str, Any] = {
    "nameOverride": "node-feature-discovery",
    "master": {"serviceAccount": {"name": "node-feature-discovery", "create": True}},
    "worker": {"config": {"sources": {"pci": {"deviceClassWhitelist": ["02", "03"], "deviceLabelFields": ["vendor"]}}}},
}
_GFD: Mapping[str, Any] = {"enabled": False, "nameOverride": "gpu-feature-discovery", "namespaceOverride": ""}
V0_14: Mapping[str, Any] = {
    "config": {"name": "", "map": {}, "default": "", "fallbackStrategies": ["named", "single"]},
    **dict.fromkeys(_UNSET),
    **{name: {} for name in _EMPTY},
    "legacyDaemonsetAPI": None,
    "gdsEnabled": None,
    "mofedEnabled": None,
    "nameOverride": "",
    "fullnameOverride": "",
    "namespaceOverride": "",
    "allowDefaultNamespace": False,
    "imagePullSecrets": [],
    "image": {"repository": "nvcr.io/nvidia/k8s-device-plugin", "pullPolicy": "IfNotPresent", "tag": ""},
    "updateStrategy": {"type": "RollingUpdate"},
    "nodeSelector": {},
    "affinity": {},
    "tolerations": [
        {"key": "CriticalAddonsOnly", "operator": "Exists"},
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
    ],
    "priorityClassName": "system-node-critical",
    "nfd": {**_NFD, "enableNodeFeatureApi": False},
    "gfd": _GFD,
}
_NEVER_LATER = {"legacyDaemonsetAPI"}
V0_15: Mapping[str, Any] = {
    **{name: value for name, value in V0_14.items() if name not in _NEVER_LATER},
    "affinity": BY_LABELS,
    "devicePlugin": {"enabled": True},
    "gfd": {**_GFD, "noTimestamp": None, "sleepInterval": None, "securityContext": {"privileged": True}},
    "mps": {"root": "/run/nvidia/mps"},
}
V0_16: Mapping[str, Any] = {**V0_15, "deviceDiscoveryStrategy": None}
V0_17: Mapping[str, Any] = {**V0_16, "cdi": {"nvidiaHookPath": None}, "nfd": _NFD}
V0_18: Mapping[str, Any] = {**V0_17, "gdrcopyEnabled": None}
V0_19: Mapping[str, Any] = {**V0_18, "mps": {"root": "/run/nvidia/mps", "enableHostPID": True}}
V0_20: Mapping[str, Any] = {**V0_19, "cdi": {"nvidiaHookPath": None, "featureFlags": None}}
LATER: Mapping[str, Any] = {
    **V0_20,
    "componentSelectorLabels": {"enabled": False},
    "nvidiaDriverCapabilities": "compute,utility",
    "configManager": {"resources": {}},
    "devicePlugin": {
        "enabled": True,
        "resources": {},
        "containers": {"main": {"env": [{"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"}]}},
    },
}
"""What is in NVIDIA's repository after release 0.20."""
RELEASES_OF_NVIDIA: Mapping[str, Mapping[str, Any]] = {
    "0.14": V0_14,
    "0.15": V0_15,
    "0.16": V0_16,
    "0.17": V0_17,
    "0.18": V0_18,
    "0.19": V0_19,
    "0.20": V0_20,
    "later": LATER,
}

SHARED = "version: v1\nsharing:\n  timeSlicing:\n    resources:\n    - name: nvidia.com/gpu\n      replicas: 4\n"
MIXED = "version: v1\nflags:\n  migStrategy: mixed\n"
MPS = "version: v1\nsharing:\n  mps:\n    resources:\n    - name: nvidia.com/gpu\n      replicas: 4\n"
REAL: Mapping[str, Mapping[str, Any]] = {
    "a driver of a managed node image": {
        "nvidiaDriverRoot": "/home/kubernetes/bin/nvidia",
        "nvidiaDevRoot": "/",
        "nodeSelector": {"accelerator": "nvidia"},
        "tolerations": [{"operator": "Exists"}],
        "affinity": {},
    },
    "one machine with a small distribution": {
        "runtimeClassName": "nvidia",
        "config": {"map": {"default": SHARED}},
        "gfd": {"enabled": False},
    },
    "machines that differ": {
        "fullnameOverride": "nvidia-device-plugin",
        "namespaceOverride": "gpus",
        "selectorLabelsOverride": {"team": "ml"},
        "config": {"map": {"shared": SHARED, "mixed": MIXED}, "default": "shared"},
        "resources": {"limits": {"memory": "256Mi"}},
    },
    "cores for some containers alone": {
        "compatWithCPUManager": True,
        "deviceIDStrategy": "index",
        "securityContext": {"privileged": True},
        "updateStrategy": {"type": "OnDelete"},
    },
    "divided GPUs and one network for all": {
        "migStrategy": "single",
        "failOnInitError": False,
        "devicePlugin": {"enableHostNetwork": True},
        "imagePullSecrets": [{"name": "registry"}],
        "podAnnotations": {"owner": "ml"},
    },
    "a ConfigMap that exists already": {
        "config": {"name": "device-plugin-configs", "default": "shared", "fallbackStrategies": ["empty"]},
    },
}
