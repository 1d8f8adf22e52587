// The genuine device plugin handler of Kubernetes 1.8.15, with the admission that its kubelet puts around it.
package main

import (
	"flag"
	"path/filepath"
	"reflect"
	"sync"
	"unsafe"

	"github.com/golang/glog"
	"k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/kubelet/cm"
	"k8s.io/kubernetes/pkg/kubelet/lifecycle"
	"k8s.io/kubernetes/plugin/pkg/scheduler/algorithm"

	"node"
)

//go:linkname readCheckpoint k8s.io/kubernetes/pkg/kubelet/cm.(*DevicePluginHandlerImpl).readCheckpoint
func readCheckpoint(*cm.DevicePluginHandlerImpl) error

// failures passes a failed admission on, as nothing here can be evicted.
type failures struct{}

func (failures) HandleAdmissionFailure(_ *v1.Pod, reasons []algorithm.PredicateFailureReason) (bool, []algorithm.PredicateFailureReason, error) {
	return false, reasons, nil
}

type manager struct {
	*cm.DevicePluginHandlerImpl
	predicate  lifecycle.PodAdmitHandler
	mutex      sync.Mutex
	capacity   v1.ResourceList
	activePods func() []*v1.Pod
}

func newManager(socket string, of *node.Node) (node.Manager, error) {
	made := &manager{capacity: v1.ResourceList{}}
	handler, err := cm.NewDevicePluginHandlerImpl(made.update)
	if err != nil {
		return nil, err
	}
	made.DevicePluginHandlerImpl = handler
	made.predicate = lifecycle.NewPredicateAdmitHandler(func() (*v1.Node, error) { return of.Status(), nil }, failures{})
	move(handler, filepath.Dir(socket)+"/")
	if err := readCheckpoint(handler); err != nil {
		glog.Warningf("Continue after failing to read checkpoint file. Err: %v", err)
	}
	return made, nil
}

// move tells the manager another directory than the one that is compiled in.
func move(handler *cm.DevicePluginHandlerImpl, directory string) {
	field := reflect.ValueOf(handler).Elem().FieldByName("devicePluginManager").Elem().Elem().FieldByName("socketdir")
	*(*string)(unsafe.Pointer(field.UnsafeAddr())) = directory
}

// update is what the container manager hands to the handler: a resource without devices is forgotten.
func (m *manager) update(changed v1.ResourceList) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	for name, quantity := range changed {
		if quantity.Value() <= 0 {
			delete(m.capacity, name)
		} else {
			m.capacity[name] = quantity
		}
	}
}

func (m *manager) Implementation() interface{} { return m.DevicePluginHandlerImpl }

func (m *manager) Start(activePods func() []*v1.Pod) error {
	m.activePods = activePods
	return m.DevicePluginHandlerImpl.Start()
}

// Capacity is one number in this release: devices that are not healthy do not count.
func (m *manager) Capacity() (v1.ResourceList, v1.ResourceList, []string) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	healthy := v1.ResourceList{}
	for name, quantity := range m.capacity {
		healthy[name] = quantity
	}
	return healthy, healthy, nil
}

func (m *manager) RemovedStay() bool { return false }

// Admit only counts in this release; devices are asked for at the start of a container.
func (m *manager) Admit(pod *v1.Pod, others []*v1.Pod) (string, string) {
	if result := m.predicate.Admit(&lifecycle.PodAdmitAttributes{Pod: pod, OtherPods: others}); !result.Admit {
		return result.Reason, result.Message
	}
	return "", ""
}

// Container merges the specs of all devices as the container manager does: of a name that stands in two the first counts.
func (m *manager) Container(pod *v1.Pod, container *v1.Container) (node.Container, error) {
	told := node.Container{Environment: map[string]string{}, Annotations: map[string]string{}}
	answers, err := m.Allocate(pod, container, m.activePods())
	if err != nil {
		return told, err
	}
	devices, mounts := map[string]bool{}, map[string]bool{}
	for _, answer := range answers {
		for _, spec := range answer.Spec {
			for _, each := range spec.Devices {
				if !devices[each.ContainerPath] {
					devices[each.ContainerPath] = true
					told.Devices = append(told.Devices, node.Device{Container: each.ContainerPath, Host: each.HostPath, Permissions: each.Permissions})
				}
			}
			for _, each := range spec.Mounts {
				if !mounts[each.ContainerPath] {
					mounts[each.ContainerPath] = true
					told.Mounts = append(told.Mounts, node.Mount{Container: each.ContainerPath, Host: each.HostPath, ReadOnly: each.ReadOnly})
				}
			}
			for name, value := range spec.Envs {
				if _, known := told.Environment[name]; !known {
					told.Environment[name] = value
				}
			}
		}
	}
	return told, nil
}

func main() {
	flag.CommandLine.Parse([]string{"-logtostderr", "-v=2"})
	node.Run("1.8.15", newManager)
}
