"""What stands between the device model and the outside: the kubelet, its directory, the admin."""
