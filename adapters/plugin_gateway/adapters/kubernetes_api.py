"""The few calls of the API server that a pod makes, with its service account. Blocking: for a thread of their own."""

import http.client
import json
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plugin_gateway.core.errors import GatewayError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
PATIENCE = 5.0
"""Seconds that the API server gets for each step of a call."""
MAX_ANSWER = 1024 * 1024
_SHOWN = 200


class ApiError(GatewayError):
    """The API server cannot be reached, or refuses; the message is for an admin."""


class KubernetesApi:
    """The API server of this cluster, as a pod finds it."""

    def __init__(self, environment: Mapping[str, str], service_account: Path = SERVICE_ACCOUNT) -> None:
        self._host = environment.get("KUBERNETES_SERVICE_HOST", "")
        self._port = environment.get("KUBERNETES_SERVICE_PORT_HTTPS") or environment.get(
            "KUBERNETES_SERVICE_PORT", "443"
        )
        self._service_account = service_account

    def post(self, path: str, body: Mapping[str, Any]) -> None:
        """Create an object.

        Raises:
            ApiError: it was not created.
        """
        self._call("POST", path, "application/json", body)

    def patch_status(self, path: str, body: Mapping[str, Any]) -> None:
        """Change a part of an object; lists are merged by their keys, as every release from 1.8 on does.

        Raises:
            ApiError: it was not changed.
        """
        self._call("PATCH", path, "application/strategic-merge-patch+json", body)

    def _call(self, method: str, path: str, content_type: str, body: Mapping[str, Any]) -> None:
        if not self._host or not self._port.isdigit():
            raise ApiError("no API server is known: KUBERNETES_SERVICE_HOST is not set, so this is no pod")
        try:
            headers = {"Content-Type": content_type, "Authorization": f"Bearer {self._token()}"}
            context = ssl.create_default_context(cafile=str(self._service_account / "ca.crt"))
            connection = http.client.HTTPSConnection(
                self._host.strip("[]"), int(self._port), timeout=PATIENCE, context=context
            )
        except (OSError, ValueError) as error:
            raise ApiError(f"the service account cannot be used: {error}") from error
        try:
            connection.request(method, path, json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read(MAX_ANSWER)
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise ApiError(f"{method} {path}: {str(error) or type(error).__name__}") from error
        finally:
            connection.close()
        if answer.status >= http.client.BAD_REQUEST:
            raise ApiError(f"{method} {path}: {answer.status} {answer.reason}{_explained(text)}")

    def _token(self) -> str:
        """Read it for every call: the kubelet renews it."""
        return (self._service_account / "token").read_text().strip()


def _explained(text: bytes) -> str:
    """Take the words out of a Status object."""
    try:
        words = json.loads(text)["message"]
    except (ValueError, KeyError, TypeError):
        return ""
    return f": {str(words)[:_SHOWN]}"
