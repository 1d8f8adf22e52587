"""Knows nothing of devices: logs, tasks, files, terminals, strict JSON."""
