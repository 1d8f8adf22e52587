//go:build tools

// Package programs names the store that the cluster runs on.
package programs

import _ "go.etcd.io/etcd/server/v3"
