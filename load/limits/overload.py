"""Many clients that ask too much of several limiters, at a pace that answers do not slow down."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import grpc

from load.limits import questions
from load.limits.admitted import Tier
from load.limits.questions import Ask
from meshkit.channel import open_channel

PATIENCE_SECONDS = 2.0
"""Far longer than Envoy waits, so that a late decision is seen as what it is."""


@dataclass(slots=True)
class Client:
    """A client and what it met. Times are of this process's clock, in seconds."""

    tier: Tier
    question: bytes
    asked: int = 0
    admitted: int = 0
    first_sent: float = 0.0
    last_sent: float = 0.0

    @property
    def seconds(self) -> float:
        """From its first question to its last."""
        return self.last_sent - self.first_sent


@dataclass(frozen=True, slots=True)
class Call:
    """One question that was answered, or failed."""

    sent: float
    seconds: float
    failed: bool


@dataclass(slots=True)
class Overload:
    """The clients ask the limiters at these addresses in turn."""

    clients: Sequence[Client]
    addresses: Sequence[str]
    calls: list[Call] = field(default_factory=list)
    lateness: list[float] = field(default_factory=list)
    """How much later than planned each question was sent, in seconds: whether we kept up."""

    async def run(self, seconds: float) -> None:
        """Ends when every question is answered."""
        channels = [open_channel(address) for address in self.addresses]
        try:
            await asyncio.gather(*(channel.channel_ready() for channel in channels))
            await self._ask_all([channel.unary_unary(questions.RPC.path) for channel in channels], seconds)
        finally:
            await asyncio.gather(*(channel.close() for channel in channels))

    async def _ask_all(self, limiters: Sequence[Ask], seconds: float) -> None:
        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for at, index in schedule([client.tier for client in self.clients], seconds=seconds):
                early = began + at - time.perf_counter()
                if early > 0:
                    await asyncio.sleep(early)
                client = self.clients[index]
                group.create_task(self._ask(limiters[(index + client.asked) % len(limiters)], client, began + at))
                client.asked += 1

    async def _ask(self, limiter: Ask, client: Client, due: float) -> None:
        sent = time.perf_counter()
        self.lateness.append(sent - due)
        client.first_sent = client.first_sent or sent
        client.last_sent = sent
        try:
            answer = await limiter(client.question, timeout=PATIENCE_SECONDS)
        except grpc.aio.AioRpcError:
            self.calls.append(Call(sent, time.perf_counter() - sent, failed=True))
        else:
            self.calls.append(Call(sent, time.perf_counter() - sent, failed=False))
            client.admitted += questions.is_admitted(answer)


def schedule(tiers: Sequence[Tier], *, seconds: float) -> Iterator[tuple[float, int]]:
    """When which client asks, in order. Each asks at even intervals; their beginnings are spread over an interval."""
    times = [
        (position / len(tiers) + number) / (tier.rate * tier.overload)
        for position, tier in enumerate(tiers)
        for number in range(_asks(tier, seconds))
    ]
    indices = [position for position, tier in enumerate(tiers) for _ in range(_asks(tier, seconds))]
    return iter(sorted(zip(times, indices, strict=True)))


def _asks(tier: Tier, seconds: float) -> int:
    return int(seconds * tier.rate * tier.overload)
