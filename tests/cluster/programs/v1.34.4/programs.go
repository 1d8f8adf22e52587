//go:build tools

// Package programs names the commands of Kubernetes that the cluster runs.
package programs

import (
	_ "k8s.io/kubernetes/cmd/kubelet"
)
