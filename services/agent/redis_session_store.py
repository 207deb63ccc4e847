"""Sessions in Redis: a list of messages and an epoch, both with the session's time to live."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import msgspec
import redis.asyncio

from meshkit.errors import Reason, ShoalError
from meshkit.redis import FAILURES
from services.agent.conversation import Message
from services.agent.ports import Session
from services.agent.session_store import KEPT_MESSAGES, SESSION_TTL_SECONDS

_TTL_MS = int(SESSION_TTL_SECONDS * 1000)

# A session that was deleted has another epoch than the turn that wants to append to it.
_APPEND = """
if (redis.call('GET', KEYS[1]) or '0') ~= ARGV[1] then return 0 end
redis.call('RPUSH', KEYS[2], unpack(ARGV, 4))
redis.call('LTRIM', KEYS[2], -tonumber(ARGV[3]), -1)
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return 1
"""
# The epoch outlives every turn that may still hold the one before it.
_DELETE = """
redis.call('INCR', KEYS[1])
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return redis.call('DEL', KEYS[2])
"""


class RedisSessionStore:
    """Sessions in the state Redis. The client is closed by whoever opened it."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self._append = client.register_script(_APPEND)
        self._delete = client.register_script(_DELETE)
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(Message)

    async def load(self, tenant: str, session_id: str) -> Session:
        epoch_key, messages_key = _keys(tenant, session_id)
        with _reported_as_unavailable():
            async with self._client.pipeline(transaction=True) as pipeline:
                pipeline.get(epoch_key)
                pipeline.lrange(messages_key, 0, -1)
                pipeline.pexpire(epoch_key, _TTL_MS)
                pipeline.pexpire(messages_key, _TTL_MS)
                epoch, messages, _, renewed = await pipeline.execute()
        return Session(
            epoch=int(epoch or 0),
            messages=tuple(self._decoder.decode(message) for message in messages),
            expires_in_seconds=SESSION_TTL_SECONDS if renewed else 0.0,
        )

    async def append(self, tenant: str, session_id: str, *, epoch: int, messages: Sequence[Message]) -> bool:
        encoded = [self._encoder.encode(message) for message in messages]
        with _reported_as_unavailable():
            kept = await self._append(
                keys=_keys(tenant, session_id), args=[str(epoch), _TTL_MS, KEPT_MESSAGES, *encoded]
            )
        return bool(kept)

    async def delete(self, tenant: str, session_id: str) -> bool:
        with _reported_as_unavailable():
            return bool(await self._delete(keys=_keys(tenant, session_id), args=[_TTL_MS]))


def _keys(tenant: str, session_id: str) -> list[str]:
    # The braces put both on one node of a cluster.
    name = f"session:{{{tenant}/{session_id}}}"
    return [f"{name}:epoch", f"{name}:messages"]


@contextmanager
def _reported_as_unavailable() -> Iterator[None]:
    try:
        yield
    except FAILURES as error:
        raise ShoalError(
            Reason.STATE_UNAVAILABLE, "Sessions cannot be reached now; try again, or send the task without session_id."
        ) from error
