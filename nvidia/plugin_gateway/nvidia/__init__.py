"""NVIDIA GPUs: NVML in a thread of its own, what its evidence means, and simulated GPUs."""
