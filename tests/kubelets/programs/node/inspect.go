package node

import (
	"fmt"
	"reflect"
	"sort"
	"strings"
	"sync"
	"time"
	"unsafe"
)

const (
	kubeletPackages = "k8s.io/kubernetes/pkg/kubelet"
	deepest         = 16
)

// inspect lists what the manager holds, by the names of its own fields: this makes visible what capacity does not show.
func inspect(manager interface{}) map[string]interface{} {
	value := reflect.ValueOf(manager).Elem()
	defer locked(value)()
	found := map[string]interface{}{}
	for _, name := range []string{"healthyDevices", "unhealthyDevices", "allDevices", "allocatedDevices"} {
		if field := value.FieldByName(name); field.IsValid() && field.Kind() == reflect.Map {
			found[name] = keysOfEach(field)
		}
	}
	for _, name := range []string{"endpoints", "endpointStore"} {
		if field := value.FieldByName(name); field.IsValid() && field.Kind() == reflect.Map {
			found[name] = keys(field)
		}
	}
	if server := value.FieldByName("server"); server.IsValid() && server.Kind() == reflect.Interface && !server.IsNil() {
		registration := server.Elem().Elem()
		defer locked(registration)()
		if clients := registration.FieldByName("clients"); clients.IsValid() {
			found["clients"] = keys(clients)
		}
	}
	return found
}

// age lets the endpoints that stopped have stopped longer ago; it tells how many there are.
func age(manager interface{}, by time.Duration) int {
	value := reflect.ValueOf(manager).Elem()
	defer locked(value)()
	aged := 0
	endpoints := value.FieldByName("endpoints")
	if !endpoints.IsValid() {
		return aged
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
			aged++
		}
	}
	return aged
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

func keysOfEach(field reflect.Value) map[string][]string {
	found := map[string][]string{}
	for _, key := range field.MapKeys() {
		found[key.String()] = []string{}
		if field.MapIndex(key).Kind() == reflect.Map {
			found[key.String()] = keys(field.MapIndex(key))
		}
	}
	return found
}

// keys lists the keys of a map, and after a blank those of the maps in it, or how long the list is.
func keys(field reflect.Value) []string {
	found := []string{}
	for _, key := range field.MapKeys() {
		switch inner := field.MapIndex(key); inner.Kind() {
		case reflect.Map:
			for _, name := range keys(inner) {
				found = append(found, fmt.Sprintf("%s %s", key.String(), name))
			}
		case reflect.Slice:
			found = append(found, fmt.Sprintf("%s %d", key.String(), inner.Len()))
		default:
			found = append(found, key.String())
		}
	}
	sort.Strings(found)
	return found
}
