"""The operator's socket: who is asked, what is answered, and how a command finds the gateway."""
