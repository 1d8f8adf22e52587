"""The pages of `--listen`: metrics, probes and the status over HTTP.

`/metrics` has the text format of Prometheus. `/healthz` answers 200, or 503 where a restart of the process could help:
nothing watches the driver, the driver is loaded but this process cannot open it any more, or a resource has no socket.
`/readyz` answers 200 if the kubelet has an open stream to each resource, and otherwise 503. A node without devices has
no resource, and is ready. `/status` is the status as JSON, and `/` shows it to people. `/health` is JSON with a stable
form for programs that mend nodes: which devices are not healthy, why, and what the vendor says to do.

The listener is small on purpose. It accepts only GET and HEAD, has one request per connection, and makes each answer in
the event loop from what is known. It has at most 32 clients, each for at most 5 s. One more closes the oldest
connection, so that clients that hang cannot keep a probe out.
"""
