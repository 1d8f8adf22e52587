"""Tools that know nothing of devices: logs, tasks, files, connections, terminals and strict JSON.

- `connections`: serves clients of a socket, with limits of time and number
- `console`: rich's console, but with an ordinary error when the reader of the output is gone
- `lean_imports`: imports a module later, or makes it look as if it were not installed
- `logs`: log lines with fields, as JSON or text
- `signals`: what SIGINT, SIGTERM and SIGHUP do
- `standard_streams`, `standard_error`: standard input, output and error that are closed, full or not read
- `strict_json`: checks JSON values and names the place of a wrong one
- `tap`: where a recorder gets the conversation with the kubelet from
- `tasks`: a value with followers, work that is not cancelled half-way, errors of a group
- `terminal`: tables, lines and JSON on standard output
- `unix_files`: identity of sockets and folders, and who listens on a socket

Two of them exist because a node should have its devices soon after the process starts, and most of that time goes into
imports. `lean_imports` defers or avoids imports of libraries. `logs` keeps the first log lines in memory until
structlog is imported, which is after the first registration.
"""
