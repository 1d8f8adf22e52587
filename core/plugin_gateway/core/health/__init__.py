"""How a device is: what speaks against it, and how it comes to be given out again."""
