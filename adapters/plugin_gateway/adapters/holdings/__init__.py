"""Which pod holds which device, as the kubelet tells or wrote down. For sub-commands; `run` does not need it."""
