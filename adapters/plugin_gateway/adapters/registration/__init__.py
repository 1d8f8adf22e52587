"""Registration of every resource with the kubelet of the node, again after every restart.

`core/registration` decides: it has a state machine for each resource, the order of the resources and dialects, and the
precedence among gateways. docs/registration.md explains it, with what each release of the kubelet does.

This package sees and acts. registrar.py has the one task that looks at the directory and gives each state machine what
has happened. resource_registration.py carries out what a state machine decides, endpoints.py binds the sockets,
link.py and client.py send Register. Two things run in tasks of their own: waiting for the kubelet's answer, and closing
endpoints.
"""
