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
{{- if or .Values.kubernetesEvents .Values.nodeCondition (include "plugin-gateway.followsLabel" .) -}}yes{{- end -}}
{{- end -}}

{{/* Each node uses one file of a folder. */}}
{{- define "plugin-gateway.hasFolder" -}}
{{- if or .Values.config.map .Values.config.name -}}yes{{- end -}}
{{- end -}}

{{/* The label of the node says which one. */}}
{{- define "plugin-gateway.followsLabel" -}}
{{- if and (include "plugin-gateway.hasFolder" .) (not .Values.config.use) -}}yes{{- end -}}
{{- end -}}

{{/* The key `flags` of all configuration files that the values have, as JSON. */}}
{{- define "plugin-gateway.flagsOfFiles" -}}
{{- $all := list (get (.Values.config.file | default dict) "flags" | default dict) -}}
{{- range $name, $file := .Values.config.map -}}
{{- $content := ternary (toString $file | fromYaml) $file (kindIs "string" $file) -}}
{{- if hasKey $content "Error" -}}
{{- fail (printf "config.map.%s is not YAML: %s" $name (get $content "Error")) -}}
{{- end -}}
{{- $all = append $all (get $content "flags" | default dict) -}}
{{- end -}}
{{- toJson $all -}}
{{- end -}}

{{/* The rights to see MIG devices. The strategy of a ConfigMap that exists already has to be given as a value, too. */}}
{{- define "plugin-gateway.needsMig" -}}
{{- $asked := list .Values.migStrategy -}}
{{- if not .Values.migStrategy -}}
{{- range include "plugin-gateway.flagsOfFiles" . | fromJsonArray -}}
{{- $asked = append $asked (get . "migStrategy") -}}
{{- end -}}
{{- end -}}
{{- if without ($asked | compact) "none" -}}yes{{- end -}}
{{- end -}}

{{/* The folder of the MPS control daemon. That of a ConfigMap that exists already has to be given as a value, too. */}}
{{- define "plugin-gateway.mpsRoot" -}}
{{- $roots := list .Values.mpsRoot -}}
{{- range include "plugin-gateway.flagsOfFiles" . | fromJsonArray -}}
{{- $roots = append $roots (get . "mpsRoot") -}}
{{- end -}}
{{- first (append ($roots | compact) "") -}}
{{- end -}}

{{/* Kubelets have it by default from 1.15 on. Without the folder the pod would not start. */}}
{{- define "plugin-gateway.mountsPodResources" -}}
{{- if kindIs "invalid" .Values.mountPodResources -}}
{{- $file := .Values.config.file | default dict -}}
{{- $decides := or (include "plugin-gateway.hasFolder" .) .Values.resourceName $file.resources $file.sharing (include "plugin-gateway.needsMig" .) -}}
{{- if and $decides (semverCompare ">=1.15.0-0" .Capabilities.KubeVersion.Version) -}}yes{{- end -}}
{{- else if .Values.mountPodResources -}}yes{{- end -}}
{{- end -}}

{{- define "plugin-gateway.configMap" -}}
{{- if .Values.config.name -}}
{{- .Values.config.name -}}
{{- else if or .Values.config.file .Values.config.map -}}
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
