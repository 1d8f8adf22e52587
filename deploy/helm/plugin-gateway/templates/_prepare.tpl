{{/*
Called first in each template. `helm upgrade --reuse-values` from another chart brings all values of that one and none of
ours, so ours are filled in. A value that an administrator takes away with null stays away otherwise.
*/}}
{{- define "plugin-gateway.prepare" -}}
{{- $defaults := include "plugin-gateway.defaults" . | fromJson -}}
{{- if not (hasKey .Values "kubeletDevicePluginsDir") -}}
{{- include "plugin-gateway.fill" (dict "to" .Values "from" $defaults) -}}
{{- end -}}
{{- range $name := list "image" "config" "cdi" "mps" "gfd" "nfd" "devicePlugin" "podMonitor" "serviceAccount" "rdma" "onload" -}}
{{- if not (index $.Values $name) -}}{{- $_ := set $.Values $name dict -}}{{- end -}}
{{- end -}}
{{- include "plugin-gateway.refuse" . -}}
{{- include "plugin-gateway.discovery" . -}}
{{- end -}}

{{/*
What the section of NVIDIA's chart for GPU feature discovery means here. That chart brings node-feature-discovery with it,
which goes with the chart. So the gateway writes the labels onto the node itself, unless node-feature-discovery is said to
be there anyway. Values of our own go before. YAML reads off without quotes as false.
*/}}
{{- define "plugin-gateway.discovery" -}}
{{- if eq (toString .Values.nodeLabels) "false" -}}{{- $_ := set .Values "nodeLabels" "off" -}}{{- end -}}
{{- if and .Values.gfd.enabled (not .Values.nodeLabels) -}}
{{- if ne (toString .Values.nfd.enabled) "false" -}}
{{- $_ := set .Values "nodeLabels" "patch" -}}
{{- if kindIs "invalid" .Values.nodeLabelsAdopt -}}{{- $_ := set .Values "nodeLabelsAdopt" true -}}{{- end -}}
{{- else if eq (toString .Values.nfd.enableNodeFeatureApi) "false" -}}
{{- $_ := set .Values "nodeLabels" "file" -}}
{{- else -}}
{{- $_ := set .Values "nodeLabels" "nodefeature" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.gfd.enabled (kindIs "invalid" .Values.noTimestamp) (not (kindIs "invalid" .Values.gfd.noTimestamp)) -}}
{{- $_ := set .Values "noTimestamp" .Values.gfd.noTimestamp -}}
{{- end -}}
{{- end -}}

{{- define "plugin-gateway.fill" -}}
{{- range $name, $default := .from -}}
{{- $value := index $.to $name -}}
{{- if kindIs "invalid" $value -}}
{{- $_ := set $.to $name $default -}}
{{- else if and (kindIs "map" $value) (kindIs "map" $default) -}}
{{- include "plugin-gateway.fill" (dict "to" $value "from" $default) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Refuses what NVIDIA's chart does and this one does not, with the reason. */}}
{{- define "plugin-gateway.refuse" -}}
{{- if hasSuffix "nvidia/k8s-device-plugin" (.Values.image.repository | default "") -}}
{{- fail (printf "image.repository is %s, the image of NVIDIA's plugin, and this chart is for that of plugin-gateway: set image.repository, and image.tag if it was set" .Values.image.repository) -}}
{{- end -}}
{{- if and (eq (toString .Values.allowDefaultNamespace) "false") (eq (include "plugin-gateway.namespace" .) "default") -}}
{{- fail "allowDefaultNamespace is false and the namespace is default: use --namespace, or set allowDefaultNamespace to true" -}}
{{- end -}}
{{- if and .Values.nfd.enabled (not .Values.gfd.enabled) -}}
{{- fail "nfd.enabled: this chart does not have node-feature-discovery in it. Install its own chart, and set nfd.enabled to false here" -}}
{{- end -}}
{{- if eq (toString .Values.devicePlugin.enabled) "false" -}}
{{- fail "devicePlugin.enabled is false: this chart has nothing but the device plugin, uninstall it instead" -}}
{{- end -}}
{{- if (.Values.componentSelectorLabels | default dict).enabled -}}
{{- fail "componentSelectorLabels.enabled: this chart has one DaemonSet, so its selector needs no label of a component. Use selectorLabelsOverride for labels of your own" -}}
{{- end -}}
{{- if not (has (toString (.Values.deviceDiscoveryStrategy | default "auto")) (list "auto" "nvml")) -}}
{{- fail (printf "deviceDiscoveryStrategy is %s: plugin-gateway finds GPUs through NVML alone; expected auto and nvml" .Values.deviceDiscoveryStrategy) -}}
{{- end -}}
{{- $features := list "" "disable-nvsandboxutils" "disable-multiple-csv-devices" "no-additional-gids-for-device-nodes" -}}
{{- range .Values.cdi.featureFlags | default "" | splitList "," -}}
{{- if not (has (trim .) $features) -}}
{{- fail (printf "cdi.featureFlags has %s, which plugin-gateway does not do; expected %s" (trim .) (rest $features | join ", ")) -}}
{{- end -}}
{{- end -}}
{{- include "plugin-gateway.refuseConfig" . -}}
{{- end -}}

{{- define "plugin-gateway.refuseConfig" -}}
{{- $files := .Values.config.map -}}
{{- range $name, $file := include "plugin-gateway.files" . | fromJson -}}
{{- if and (($file.sharing).mps) (not (include "plugin-gateway.mpsRoot" $)) -}}
{{- fail (printf "%s has sharing.mps: this chart runs no MPS control daemon, and an upgrade from NVIDIA's chart removes the one that runs. Run it by deploy/examples/mps-control-daemon with NVIDIA's image, and set mpsRoot" $name) -}}
{{- end -}}
{{- end -}}
{{- range $section := list "rdma" "onload" -}}
{{- $with := include "plugin-gateway.filesWith" (list $ $section) | fromJson -}}
{{- if and $with (not (include "plugin-gateway.offers" (list $ $section))) -}}
{{- fail (printf "%s has resources.%s, and %s.enabled is false: the gateway would see none of the host's devices. Set it to true, or to null" (keys $with | sortAlpha | join " and ") $section $section) -}}
{{- end -}}
{{- end -}}
{{- if and (eq (.Values.rdma.linkEvents | default "") "netlink") (not (include "plugin-gateway.hostNetwork" .)) -}}
{{- fail "rdma.linkEvents is netlink, which tells of the host's links only with rdma.hostNetwork: set it, or linkEvents to auto or poll" -}}
{{- end -}}
{{- if and $files (not .Values.config.default) (not .Values.config.use) -}}
{{- $strategies := .Values.config.fallbackStrategies | default (list "named" "single") -}}
{{- $named := and (has "named" $strategies) (hasKey $files "default") -}}
{{- $single := and (has "single" $strategies) (eq (len $files) 1) -}}
{{- if not (or $named $single (has "empty" $strategies)) -}}
{{- fail (printf "config.map: a node without the label gets none of %s; set config.default, call one default, or add empty to config.fallbackStrategies" (keys $files | sortAlpha | join ", ")) -}}
{{- end -}}
{{- end -}}
{{- end -}}
