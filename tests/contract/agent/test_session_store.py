"""What every session store does, in memory and in Valkey."""

import asyncio
from typing import Protocol

import pytest
from redis.asyncio import Redis

from services.agent.conversation import Message, Role, ToolCall
from services.agent.ports import SessionStore
from services.agent.redis_session_store import RedisSessionStore
from services.agent.session_store import KEPT_MESSAGES, SESSION_TTL_SECONDS, MemorySessionStore

ALMOST = SESSION_TTL_SECONDS - 60
CALL = ToolCall("call_1", "add", '{"a": 1}')
EXCHANGE = (
    Message(Role.USER, "Add \u00e4\0\U0001f41f."),
    Message(Role.ASSISTANT, "", tool_calls=(CALL,)),
    Message(Role.TOOL, "3", tool_call_id="call_1"),
    Message(Role.ASSISTANT, "x" * 300_000),
)
HI, HELLO = Message(Role.USER, "Hi."), Message(Role.ASSISTANT, "Hello.")


class Era(Protocol):
    """A session store in whose world time passes when it is told to."""

    store: SessionStore

    async def pass_seconds(self, seconds: float) -> None: ...


class MemoryEra:
    def __init__(self) -> None:
        self._now = 0.0
        self.store: SessionStore = MemorySessionStore(lambda: self._now)

    async def pass_seconds(self, seconds: float) -> None:
        self._now += seconds


class RedisEra:
    """Time passes by taking it off the lives of the tenant's keys."""

    def __init__(self, redis: Redis, tenant: str) -> None:
        self._redis = redis
        self._pattern = f"*{tenant}*"
        self.store: SessionStore = RedisSessionStore(redis)

    async def pass_seconds(self, seconds: float) -> None:
        async for key in self._redis.scan_iter(self._pattern):
            left = await self._redis.pttl(key) - int(seconds * 1000)
            assert left > -SESSION_TTL_SECONDS * 1000, "a key that would live for ever"
            await self._redis.pexpire(key, left)


@pytest.fixture(params=["memory", "redis"])
def era(request: pytest.FixtureRequest, tenant: str) -> Era:
    if request.param == "memory":
        return MemoryEra()
    return RedisEra(request.getfixturevalue("redis"), tenant)


@pytest.fixture
def store(era: Era) -> SessionStore:
    return era.store


async def messages_of(store: SessionStore, tenant: str, session_id: str = "s") -> tuple[Message, ...]:
    return (await store.load(tenant, session_id)).messages


async def test_a_session_that_is_not_there_is_empty(store: SessionStore, tenant: str) -> None:
    session = await store.load(tenant, "s")
    assert (session.messages, session.expires_in_seconds) == ((), 0.0)


async def test_messages_come_back_as_they_were_in_the_order_in_which_they_came(
    store: SessionStore, tenant: str
) -> None:
    epoch = (await store.load(tenant, "s")).epoch
    assert await store.append(tenant, "s", epoch=epoch, messages=EXCHANGE)
    assert await store.append(tenant, "s", epoch=epoch, messages=[HI, HELLO])
    session = await store.load(tenant, "s")
    assert session.messages == (*EXCHANGE, HI, HELLO)
    assert session.expires_in_seconds == SESSION_TTL_SECONDS


async def test_sessions_and_tenants_are_apart(store: SessionStore, tenant: str) -> None:
    await store.append(tenant, "s", epoch=0, messages=[HI])
    await store.append(tenant, "t", epoch=0, messages=[HELLO])
    assert await messages_of(store, tenant, "s") == (HI,)
    assert await messages_of(store, f"{tenant}-other") == ()
    assert not await store.delete(f"{tenant}-other", "s")
    assert await messages_of(store, tenant, "s") == (HI,)


async def test_loading_renews_the_life_of_a_session(era: Era, tenant: str) -> None:
    await era.store.append(tenant, "s", epoch=0, messages=[HI])
    for _ in range(3):
        await era.pass_seconds(ALMOST)
        session = await era.store.load(tenant, "s")
        assert (session.messages, session.expires_in_seconds) == ((HI,), SESSION_TTL_SECONDS)


async def test_appending_renews_the_life_of_a_session(era: Era, tenant: str) -> None:
    for _ in range(3):
        await era.store.append(tenant, "s", epoch=0, messages=[HI])
        await era.pass_seconds(ALMOST)
    assert await messages_of(era.store, tenant) == (HI,) * 3


async def test_a_session_that_nobody_uses_is_forgotten(era: Era, tenant: str) -> None:
    await era.store.append(tenant, "s", epoch=0, messages=[HI])
    await era.pass_seconds(SESSION_TTL_SECONDS)
    assert not await era.store.delete(tenant, "s")
    assert await messages_of(era.store, tenant) == ()


async def test_a_turn_that_outlives_its_session_begins_it_anew(era: Era, tenant: str) -> None:
    await era.store.append(tenant, "s", epoch=0, messages=[HI])
    await era.pass_seconds(SESSION_TTL_SECONDS)
    assert await era.store.append(tenant, "s", epoch=0, messages=[HELLO])
    assert await messages_of(era.store, tenant) == (HELLO,)


async def test_deleting_tells_whether_there_was_a_session(store: SessionStore, tenant: str) -> None:
    assert not await store.delete(tenant, "s")
    epoch = (await store.load(tenant, "s")).epoch
    await store.append(tenant, "s", epoch=epoch, messages=[HI])
    assert await store.delete(tenant, "s")
    assert not await store.delete(tenant, "s")
    assert await messages_of(store, tenant) == ()


@pytest.mark.parametrize("existed", [True, False])
async def test_a_turn_that_began_before_a_deletion_is_not_kept(store: SessionStore, tenant: str, existed: bool) -> None:
    if existed:
        await store.append(tenant, "s", epoch=0, messages=[HI])
    before = (await store.load(tenant, "s")).epoch
    await store.delete(tenant, "s")
    assert not await store.append(tenant, "s", epoch=before, messages=[HELLO])
    after = (await store.load(tenant, "s")).epoch
    assert await store.append(tenant, "s", epoch=after, messages=[HI])
    assert not await store.append(tenant, "s", epoch=before, messages=[HELLO])
    assert await messages_of(store, tenant) == (HI,)


async def test_a_deletion_is_remembered_while_the_session_is_used(era: Era, tenant: str) -> None:
    await era.store.delete(tenant, "s")
    for _ in range(3):
        await era.pass_seconds(ALMOST)
        await era.store.load(tenant, "s")
    assert not await era.store.append(tenant, "s", epoch=0, messages=[HI])


async def test_only_the_newest_messages_are_kept(store: SessionStore, tenant: str) -> None:
    messages = [Message(Role.USER, str(number)) for number in range(KEPT_MESSAGES + 2)]
    await store.append(tenant, "s", epoch=0, messages=messages[:-3])
    await store.append(tenant, "s", epoch=0, messages=messages[-3:])
    assert await messages_of(store, tenant) == tuple(messages[2:])


async def test_turns_at_the_same_time_are_all_kept_each_in_one_piece(store: SessionStore, tenant: str) -> None:
    turns = [(Message(Role.USER, str(number)), Message(Role.ASSISTANT, str(number))) for number in range(50)]
    kept = await asyncio.gather(*(store.append(tenant, "s", epoch=0, messages=turn) for turn in turns))
    assert all(kept)
    messages = await messages_of(store, tenant)
    assert set(zip(messages[::2], messages[1::2], strict=True)) == set(turns)
