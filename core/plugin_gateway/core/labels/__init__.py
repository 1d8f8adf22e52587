"""Labels and taints that the node should have, made from what is known of its devices. Nothing is written here.

`names` says what a name and a value may be, and makes values from names of products. `policy` has what an administrator
decided. `making` puts together what each backend makes of its state, and `lasting` says for how long labels and taints
outlast that. `ownership` tells what on the node is the gateway's from what is somebody else's.
"""
