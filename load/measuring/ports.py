"""Free ports on loopback."""

import random
import socket
from contextlib import suppress

from envoyconf.topology import Topology
from launcher.check import is_busy

BELOW_EPHEMERAL = range(10_000, 32_000)
"""Where Linux takes no port for outgoing connections, as it does from 32,768 on: a port that is chosen here is not lost
to one of them before its server listens."""
_SHIFTS = range(1_000, 20_000)


def free_port() -> int:
    """A port that was free a moment ago. Nothing reserves it: whoever loses the race must say so loudly."""
    while True:
        port = random.choice(BELOW_EPHEMERAL)
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port


def free_shift() -> int:
    """A SHOAL_PORT_SHIFT for the default mesh whose ports were all free a moment ago."""
    while True:
        shift = random.choice(_SHIFTS)
        if not any(is_busy(port) for _, port in Topology.default(shift=shift).named_ports()):
            return shift
