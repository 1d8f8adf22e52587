"""The registration of a resource with the kubelet of the node, as a pure state machine."""
