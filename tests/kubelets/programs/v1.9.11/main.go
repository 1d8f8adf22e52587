// The genuine device manager of Kubernetes 1.9.11, with the admission that its kubelet puts around it.
package main

import (
	"flag"
	_ "unsafe" // for go:linkname

	"k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/kubernetes/pkg/kubelet/cm/deviceplugin"
	"k8s.io/kubernetes/pkg/kubelet/config"
	"k8s.io/kubernetes/pkg/kubelet/lifecycle"
	"k8s.io/kubernetes/plugin/pkg/scheduler/algorithm"

	"node"
)

//go:linkname newManagerImpl k8s.io/kubernetes/pkg/kubelet/cm/deviceplugin.newManagerImpl
func newManagerImpl(socketPath string) (*deviceplugin.ManagerImpl, error)

// failures passes a failed admission on, as nothing here can be evicted.
type failures struct{}

func (failures) HandleAdmissionFailure(_ *v1.Pod, reasons []algorithm.PredicateFailureReason) (bool, []algorithm.PredicateFailureReason, error) {
	return false, reasons, nil
}

type manager struct {
	*deviceplugin.ManagerImpl
	predicate lifecycle.PodAdmitHandler
}

func newManager(socket string, of *node.Node) (node.Manager, error) {
	made, err := newManagerImpl(socket)
	if err != nil {
		return nil, err
	}
	predicate := lifecycle.NewPredicateAdmitHandler(
		func() (*v1.Node, error) { return of.Status(), nil },
		failures{},
		made.Allocate,
	)
	return &manager{made, predicate}, nil
}

func (m *manager) Implementation() interface{} { return m.ManagerImpl }

func (m *manager) Start(activePods func() []*v1.Pod) error {
	ready := config.NewSourcesReady(func(sets.String) bool { return true })
	return m.ManagerImpl.Start(activePods, ready)
}

// Capacity is one number in this release: devices that are not healthy do not count.
func (m *manager) Capacity() (v1.ResourceList, v1.ResourceList, []string) {
	healthy, removed := m.GetCapacity()
	return healthy, healthy, removed
}

func (m *manager) RemovedStay() bool { return false }

func (m *manager) Admit(pod *v1.Pod, others []*v1.Pod) (string, string) {
	attributes := &lifecycle.PodAdmitAttributes{Pod: pod, OtherPods: others}
	if result := m.predicate.Admit(attributes); !result.Admit {
		return result.Reason, result.Message
	}
	return "", ""
}

func (m *manager) Container(pod *v1.Pod, container *v1.Container) (node.Container, error) {
	told := node.Container{Environment: map[string]string{}, Annotations: map[string]string{}}
	options := m.GetDeviceRunContainerOptions(pod, container)
	if options == nil {
		return told, nil
	}
	for _, each := range options.Envs {
		told.Environment[each.Name] = each.Value
	}
	for _, each := range options.Mounts {
		told.Mounts = append(told.Mounts, node.Mount{Container: each.ContainerPath, Host: each.HostPath, ReadOnly: each.ReadOnly})
	}
	for _, each := range options.Devices {
		told.Devices = append(told.Devices, node.Device{Container: each.PathInContainer, Host: each.PathOnHost, Permissions: each.Permissions})
	}
	return told, nil
}

func main() {
	flag.CommandLine.Parse([]string{"-logtostderr", "-v=2"})
	node.Run("1.9.11", newManager)
}
