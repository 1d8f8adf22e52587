"""The sub-commands of `plugin-gateway`: a module or a package for each.

The table of sub-commands is in `plugin_gateway.__main__`. It has the name, the line for the overview, and the module of
each. Only the module of the sub-command that is called is imported, because its imports take most of the time.

Such a module has a function `make(parts)`. `parts` has what only the composition root knows: backends, and what
belongs to their vendor. It returns a `SubCommand`: a function that adds the arguments to a parser, and one that runs
the sub-command with the parsed arguments and returns the exit status. A mistake of the user is an InvalidValueError
(exit status 2), any other known problem a GatewayError (exit status 1). `command_line` prints both as one line.

`command_line`, `flags` and `gateway_settings` are shared by all of them. The others do not import each other.
"""
