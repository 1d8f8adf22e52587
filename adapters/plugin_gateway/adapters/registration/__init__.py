"""Keeps every resource registered with whatever kubelet is there."""
