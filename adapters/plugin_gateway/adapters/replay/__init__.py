"""Plays a recording: the kubelet's side is repeated to a gateway with the same devices; compares the answers."""
