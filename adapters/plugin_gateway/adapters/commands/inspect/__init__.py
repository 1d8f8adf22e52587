"""`plugin-gateway inspect`: shows what the socket of a device plugin serves. It works with the plugins of all vendors.

`plugin_client` asks the plugin, and `command` prints the answers. If the plugin has gRPC reflection, it says which
services it has, and what their messages look like. Otherwise each known package is tried, the newest first.
"""
