"""What the kubelet meets on one of our sockets."""
