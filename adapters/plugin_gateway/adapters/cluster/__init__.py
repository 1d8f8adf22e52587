"""What the cluster is told of the devices: Events, a node condition, labels and taints of the node. Off by default.

The gateway needs no access to the API server, and never waits for it. `ClusterReports` has two outputs, Events and the
condition, with a task each. If one of them is refused or slow, the other one goes on.

`EventLedger` in `events` knows what happened and what the API server knows of it, and decides what is sent when. There
is one Event for each device and cause, which is counted. A node sends 25 calls at once at most, and then one in 300 s.
Of the states of a device only the last one waits, so after a time without the API server the last word is true.

The condition is True while a device that is present is not healthy, and on request also while one is missing. It is
sent when that changes, at most once in 5 s, and again every five minutes, because a Node that is created anew has none.
The pauses after an error grow from 1 s to 60 s. What would be refused again, such as a call without permission, is not
tried again until something changes.

`LabelPublisher` in `label_publishing` keeps the labels of the node as the devices are, and its taints. There are three
ways: `feature_file` and `node_feature` are read by node-feature-discovery, and `node_patch` changes the node itself.

`NodeLabel` in `node_label` follows the label of the own node that chooses its configuration.
"""
