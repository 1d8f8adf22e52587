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

{{- define "plugin-gateway.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end -}}

{{- define "plugin-gateway.ownLabels" -}}
app.kubernetes.io/name: {{ include "plugin-gateway.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "plugin-gateway.selectorLabels" -}}
{{- if .Values.selectorLabelsOverride -}}
{{- toYaml .Values.selectorLabelsOverride -}}
{{- else -}}
{{- include "plugin-gateway.ownLabels" . -}}
{{- end -}}
{{- end -}}

{{/* Those of the pods: the selector's are among them. */}}
{{- define "plugin-gateway.podLabels" -}}
{{- $own := include "plugin-gateway.ownLabels" . | fromYaml -}}
{{- mergeOverwrite $own (.Values.podLabels | default dict) (.Values.selectorLabelsOverride | default dict) | toYaml -}}
{{- end -}}

{{- define "plugin-gateway.labels" -}}
{{ include "plugin-gateway.ownLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "plugin-gateway.needsApi" -}}
{{- if or (include "plugin-gateway.needsClusterRole" .) (eq (toString .Values.nodeLabels) "nodefeature") -}}yes{{- end -}}
{{- end -}}

{{/* It asks the API server about objects that are in no namespace, or in another one. */}}
{{- define "plugin-gateway.needsClusterRole" -}}
{{- $patches := eq (toString .Values.nodeLabels) "patch" -}}
{{- if or .Values.kubernetesEvents .Values.nodeCondition $patches (include "plugin-gateway.followsLabel" .) -}}yes{{- end -}}
{{- end -}}

{{/* The pods tolerate the taints that they set themselves, or nobody could replace them. As JSON. */}}
{{- define "plugin-gateway.tolerations" -}}
{{- $own := list (dict "key" "plugin-gateway/unhealthy-device" "operator" "Exists") -}}
{{- $rules := .Values.nodeLabelsByProduct | default "" -}}
{{- if kindIs "slice" $rules -}}{{- $rules = join "," $rules -}}{{- end -}}
{{- range splitList "," $rules -}}
{{- if regexMatch ":(NoSchedule|PreferNoSchedule)$" (trim .) -}}
{{- $own = append $own (dict "key" (regexReplaceAll "^[^=]*=([^=:]+).*$" (trim .) "${1}") "operator" "Exists") -}}
{{- end -}}
{{- end -}}
{{- concat (.Values.tolerations | default list) (uniq $own) | toJson -}}
{{- end -}}

{{/* Each node uses one file of a folder. */}}
{{- define "plugin-gateway.hasFolder" -}}
{{- if or .Values.config.map .Values.config.name -}}yes{{- end -}}
{{- end -}}

{{/* The label of the node says which one. */}}
{{- define "plugin-gateway.followsLabel" -}}
{{- if and (include "plugin-gateway.hasFolder" .) (not .Values.config.use) -}}yes{{- end -}}
{{- end -}}

{{/* All configuration files that the values have, by the paths of their values, as JSON. */}}
{{- define "plugin-gateway.files" -}}
{{- $all := dict "config.file" (.Values.config.file | default dict) -}}
{{- range $name, $file := .Values.config.map -}}
{{- $content := ternary (toString $file | fromYaml) $file (kindIs "string" $file) -}}
{{- if hasKey $content "Error" -}}
{{- fail (printf "config.map.%s is not YAML: %s" $name (get $content "Error")) -}}
{{- end -}}
{{- $_ := set $all (printf "config.map.%s" $name) $content -}}
{{- end -}}
{{- toJson $all -}}
{{- end -}}

{{- define "plugin-gateway.makesAccount" -}}
{{- $create := .Values.serviceAccount.create -}}
{{- if kindIs "invalid" $create -}}{{- $create = and (include "plugin-gateway.needsApi" .) (not .Values.serviceAccount.name) -}}{{- end -}}
{{- if $create -}}yes{{- end -}}
{{- end -}}

{{- define "plugin-gateway.account" -}}
{{- if .Values.serviceAccount.name -}}
{{- .Values.serviceAccount.name -}}
{{- else -}}
{{- if include "plugin-gateway.makesAccount" . }}{{ include "plugin-gateway.fullname" . }}{{ else }}default{{ end -}}
{{- end -}}
{{- end -}}

{{- define "plugin-gateway.hostNetwork" -}}
{{- if or .Values.hostNetwork .Values.devicePlugin.enableHostNetwork .Values.rdma.hostNetwork -}}yes{{- end -}}
{{- end -}}

{{/* The files of the values that have a section of `resources`, by their paths, as JSON. Called with the name of it. */}}
{{- define "plugin-gateway.filesWith" -}}
{{- $section := index . 1 -}}
{{- $found := dict -}}
{{- range $path, $file := include "plugin-gateway.files" (index . 0) | fromJson -}}
{{- if kindIs "map" $file.resources -}}
{{- $value := index $file.resources $section -}}
{{- if not (kindIs "invalid" $value) -}}{{- $_ := set $found $path $value -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{/* Whether network cards are offered: rdma or onload. A ConfigMap that exists already has to be told by the value. */}}
{{- define "plugin-gateway.offers" -}}
{{- $enabled := index (index . 0).Values (index . 1) "enabled" -}}
{{- if kindIs "invalid" $enabled -}}{{- $enabled = include "plugin-gateway.filesWith" . | fromJson -}}{{- end -}}
{{- if $enabled -}}yes{{- end -}}
{{- end -}}

{{/* The host's folders are seen below /host. */}}
{{- define "plugin-gateway.needsHost" -}}
{{- if or (include "plugin-gateway.offers" (list . "rdma")) (include "plugin-gateway.offers" (list . "onload")) -}}yes{{- end -}}
{{- end -}}

{{/* The folders of the host with Onload's user space, as JSON. */}}
{{- define "plugin-gateway.onloadFolders" -}}
{{- $folders := list -}}
{{- if include "plugin-gateway.offers" (list . "onload") -}}
{{- $folder := .Values.onload.hostPath | default "/opt/onload" -}}
{{- range include "plugin-gateway.filesWith" (list . "onload") | fromJson -}}
{{- if kindIs "slice" . -}}
{{- range . -}}{{- $folders = append $folders (.hostPath | default $folder) -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- if not $folders -}}{{- $folders = list $folder -}}{{- end -}}
{{- end -}}
{{- dict "folders" (uniq $folders | sortAlpha) | toJson -}}
{{- end -}}

{{/* What is mounted below is read-only, too. Before 1.31 the API server does not know it. */}}
{{- define "plugin-gateway.recursiveReadOnly" -}}
{{- if semverCompare ">=1.31.0-0" .Capabilities.KubeVersion.Version -}}
recursiveReadOnly: IfPossible
{{- end -}}
{{- end -}}

{{/* The rights to see MIG devices. The strategy of a ConfigMap that exists already has to be given as a value, too. */}}
{{- define "plugin-gateway.needsMig" -}}
{{- $asked := list .Values.migStrategy -}}
{{- if not .Values.migStrategy -}}
{{- range include "plugin-gateway.files" . | fromJson -}}
{{- $asked = append $asked ((.flags).migStrategy) -}}
{{- end -}}
{{- end -}}
{{- if without ($asked | compact) "none" -}}yes{{- end -}}
{{- end -}}

{{/* The ways in which containers are told their devices: those of all files that a node can have. */}}
{{- define "plugin-gateway.strategies" -}}
{{- $asked := list .Values.deviceListStrategy -}}
{{- if not .Values.deviceListStrategy -}}
{{- range include "plugin-gateway.files" . | fromJson -}}
{{- $asked = append $asked (((.flags).plugin).deviceListStrategy) -}}
{{- end -}}
{{- end -}}
{{- toString $asked -}}
{{- end -}}

{{/* With mounts, NVIDIA's runtime can be told to believe NVIDIA_VISIBLE_DEVICES=all only in a pod with this capability. */}}
{{- define "plugin-gateway.needsSysAdmin" -}}
{{- if or (include "plugin-gateway.needsMig" .) (contains "volume-mounts" (include "plugin-gateway.strategies" .)) -}}yes{{- end -}}
{{- end -}}

{{/* CDI specs are written to a folder of the host, and name files of the driver as the host has them. */}}
{{- define "plugin-gateway.needsCdi" -}}
{{- if contains "cdi-" (include "plugin-gateway.strategies" .) -}}yes{{- end -}}
{{- end -}}

{{- define "plugin-gateway.mountsDriverRoot" -}}
{{- $wanted := .Values.mountDriverRoot -}}
{{- if kindIs "invalid" $wanted -}}{{- $wanted = or .Values.nvidiaDriverRoot (include "plugin-gateway.needsCdi" .) -}}{{- end -}}
{{- if $wanted -}}yes{{- end -}}
{{- end -}}

{{/* NVIDIA's three terms: a PCI device of NVIDIA, a CPU of NVIDIA, or the word of an administrator. */}}
{{- define "plugin-gateway.affinity" -}}
{{- if .Values.affinity -}}
{{- toYaml .Values.affinity -}}
{{- else if .Values.gpuNodesOnly -}}
{{- $terms := list -}}
{{- $labels := list (list "feature.node.kubernetes.io/pci-10de.present" "true") (list "feature.node.kubernetes.io/cpu-model.vendor_id" "NVIDIA") (list "nvidia.com/gpu.present" "true") -}}
{{- range $labels -}}
{{- $terms = append $terms (dict "matchExpressions" (list (dict "key" (first .) "operator" "In" "values" (rest .)))) -}}
{{- end -}}
{{- toYaml (dict "nodeAffinity" (dict "requiredDuringSchedulingIgnoredDuringExecution" (dict "nodeSelectorTerms" $terms))) -}}
{{- end -}}
{{- end -}}

{{/* The environment of the container. What the administrator gives replaces our own of the same name. */}}
{{- define "plugin-gateway.environment" -}}
{{- $own := list -}}
{{- $own = append $own (dict "name" "NVIDIA_VISIBLE_DEVICES" "value" "all") -}}
{{- $own = append $own (dict "name" "NVIDIA_DRIVER_CAPABILITIES" "value" (.Values.nvidiaDriverCapabilities | default "compute,utility")) -}}
{{- if include "plugin-gateway.needsMig" . -}}
{{- $own = append $own (dict "name" "NVIDIA_MIG_MONITOR_DEVICES" "value" "all") -}}
{{- end -}}
{{- with .Values.cdi.nvidiaHookPath -}}
{{- $own = append $own (dict "name" "NVIDIA_CDI_HOOK_PATH" "value" .) -}}
{{- end -}}
{{- with .Values.cdi.featureFlags -}}
{{- $own = append $own (dict "name" "CDI_FEATURE_FLAGS" "value" .) -}}
{{- end -}}
{{- if include "plugin-gateway.needsApi" . -}}
{{- $own = append $own (dict "name" "NODE_NAME" "valueFrom" (dict "fieldRef" (dict "fieldPath" "spec.nodeName"))) -}}
{{- end -}}
{{- if eq (toString .Values.nodeLabels) "nodefeature" -}}
{{- $own = append $own (dict "name" "POD_NAME" "valueFrom" (dict "fieldRef" (dict "fieldPath" "metadata.name"))) -}}
{{- end -}}
{{- $more := concat (dig "containers" "main" "env" list .Values.devicePlugin | default list) (.Values.extraEnv | default list) -}}
{{- $given := dict -}}
{{- range $more -}}{{- $_ := set $given .name true -}}{{- end -}}
{{- $kept := list -}}
{{- range $own -}}{{- if not (hasKey $given .name) -}}{{- $kept = append $kept . -}}{{- end -}}{{- end -}}
{{- toYaml (concat $kept $more) -}}
{{- end -}}

{{/* The rights of the container. The API server refuses allowPrivilegeEscalation: false with some of them. */}}
{{- define "plugin-gateway.securityContext" -}}
{{- $security := .Values.securityContext | default dict -}}
{{- $capabilities := $security.capabilities | default dict -}}
{{- $added := $capabilities.add | default list -}}
{{- if or .Values.kernelLog .Values.privileged $security.privileged -}}
{{- $security = omit $security "allowPrivilegeEscalation" "capabilities" | merge (dict "privileged" true) -}}
{{- else if or (include "plugin-gateway.needsSysAdmin" .) (has "SYS_ADMIN" $added) -}}
{{- $added = append $added "SYS_ADMIN" | uniq -}}
{{- $security = omit $security "allowPrivilegeEscalation" "capabilities" -}}
{{- $security = merge (dict "capabilities" (merge (dict "add" $added) $capabilities)) $security -}}
{{- end -}}
{{- toYaml $security -}}
{{- end -}}

{{/* The folder of the MPS control daemon. That of a ConfigMap that exists already has to be given as a value, too. */}}
{{- define "plugin-gateway.mpsRoot" -}}
{{- $roots := list -}}
{{- range include "plugin-gateway.files" . | fromJson -}}
{{- $roots = append $roots ((.flags).mpsRoot) -}}
{{- end -}}
{{- $roots = $roots | compact | uniq -}}
{{- if and (not .Values.mpsRoot) (gt (len $roots) 1) -}}
{{- fail (printf "config.map has several mpsRoot, and one is mounted: %s" (join ", " $roots)) -}}
{{- end -}}
{{- .Values.mpsRoot | default (first (append $roots "")) -}}
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
{{- $isCritical := hasPrefix "system-" (.Values.priorityClassName | default "") -}}
{{- $version := .Capabilities.KubeVersion.Version -}}
{{- if semverCompare ">=1.17.0-0" $version -}}
{{- .Values.priorityClassName | default "" -}}
{{- else if and (semverCompare ">=1.11.0-0" $version) (or (not $isCritical) (eq .Release.Namespace "kube-system")) -}}
{{- .Values.priorityClassName | default "" -}}
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
{{- $surge := dig "rollingUpdate" "maxSurge" 0 (.Values.updateStrategy | default dict) | toString -}}
{{- $hostNetwork := include "plugin-gateway.hostNetwork" . -}}
{{- if and $hostNetwork (not (has $surge (list "0" "0%"))) -}}
{{- fail "updateStrategy.rollingUpdate.maxSurge must be 0 with hostNetwork: two pods cannot listen at one port" -}}
{{- end -}}
{{- if .Values.updateStrategy -}}
{{- toYaml .Values.updateStrategy -}}
{{- else if and (not $hostNetwork) (semverCompare ">=1.22.0-0" .Capabilities.KubeVersion.Version) -}}
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
