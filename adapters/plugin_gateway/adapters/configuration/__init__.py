"""Reads flags, environment and configuration file, and makes the settings of `run` from them.

A setting can come from four places. A flag takes precedence over the environment, the environment over the file, and
the file over the default. `options` has one table with all of it: for each setting its flags, variables, key in the
file, kind of values and default. `reading` finds the text that decides, parses it once, and notes where it came from.
The log, `status` and the error messages use that note. `settings` adds what is made of several options.

The table is read before the driver is started, so it imports little. That is why it is made of plain classes and not of
dataclasses, and why a kind such as `FOLDER` makes its value only where that is used.

A setting without a key in the file is decided when the gateway starts, and does not change while it runs. The file is
read again at SIGHUP, and what changed in it takes effect. A file with an error ends the gateway at start; at SIGHUP the
gateway keeps the settings that it has.

Names and meanings are those of NVIDIA's device plugin where that has the same setting. Some of its settings ask for
features that this plugin does not have. They are errors, unless their value asks for nothing (`--gds-enabled=false`).
If they were ignored, an administrator who replaces NVIDIA's plugin would lose a feature and not learn of it.

Only `file`, `document` and `health_section` import the YAML parser. They are imported where a file was named, because a
start without a file should not take longer for it.
"""
