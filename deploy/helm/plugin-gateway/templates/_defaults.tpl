{{/* Made by `make generate` from values.yaml. */}}
{{- define "plugin-gateway.defaults" -}}
{
 "nameOverride": "",
 "fullnameOverride": "",
 "namespaceOverride": "",
 "selectorLabelsOverride": {},
 "allowDefaultNamespace": null,
 "image": {
  "repository": "plugin-gateway",
  "tag": "",
  "pullPolicy": "IfNotPresent"
 },
 "imagePullSecrets": [],
 "apiVersion": "",
 "unhealthyFirst": "",
 "numaHints": null,
 "kubeletVersion": "",
 "resourceName": "",
 "backend": "",
 "nvidiaDriverRoot": "",
 "migStrategy": "",
 "failOnInitError": null,
 "passDeviceSpecs": null,
 "deviceIDStrategy": "",
 "deviceListStrategy": "",
 "preferredAllocation": "",
 "sharedDevicesAllocationPolicy": "",
 "pairDevices": null,
 "mpsRoot": "",
 "nvidiaDevRoot": "",
 "cdiSpecDir": "",
 "cdiAnnotationPrefix": "",
 "cdiDisableHooks": "",
 "gdrcopyEnabled": null,
 "gdsEnabled": null,
 "mofedEnabled": null,
 "imexChannelIDs": "",
 "imexRequired": null,
 "pollInterval": null,
 "linkQuietTime": null,
 "longestLinkQuietTime": null,
 "onloadPreload": null,
 "quietTime": null,
 "probation": "",
 "decisionTime": null,
 "driverTimeout": null,
 "flapCount": null,
 "flapWindow": null,
 "disabledHealthchecks": "",
 "enabledHealthchecks": "",
 "expectedGpus": null,
 "kernelLog": null,
 "kubernetesEvents": null,
 "nodeCondition": "",
 "missingInCondition": null,
 "nodeLabels": "",
 "nodeLabelsAdopt": null,
 "nodeLabelsGrace": "",
 "nodeLabelsRemove": null,
 "nodeLabelsDeprecated": null,
 "nodeLabelsOwn": "",
 "nodeLabelsByProduct": "",
 "nodeTaintByCause": "",
 "noTimestamp": null,
 "machineTypeFile": "",
 "logLevel": "",
 "logFormat": "",
 "configCompatibility": "",
 "compatWithCPUManager": null,
 "config": {
  "file": {},
  "watch": false,
  "map": {},
  "name": "",
  "default": "",
  "fallbackStrategies": [
   "named",
   "single"
  ],
  "use": ""
 },
 "kubeletDevicePluginsDir": "/var/lib/kubelet/device-plugins",
 "stateDir": "/run/plugin-gateway",
 "mountDriverRoot": null,
 "privileged": false,
 "mountPodResources": null,
 "rdma": {
  "enabled": null,
  "linkEvents": "",
  "hostNetwork": false,
  "deviceInfoDir": ""
 },
 "onload": {
  "enabled": null,
  "hostPath": "/opt/onload"
 },
 "nvidiaDriverCapabilities": "compute,utility",
 "cdi": {
  "nvidiaHookPath": "",
  "featureFlags": ""
 },
 "runtimeClassName": "",
 "port": 9400,
 "podMonitor": {
  "enabled": false,
  "interval": "30s",
  "labels": {}
 },
 "hostNetwork": false,
 "updateStrategy": {},
 "priorityClassName": "system-node-critical",
 "podAnnotations": {},
 "podLabels": {},
 "nodeSelector": {},
 "affinity": {},
 "gpuNodesOnly": false,
 "tolerations": [
  {
   "key": "nvidia.com/gpu",
   "operator": "Exists",
   "effect": "NoSchedule"
  }
 ],
 "resources": {
  "requests": {
   "cpu": "10m",
   "memory": "64Mi"
  },
  "limits": {
   "memory": "128Mi"
  }
 },
 "serviceAccount": {
  "create": null,
  "name": "",
  "annotations": {}
 },
 "extraEnv": [],
 "extraVolumes": [],
 "extraVolumeMounts": [],
 "podSecurityContext": {},
 "securityContext": {
  "runAsUser": 0,
  "allowPrivilegeEscalation": false,
  "readOnlyRootFilesystem": true,
  "capabilities": {
   "drop": [
    "ALL"
   ]
  }
 },
 "devicePlugin": {},
 "gfd": {},
 "nfd": {},
 "mps": {}
}
{{- end -}}
