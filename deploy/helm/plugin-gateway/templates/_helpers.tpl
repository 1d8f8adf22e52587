{{- define "plugin-gateway.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "plugin-gateway.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains (include "plugin-gateway.name" .) .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "plugin-gateway.name" .) | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "plugin-gateway.selectorLabels" -}}
app.kubernetes.io/name: {{ include "plugin-gateway.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "plugin-gateway.labels" -}}
{{ include "plugin-gateway.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "plugin-gateway.needsApi" -}}
{{- if or .Values.kubernetesEvents .Values.nodeCondition -}}yes{{- end -}}
{{- end -}}

{{/* The rights to see MIG devices. The strategy of a ConfigMap that exists already has to be given as a value, too. */}}
{{- define "plugin-gateway.needsMig" -}}
{{- $strategy := coalesce .Values.migStrategy (dig "flags" "migStrategy" "" (.Values.config.file | default dict)) "none" -}}
{{- if ne $strategy "none" -}}yes{{- end -}}
{{- end -}}

{{/* With mounts, NVIDIA's runtime can be told to believe NVIDIA_VISIBLE_DEVICES=all only in a pod with this capability. */}}
{{- define "plugin-gateway.needsSysAdmin" -}}
{{- $inFile := dig "flags" "plugin" "deviceListStrategy" "" (.Values.config.file | default dict) -}}
{{- $strategies := default $inFile .Values.deviceListStrategy | toString -}}
{{- if or (include "plugin-gateway.needsMig" .) (contains "volume-mounts" $strategies) -}}yes{{- end -}}
{{- end -}}

{{/* CDI specs are written to a folder of the host, and name files of the driver as the host has them. */}}
{{- define "plugin-gateway.needsCdi" -}}
{{- $inFile := dig "flags" "plugin" "deviceListStrategy" "" (.Values.config.file | default dict) -}}
{{- if contains "cdi-" (default $inFile .Values.deviceListStrategy | toString) -}}yes{{- end -}}
{{- end -}}

{{- define "plugin-gateway.mountsDriverRoot" -}}
{{- if or .Values.mountDriverRoot (include "plugin-gateway.needsCdi" .) -}}yes{{- end -}}
{{- end -}}

{{/* The folder of the MPS control daemon. That of a ConfigMap that exists already has to be given as a value, too. */}}
{{- define "plugin-gateway.mpsRoot" -}}
{{- default (dig "flags" "mpsRoot" "" (.Values.config.file | default dict)) .Values.mpsRoot -}}
{{- end -}}

{{/* Kubelets have it by default from 1.15 on. Without the folder the pod would not start. */}}
{{- define "plugin-gateway.mountsPodResources" -}}
{{- if kindIs "invalid" .Values.mountPodResources -}}
{{- $file := .Values.config.file | default dict -}}
{{- $decides := or .Values.config.name .Values.resourceName $file.resources $file.sharing (include "plugin-gateway.needsMig" .) -}}
{{- if and $decides (semverCompare ">=1.15.0-0" .Capabilities.KubeVersion.Version) -}}yes{{- end -}}
{{- else if .Values.mountPodResources -}}yes{{- end -}}
{{- end -}}

{{- define "plugin-gateway.configMap" -}}
{{- if .Values.config.name -}}
{{- .Values.config.name -}}
{{- else if .Values.config.file -}}
{{- include "plugin-gateway.fullname" . -}}
{{- end -}}
{{- end -}}

{{/* 1.8 has no apps/v1. */}}
{{- define "plugin-gateway.daemonSetVersion" -}}
{{- if semverCompare ">=1.9.0-0" .Capabilities.KubeVersion.Version -}}apps/v1{{- else -}}apps/v1beta2{{- end -}}
{{- end -}}

{{/* Dropped before 1.11, refused outside kube-system before 1.17. */}}
{{- define "plugin-gateway.priorityClassName" -}}
{{- $isCritical := hasPrefix "system-" .Values.priorityClassName -}}
{{- $version := .Capabilities.KubeVersion.Version -}}
{{- if semverCompare ">=1.17.0-0" $version -}}
{{- .Values.priorityClassName -}}
{{- else if and (semverCompare ">=1.11.0-0" $version) (or (not $isCritical) (eq .Release.Namespace "kube-system")) -}}
{{- .Values.priorityClassName -}}
{{- end -}}
{{- end -}}

{{/* What is mounted on the host later is seen. Before 1.10 this is behind a feature gate, and refused without it. */}}
{{- define "plugin-gateway.mountPropagation" -}}
{{- if semverCompare ">=1.10.0-0" .Capabilities.KubeVersion.Version -}}
mountPropagation: HostToContainer
{{- end -}}
{{- end -}}

{{/* Before 1.22 the API server drops maxSurge. Two pods cannot listen at the same port of the host. */}}
{{- define "plugin-gateway.updateStrategy" -}}
{{- $surge := dig "rollingUpdate" "maxSurge" 0 .Values.updateStrategy | toString -}}
{{- if and .Values.hostNetwork (not (has $surge (list "0" "0%"))) -}}
{{- fail "updateStrategy.rollingUpdate.maxSurge must be 0 with hostNetwork: two pods cannot listen at one port" -}}
{{- end -}}
{{- if .Values.updateStrategy -}}
{{- toYaml .Values.updateStrategy -}}
{{- else if and (not .Values.hostNetwork) (semverCompare ">=1.22.0-0" .Capabilities.KubeVersion.Version) -}}
type: RollingUpdate
rollingUpdate:
  maxSurge: 1
  maxUnavailable: 0
{{- else -}}
type: RollingUpdate
rollingUpdate:
  maxUnavailable: 1
{{- end -}}
{{- end -}}
