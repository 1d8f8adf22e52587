"""How a kubelet is reached: the dialects that may be tried, and a connection that is prepared."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from plugin_gateway.adapters.dialects.dialect import Dialect
from plugin_gateway.adapters.registration.client import RegistrationClient
from plugin_gateway.adapters.serving.endpoint import Endpoint
from plugin_gateway.adapters.serving.resource import Pacing
from plugin_gateway.core.registration.failures import Refusal
from plugin_gateway.core.registration.order import ladder
from plugin_gateway.core.registration.values import Manners
from plugin_gateway.core.resources.names import ResourceName

PREPARATION_DELAY = 0.2
"""Seconds from a registration until the next one is prepared. The kubelet has its list by then."""


class KubeletLink:
    """The way to the kubelet of the node, for all resources."""

    def __init__(
        self,
        *,
        socket: Path,
        dialects: Sequence[Dialect],
        allowed: Sequence[Dialect],
        prepare_endpoints: Callable[[], None],
    ) -> None:
        self.dialects = tuple(dialects)
        self.allowed = tuple(allowed)
        """The dialects that may be tried, the newest first."""
        self.last: str | None = None
        """The version of the dialect that a kubelet accepted last."""
        self.pacing = Pacing()
        self.has_sent = asyncio.Event()
        """Whether a Register was sent."""
        self._socket = socket
        self._prepare_endpoints = prepare_endpoints
        self._client: RegistrationClient | None = None
        """Prepared for the next registration."""
        self._next_preparation: asyncio.TimerHandle | None = None

    @property
    def ladder(self) -> Sequence[Manners]:
        """The dialects in the order in which the next registration tries them."""
        return ladder([dialect.manners for dialect in self.allowed], self.last)

    def dialect(self, version: str) -> Dialect:
        """Return the dialect with this version, that may be tried or could be tried before."""
        return next(each for each in (*self.allowed, *self.dialects) if each.version == version)

    def next_dialect(self) -> Dialect:
        """Return the dialect that the next registration tries first."""
        return self.dialect(self.ladder[0].version)

    def hint(self) -> str | None:
        """Return what an administrator can do if no dialect is accepted. None if nothing is known."""
        if len(self.allowed) == len(self.dialects):
            return None
        return f"--api-version allows only {', '.join(dialect.version for dialect in self.allowed)}"

    def take_client(self) -> RegistrationClient:
        """Return a connection for one registration. Who takes it has to release it."""
        client, self._client = self._client or RegistrationClient(self._socket), None
        return client

    async def release(self, client: RegistrationClient) -> None:
        """Close the connection of a registration, and prepare the next registration in a while."""
        await client.close()
        if self._next_preparation is not None:
            self._next_preparation.cancel()
        self._next_preparation = asyncio.get_running_loop().call_later(PREPARATION_DELAY, self._prepare)

    def _prepare(self) -> None:
        """Prepare what the next registration needs. This saves a third of its time."""
        self._client = self._client or RegistrationClient(self._socket)
        self._prepare_endpoints()

    async def register(self, client: RegistrationClient, endpoint: Endpoint, resource: ResourceName) -> Refusal | None:
        """Send one Register. Return None if the kubelet accepted it."""
        dialect = endpoint.dialect
        if dialect.one_resource_at_a_time:
            await self.pacing.take(resource)
        request = dialect.registration(endpoint.path.name, resource)
        return await client.register(dialect, request, sent=self.has_sent.set)

    async def close(self) -> None:
        """Close the prepared connection, and prepare none."""
        if self._next_preparation is not None:
            self._next_preparation.cancel()
        if self._client is not None:
            await self._client.close()
