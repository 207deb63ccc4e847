"""Free ports on loopback."""

import random
import socket
from contextlib import suppress

BELOW_EPHEMERAL = range(10_000, 32_000)
"""Where Linux takes no port for outgoing connections, as it does from 32,768 on: a port that is chosen here is not lost
to one before its server listens."""


def free_port() -> int:
    """A port that was free a moment ago. Nothing reserves it, so a test that loses the race must say so loudly."""
    while True:
        port = random.choice(BELOW_EPHEMERAL)  # noqa: S311 - no secret
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port
