"""A connection to Envoy on which a test makes calls and says what comes back, without a socket."""

from dataclasses import dataclass, field

from meshkit.http1.client_connection import ClientConnection
from meshkit.http1.exchange import Exchange
from tests.unit.meshkit.http1.wire import FakeTransport, settled

MOST = 1 << 20


@dataclass
class Called:
    """The connection, its wire, and what its owner was told."""

    transport: FakeTransport = field(default_factory=FakeTransport)
    told: list[str] = field(default_factory=list)
    connection: ClientConnection = field(init=False)

    def __post_init__(self) -> None:
        self.connection = ClientConnection(self)
        self.connection.connection_made(self.transport)

    def freed(self, connection: ClientConnection) -> None:
        self.told.append("freed")

    def lost(self, connection: ClientConnection) -> None:
        self.told.append("lost")

    def begin(self, *, is_whole: bool = True) -> Exchange:
        """A call whose request is of no interest."""
        exchange = Exchange(MOST)
        self.connection.begin(exchange, b"request", is_whole=is_whole)
        return exchange

    async def receive(self, *packets: bytes) -> None:
        """What Envoy sends, and whatever can be done about it."""
        for packet in packets:
            self.connection.data_received(packet)
        await settled()

    async def lose(self) -> None:
        self.transport.closed = True
        self.connection.connection_lost(ConnectionResetError())
        await settled()
