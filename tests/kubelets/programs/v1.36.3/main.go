// The genuine device manager of Kubernetes 1.36.3, with the admission that its kubelet puts around it.
package main

import (
	"context"
	"flag"
	_ "unsafe" // for go:linkname

	cadvisorapi "github.com/google/cadvisor/info/v1"
	"k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/kubelet/cm/containermap"
	"k8s.io/kubernetes/pkg/kubelet/cm/devicemanager"
	"k8s.io/kubernetes/pkg/kubelet/cm/topologymanager"
	"k8s.io/kubernetes/pkg/kubelet/config"
	"k8s.io/kubernetes/pkg/kubelet/lifecycle"

	"node"
)

//go:linkname newManagerImpl k8s.io/kubernetes/pkg/kubelet/cm/devicemanager.newManagerImpl
func newManagerImpl(logger klog.Logger, socketPath string, topology []cadvisorapi.Node, store topologymanager.Store) (*devicemanager.ManagerImpl, error)

type manager struct {
	*devicemanager.ManagerImpl
	handlers []lifecycle.PodAdmitHandler
}

func machine() []cadvisorapi.Node {
	if node.TopologyPolicy() == topologymanager.PolicyNone {
		return nil
	}
	return []cadvisorapi.Node{{Id: 0}, {Id: 1}}
}

func newManager(socket string, of *node.Node) (node.Manager, error) {
	topology, err := topologymanager.NewManager(machine(), node.TopologyPolicy(), "container", nil)
	if err != nil {
		return nil, err
	}
	made, err := newManagerImpl(klog.Background(), socket, machine(), topology)
	if err != nil {
		return nil, err
	}
	topology.AddHintProvider(klog.Background(), made)
	predicate := lifecycle.NewPredicateAdmitHandler(
		func(context.Context, bool) (*v1.Node, error) { return of.Status(), nil },
		lifecycle.NewAdmissionFailureHandlerStub(),
		made.UpdatePluginResources,
	)
	return &manager{made, []lifecycle.PodAdmitHandler{topology, predicate}}, nil
}

func (m *manager) Implementation() interface{} { return m.ManagerImpl }

func (m *manager) Start(activePods func() []*v1.Pod) error {
	ready := config.NewSourcesReady(func(sets.Set[string]) bool { return true })
	return m.ManagerImpl.Start(klog.Background(), activePods, ready, containermap.NewContainerMap(), sets.New[string]())
}

func (m *manager) Capacity() (v1.ResourceList, v1.ResourceList, []string) { return m.GetCapacity() }

func (m *manager) RemovedStay() bool { return true }

func (m *manager) Admit(pod *v1.Pod, others []*v1.Pod) (string, string) {
	attributes := &lifecycle.PodAdmitAttributes{Pod: pod, OtherPods: others, Operation: lifecycle.AddOperation}
	for _, handler := range m.handlers {
		if result := handler.Admit(attributes); !result.Admit {
			return result.Reason, result.Message
		}
	}
	return "", ""
}

func (m *manager) Container(pod *v1.Pod, container *v1.Container) (node.Container, error) {
	told := node.Container{Environment: map[string]string{}, Annotations: map[string]string{}}
	options, err := m.GetDeviceRunContainerOptions(context.Background(), pod, container)
	if err != nil || options == nil {
		return told, err
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
	for _, each := range options.Annotations {
		told.Annotations[each.Name] = each.Value
	}
	for _, each := range options.CDIDevices {
		told.CDI = append(told.CDI, each.Name)
	}
	return told, nil
}

func main() {
	flags := flag.NewFlagSet("klog", flag.PanicOnError)
	klog.InitFlags(flags)
	flags.Parse([]string{"-v=2"})
	node.Run("1.36.3", newManager)
}
