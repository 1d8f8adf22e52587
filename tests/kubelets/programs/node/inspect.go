package node

import (
	"reflect"
	"strings"
	"sync"
	"time"
	"unsafe"
)

const (
	kubeletPackages = "k8s.io/kubernetes/pkg/kubelet"
	deepest         = 16
)

// age lets the endpoints that stopped have stopped longer ago.
func age(manager interface{}, by time.Duration) {
	value := reflect.ValueOf(manager).Elem()
	defer locked(value)()
	endpoints := value.FieldByName("endpoints")
	if !endpoints.IsValid() {
		return
	}
	for _, key := range endpoints.MapKeys() {
		endpoint := endpoints.MapIndex(key)
		if endpoint.Kind() == reflect.Struct {
			endpoint = endpoint.FieldByName("e")
		}
		for endpoint.Kind() == reflect.Interface || endpoint.Kind() == reflect.Ptr {
			endpoint = endpoint.Elem()
		}
		stopped := endpoint.FieldByName("stopTime")
		if !stopped.IsValid() {
			continue
		}
		since := (*time.Time)(unsafe.Pointer(stopped.UnsafeAddr()))
		if !since.IsZero() {
			*since = since.Add(-by)
		}
	}
}

// drop closes every connection to a device plugin, as a fault of the kubelet's would; it tells how many there were.
func drop(manager interface{}) int {
	connections := map[uintptr]reflect.Value{}
	func() {
		value := reflect.ValueOf(manager)
		defer locked(value.Elem())()
		find(value, map[uintptr]bool{}, connections, deepest)
	}()
	for _, connection := range connections {
		connection.MethodByName("Close").Call(nil)
	}
	return len(connections)
}

// find looks for connections in what the kubelet's own packages define.
func find(value reflect.Value, seen map[uintptr]bool, connections map[uintptr]reflect.Value, depth int) {
	if depth == 0 {
		return
	}
	switch value.Kind() {
	case reflect.Interface:
		if !value.IsNil() {
			find(value.Elem(), seen, connections, depth-1)
		}
	case reflect.Ptr:
		pointer := value.Pointer()
		if value.Type().String() == "*grpc.ClientConn" && pointer != 0 {
			connections[pointer] = reflect.NewAt(value.Type().Elem(), unsafe.Pointer(pointer))
		} else if pointer != 0 && !seen[pointer] && strings.HasPrefix(value.Type().Elem().PkgPath(), kubeletPackages) {
			seen[pointer] = true
			find(value.Elem(), seen, connections, depth-1)
		}
	case reflect.Struct:
		for index := 0; index < value.NumField(); index++ {
			find(value.Field(index), seen, connections, depth-1)
		}
	case reflect.Map:
		for _, key := range value.MapKeys() {
			find(value.MapIndex(key), seen, connections, depth-1)
		}
	case reflect.Slice:
		for index := 0; index < value.Len() && value.Type().Elem().Kind() == reflect.Interface; index++ {
			find(value.Index(index), seen, connections, depth-1)
		}
	}
}

// locked takes the lock of a struct that has one, and returns what gives it back.
func locked(value reflect.Value) func() {
	for _, name := range []string{"mutex", "Mutex"} {
		if field := value.FieldByName(name); field.IsValid() && field.Type() == reflect.TypeOf(sync.Mutex{}) {
			mutex := (*sync.Mutex)(unsafe.Pointer(field.UnsafeAddr()))
			mutex.Lock()
			return mutex.Unlock
		}
	}
	return func() {}
}
