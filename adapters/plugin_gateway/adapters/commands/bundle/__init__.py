"""`plugin-gateway bundle`: collects in one file what support needs to know of this node.

`command` has the arguments and writes the file, and `parts` has what is put into it. Each part has a limit of its own,
so that a gateway, a driver or a file system that hangs costs this part alone.
"""
