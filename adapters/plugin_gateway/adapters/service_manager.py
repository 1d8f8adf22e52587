"""The service manager that started this process, such as systemd: what comes after it is started once it is told."""

import socket

from plugin_gateway.adapters.logs import log


class ServiceManager:
    """Listens on the socket that it names in ``NOTIFY_SOCKET``; ``None`` where nobody wants to be told."""

    def __init__(self, address: str | None) -> None:
        self._address = address or None

    def say_ready(self) -> None:
        """Say that what comes after this service may be started; a second time does nothing."""
        address, self._address = self._address, None
        if address is None:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
                # An address without a file is written with @ in the place of its first byte (sd_notify(3)).
                sender.sendto(b"READY=1", f"\0{address[1:]}" if address.startswith("@") else address)
        except OSError as error:
            log.warning(
                "cannot tell the service manager that it may go on",
                socket=address,
                problem=error.strerror or str(error),
            )
