"""Writes labels and taints of the node: into a feature file, as a NodeFeature object, or onto the node itself.

`publishing` decides when, and what of a driver that is gone. Each of `feature_file`, `node_feature` and `node_patch` is
a `Way`. The gateway never waits for any of them, and nothing of it is imported where no way is chosen.
"""
