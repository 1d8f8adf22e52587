"""`run --record`: a conversation with a kubelet as a file."""
