"""`plugin-gateway doctor`: finds out what is wrong on this node, and says what to do about each problem.

The checks are in `kubelet_checks`, `gateway_checks` and `node_checks`. Each yields findings, and `command` prints them
in a fixed order. The settings are those of the gateway that runs on the node, unless flags are given.
"""
