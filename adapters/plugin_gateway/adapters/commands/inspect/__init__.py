"""`plugin-gateway inspect`: what a device plugin's socket serves, whoever's it is."""
