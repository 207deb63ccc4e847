"""The socket that the gateway listens on."""

import socket

import pytest

from load.measuring.ports import free_port
from services.gateway.main import listen


def test_no_answer_waits_for_the_acknowledgement_of_its_beginning() -> None:
    port = free_port()
    with listen(port) as listener, socket.create_connection(("127.0.0.1", port)), listener.accept()[0] as connection:
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


def test_a_busy_port_is_named() -> None:
    port = free_port()
    with listen(port), pytest.raises(OSError, match=f"port {port} on 127.0.0.1 is busy"):
        listen(port)
