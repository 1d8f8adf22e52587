"""Which device is offered as what, and what a container gets that was given some."""
