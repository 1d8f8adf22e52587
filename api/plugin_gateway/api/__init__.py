"""The messages of the kubelet's APIs: the `.proto` files, and the modules generated from them."""
