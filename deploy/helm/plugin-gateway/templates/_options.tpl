{{/* Made by `make generate` from the table of options. */}}
{{- define "plugin-gateway.optionFlags" -}}
{{- $flags := dict
  "apiVersion" "--api-version"
  "unhealthyFirst" "--unhealthy-first"
  "numaHints" "--numa-hints"
  "kubeletVersion" "--kubelet-version"
  "resourceName" "--resource-name"
  "backend" "--backend"
  "nvidiaDriverRoot" "--driver-root"
  "migStrategy" "--mig-strategy"
  "failOnInitError" "--fail-on-init-error"
  "passDeviceSpecs" "--pass-device-specs"
  "deviceIDStrategy" "--device-id-strategy"
  "deviceListStrategy" "--device-list-strategy"
  "preferredAllocation" "--preferred-allocation"
  "sharedDevicesAllocationPolicy" "--shared-devices-allocation-policy"
  "pairDevices" "--pair-devices"
  "mpsRoot" "--mps-root"
  "nvidiaDevRoot" "--dev-root"
  "cdiSpecDir" "--cdi-spec-dir"
  "cdiAnnotationPrefix" "--cdi-annotation-prefix"
  "cdiDisableHooks" "--cdi-disable-hooks"
  "gdrcopyEnabled" "--gdrcopy-enabled"
  "gdsEnabled" "--gds-enabled"
  "mofedEnabled" "--mofed-enabled"
  "imexChannelIDs" "--imex-channel-ids"
  "imexRequired" "--imex-required"
  "pollInterval" "--poll-interval"
  "linkQuietTime" "--link-quiet-time"
  "longestLinkQuietTime" "--longest-link-quiet-time"
  "onloadPreload" "--onload-preload"
  "quietTime" "--quiet-time"
  "probation" "--probation"
  "decisionTime" "--decision-time"
  "driverTimeout" "--driver-timeout"
  "flapCount" "--flap-count"
  "flapWindow" "--flap-window"
  "disabledHealthchecks" "--disable-healthchecks"
  "enabledHealthchecks" "--enable-healthchecks"
  "expectedGpus" "--expected-gpus"
  "kernelLog" "--kernel-log"
  "kubernetesEvents" "--kubernetes-events"
  "nodeCondition" "--node-condition"
  "missingInCondition" "--missing-in-condition"
  "nodeLabels" "--node-labels"
  "nodeLabelsAdopt" "--node-labels-adopt"
  "nodeLabelsGrace" "--node-labels-grace"
  "nodeLabelsRemove" "--node-labels-remove"
  "nodeLabelsDeprecated" "--node-labels-deprecated"
  "nodeLabelsOwn" "--node-labels-own"
  "nodeLabelsByProduct" "--node-labels-by-product"
  "nodeTaintByCause" "--node-taint-by-cause"
  "noTimestamp" "--no-timestamp"
  "machineTypeFile" "--machine-type-file"
  "logLevel" "--log-level"
  "logFormat" "--log-format"
  "configCompatibility" "--config-compatibility"
}}
{{- range $name, $flag := $flags }}
{{- $value := index $.Values $name }}
{{- if kindIs "slice" $value }}
{{- $value = join "," $value }}
{{- end }}
{{- if not (or (kindIs "invalid" $value) (eq (toString $value) "")) }}
- {{ printf "%s=%v" $flag $value | quote }}
{{- end }}
{{- end }}
{{- end -}}
