"""The versions of the device plugin protocol: bytes to values and back."""
