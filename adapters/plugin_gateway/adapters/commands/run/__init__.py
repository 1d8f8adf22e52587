"""`plugin-gateway run`: the gateway as a process."""
