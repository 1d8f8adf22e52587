"""What a kubelet keeps on the node: its directory, its checkpoint, its pods' devices."""
