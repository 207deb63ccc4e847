"""Free ports on loopback."""

import socket


def free_port() -> int:
    """A port that was free a moment ago. Nothing reserves it, so a test that loses the race must say so loudly."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
