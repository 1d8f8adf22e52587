// Package node is what surrounds a kubelet's device manager on a node: its pods, its status, and a way to talk to it.
//
// Events are JSON lines on standard output, commands are JSON lines on standard input. Its end is the kubelet's end.
package node

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"time"

	"k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const statusInterval = 20 * time.Millisecond

// Manager is the device manager of one release, with what that release's kubelet puts around it.
type Manager interface {
	Start(activePods func() []*v1.Pod) error
	// Capacity tells of the resources that the manager knows, and names those that are gone for good.
	Capacity() (capacity, allocatable v1.ResourceList, removed []string)
	// RemovedStay tells whether the node goes on saying that it has none of what is gone for good (1.10 and later).
	RemovedStay() bool
	// Admit does what the kubelet does before it accepts a pod; the reason is empty where it accepts.
	Admit(pod *v1.Pod, others []*v1.Pod) (reason, message string)
	// Container tells what a container is started with.
	Container(pod *v1.Pod, container *v1.Container) (Container, error)
	// Implementation is the release's own manager, for a look at its fields.
	Implementation() interface{}
}

// Container is what the container runtime is told.
type Container struct {
	Environment map[string]string `json:"environment"`
	Mounts      []Mount           `json:"mounts"`
	Devices     []Device          `json:"devices"`
	Annotations map[string]string `json:"annotations"`
	CDI         []string          `json:"cdi"`
}

// Mount is a file or folder of the host in the container.
type Mount struct {
	Container string `json:"container"`
	Host      string `json:"host"`
	ReadOnly  bool   `json:"read_only"`
}

// Device is a device node of the host in the container.
type Device struct {
	Container   string `json:"container"`
	Host        string `json:"host"`
	Permissions string `json:"permissions"`
}

// Node is the node object and the pods bound to it.
type Node struct {
	mutex  sync.Mutex
	status v1.Node
	pods   []*v1.Pod
}

// Status is the node as the kubelet would report it.
func (n *Node) Status() *v1.Node {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	return n.status.DeepCopy()
}

// Run is the life of a kubelet of this release in the directory that the arguments name.
func Run(release string, make func(socket string, node *Node) (Manager, error)) {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: kubelet DIRECTORY")
		os.Exit(2)
	}
	node := &Node{status: emptyNode()}
	manager, err := make(filepath.Join(os.Args[1], "kubelet.sock"), node)
	if err == nil {
		err = manager.Start(node.activePods)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cannot start:", err)
		os.Exit(1)
	}
	tell(Event{"event": "ready", "release": release})
	go node.report(manager)
	err = commands(os.Stdin, func(command Command) { node.run(manager, command) })
	if err != nil {
		fmt.Fprintln(os.Stderr, "cannot read commands:", err)
		os.Exit(1)
	}
}

// TopologyPolicy is the policy of the topology manager. Where it is not "none", the machine has NUMA nodes 0 and 1.
func TopologyPolicy() string {
	if policy := os.Getenv("TOPOLOGY_POLICY"); policy != "" {
		return policy
	}
	return "none"
}

func emptyNode() v1.Node {
	return v1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "node", UID: "node"},
		Status:     v1.NodeStatus{Capacity: much(), Allocatable: much()},
	}
}

// much is more than any pod of a test wants of what no device plugin has.
func much() v1.ResourceList {
	return v1.ResourceList{
		v1.ResourceCPU:    resource.MustParse("64"),
		v1.ResourceMemory: resource.MustParse("512Gi"),
		v1.ResourcePods:   resource.MustParse("1000"),
	}
}

func (n *Node) activePods() []*v1.Pod {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	return append([]*v1.Pod{}, n.pods...)
}

type counts struct {
	Capacity    int64 `json:"capacity"`
	Allocatable int64 `json:"allocatable"`
}

// report does what the kubelet's status cycle does with the manager's counts, far more often, and tells each change.
func (n *Node) report(manager Manager) {
	var before map[string]counts
	for ; ; time.Sleep(statusInterval) {
		capacity, allocatable, removed := manager.Capacity()
		now := map[string]counts{}
		n.mutex.Lock()
		for name, quantity := range capacity {
			available := allocatable[name]
			n.status.Status.Capacity[name], n.status.Status.Allocatable[name] = quantity, available
			now[string(name)] = counts{quantity.Value(), available.Value()}
		}
		for _, name := range removed {
			n.forget(v1.ResourceName(name), manager.RemovedStay())
		}
		n.mutex.Unlock()
		if before == nil || !reflect.DeepEqual(before, now) {
			tell(Event{"event": "capacity", "resources": now, "removed": removed})
			before = now
		}
	}
}

func (n *Node) forget(name v1.ResourceName, stays bool) {
	for _, list := range []v1.ResourceList{n.status.Status.Capacity, n.status.Status.Allocatable} {
		if delete(list, name); stays {
			list[name] = *resource.NewQuantity(0, resource.DecimalSI)
		}
	}
}

func (n *Node) run(manager Manager, command Command) {
	answer := Event{"event": "answer", "id": command.ID}
	switch command.Command {
	case "allocate":
		n.allocate(manager, command, answer)
	case "readmit":
		n.readmit(manager, command, answer)
	case "bind":
		n.bind(newPod(command))
		answer["ok"] = true
	case "start":
		n.start(manager, command, answer)
	case "remove":
		n.remove(command.Pod)
		answer["ok"] = true
	case "drop":
		answer["ok"], answer["connections"] = true, drop(manager.Implementation())
	case "age":
		age(manager.Implementation(), time.Duration(command.Seconds)*time.Second)
		answer["ok"] = true
	default:
		answer["ok"], answer["message"] = false, "unknown command "+command.Command
	}
	tell(answer)
}

// allocate admits a pod with one container that wants devices, and starts the container.
func (n *Node) allocate(manager Manager, command Command, answer Event) {
	pod := newPod(command)
	others := n.activePods()
	if reason, message := manager.Admit(pod, others); reason != "" {
		answer["ok"], answer["stage"], answer["message"] = false, "admission", message
		return
	}
	n.bind(pod)
	n.start(manager, command, answer)
}

// readmit admits a pod again that the node has, as a kubelet does that starts again, and starts its container.
func (n *Node) readmit(manager Manager, command Command, answer Event) {
	var again *v1.Pod
	others := []*v1.Pod{}
	for _, pod := range n.activePods() {
		if pod.Name == command.Pod {
			again = pod
		} else {
			others = append(others, pod)
		}
	}
	if again == nil {
		answer["ok"], answer["message"] = false, "no such pod"
		return
	}
	if reason, message := manager.Admit(again, others); reason != "" {
		answer["ok"], answer["stage"], answer["message"] = false, "admission", message
		return
	}
	n.start(manager, command, answer)
}

// bind counts a pod as one of the node's; by itself it is what a kubelet that starts again hears of the pods it had.
func (n *Node) bind(pod *v1.Pod) {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	n.pods = append(n.pods, pod)
}

func (n *Node) start(manager Manager, command Command, answer Event) {
	for _, pod := range n.activePods() {
		if pod.Name != command.Pod {
			continue
		}
		container, err := manager.Container(pod, &pod.Spec.Containers[0])
		if err != nil {
			answer["ok"], answer["stage"], answer["message"] = false, "container start", err.Error()
			return
		}
		answer["ok"], answer["container"] = true, container
		return
	}
	answer["ok"], answer["stage"], answer["message"] = false, "container start", "no such pod"
}

func (n *Node) remove(name string) {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	kept := []*v1.Pod{}
	for _, pod := range n.pods {
		if pod.Name != name {
			kept = append(kept, pod)
		}
	}
	n.pods = kept
}

func newPod(command Command) *v1.Pod {
	wanted := v1.ResourceList{v1.ResourceName(command.Resource): *resource.NewQuantity(command.Count, resource.DecimalSI)}
	for name, count := range command.Further {
		wanted[v1.ResourceName(name)] = *resource.NewQuantity(count, resource.DecimalSI)
	}
	return &v1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: command.Pod, Namespace: "default", UID: types.UID(command.Pod)},
		Spec: v1.PodSpec{Containers: []v1.Container{{
			Name:      command.Container,
			Resources: v1.ResourceRequirements{Limits: wanted, Requests: wanted},
		}}},
		Status: v1.PodStatus{Phase: v1.PodRunning},
	}
}
