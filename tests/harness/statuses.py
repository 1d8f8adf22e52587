"""Statuses of gateways that do not run."""

from typing import Any

from jsonschema import Draft202012Validator

import status_schema
from plugin_gateway.adapters.gateway.status import DriverStatus, OfferedResource, Status

BARE = Status(
    kubelet_dir="/nonexistent",
    configuration_problem=None,
    configuration={},
    driver=DriverStatus(version="575", problem=None, events_problem=None),
    resources=(),
    devices=(),
    absent=(),
)
"""Of a gateway that has seen no device."""
RESOURCE = OfferedResource(
    name="example.com/thing",
    api_version=None,
    endpoint=None,
    stream_opened=None,
    stands_by=False,
    registrations=(),
    failures=(),
)
"""A resource that is not registered."""
_VALIDATOR = Draft202012Validator(status_schema.schema())


def assert_valid(document: Any) -> None:
    """Check that JSON has the form of the schema in the documentation."""
    _VALIDATOR.validate(document)
