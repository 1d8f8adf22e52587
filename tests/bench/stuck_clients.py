"""Five hundred clients that connect to a listener, send nothing, and wait. They connect again after a second."""

import socket
import sys
import time

CLIENTS = 500
HOLD = 1.0
"""Seconds for which the connections are kept open."""


def main(port: int) -> None:
    """Connect to this port again and again, until killed."""
    while True:
        clients = []
        for _ in range(CLIENTS):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
            clients.append(client)
        time.sleep(HOLD)
        for client in clients:
            client.close()


if __name__ == "__main__":
    main(int(sys.argv[1]))
