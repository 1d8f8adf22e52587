"""Opens the address of `--listen`."""

import socket

from plugin_gateway.adapters.configuration.kinds import ListenAddress
from plugin_gateway.adapters.support.connections import listen
from plugin_gateway.core.errors import GatewayError


class ListenError(GatewayError):
    """The address of the HTTP listener cannot be used."""


def open_address(address: ListenAddress) -> socket.socket:
    """Return a listening socket. Its clients are served a moment later.

    It is opened now, so that an address in use is an error at the start.

    Raises:
        ListenError: the address cannot be used.
    """
    try:
        return listen(address.host, address.port)
    except OSError as error:
        raise ListenError(f"--listen: cannot listen on {address}: {error.strerror}") from error
