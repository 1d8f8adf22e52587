"""What the API server is told: Events and a condition of the node."""
