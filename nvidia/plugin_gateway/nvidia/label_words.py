"""The words in which facts about GPUs and MIG devices are reported, see `FactsSeen`.

What is not known has no word. The facts are read in `label_facts`, and `labels` says what they mean.
"""

CUDA = "cuda"
"""Of the node: the version of CUDA that the driver supports, such as ``13.0``."""
VGPU = "vgpu"
"""Of the node: whether a GPU is one that a hypervisor made, `YES` or `NO`."""
HOST_DRIVER, HOST_BRANCH = "hostDriver", "hostBranch"
"""Of the node: the version and the branch of the hypervisor's driver, if it has such a GPU."""
CAPABILITY = "capability"
"""Of a GPU: its compute capability, such as ``9.0``."""
PCI_CLASS = "class"
"""Of a GPU: the class of its PCI function, such as ``0x030200``."""
MIG_MODE = "mig"
"""Of a GPU: whether it is in MIG mode, `YES` or `NO`. A GPU without MIG has no such word."""
CLIQUE = "clique"
"""Of a GPU: the cluster and the clique of the NVLink fabric that it has joined, such as ``UUID.4``."""
MULTIPROCESSORS = "multiprocessors"
GI_SLICES, CI_SLICES = "slices.gi", "slices.ci"
ENGINES = ("engines.copy", "engines.decoder", "engines.encoder", "engines.jpeg", "engines.ofa")
"""Of a MIG device: what it has of the GPU. The words are those of NVIDIA's labels."""
YES, NO = "true", "false"
