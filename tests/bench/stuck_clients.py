"""Five hundred clients of a listener that connect, say half a word, and wait: again whenever they are turned away."""

import socket
import sys
import time

CLIENTS = 500
HOLD = 1.0
"""Seconds for which a round of them is held."""


def main(port: int) -> None:
    """Do it until killed."""
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
