"""What is particular to sessions in Redis: outages."""

import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from meshkit.errors import Reason, ShoalError
from meshkit.redis import open_redis
from services.agent.conversation import Message, Role
from services.agent.ports import Session
from services.agent.redis_session_store import RedisSessionStore
from tests import backends
from tests.contract.agent.conftest import PATIENCE_SECONDS

HI = Message(Role.USER, "Hi.")
CALLS: dict[str, Callable[[RedisSessionStore], Awaitable[object]]] = {
    "load": lambda store: store.load("acme", "s"),
    "append": lambda store: store.append("acme", "s", epoch=0, messages=[HI]),
    "delete": lambda store: store.delete("acme", "s"),
}


async def assert_unavailable(call: Awaitable[object]) -> None:
    with pytest.raises(ShoalError) as refused:
        await call
    assert refused.value.reason is Reason.STATE_UNAVAILABLE


@pytest.mark.parametrize("name", CALLS)
async def test_a_redis_that_is_not_there_is_unavailable(tmp_path: Path, name: str) -> None:
    with backends.valkey(tmp_path) as url:
        pass
    async with open_redis(url, timeout_seconds=PATIENCE_SECONDS) as client:
        await assert_unavailable(CALLS[name](RedisSessionStore(client)))


async def test_a_redis_that_hangs_is_unavailable_after_the_timeout_and_used_again_when_it_answers(
    tmp_path: Path,
) -> None:
    with backends.valkey(tmp_path) as url:
        async with open_redis(url, timeout_seconds=0.2) as client:
            store = RedisSessionStore(client)
            process_id: int = (await client.info("server"))["process_id"]
            os.kill(process_id, signal.SIGSTOP)
            try:
                for call in CALLS.values():
                    await assert_unavailable(call(store))
            finally:
                os.kill(process_id, signal.SIGCONT)
            assert (await load_when_it_answers(store, "another session")).messages == ()


async def load_when_it_answers(store: RedisSessionStore, session_id: str) -> Session:
    """The process needs a moment after SIGCONT; each attempt is bounded by the client's own timeout."""
    for _ in range(50):
        with suppress(ShoalError):
            return await store.load("acme", session_id)
    raise AssertionError("Valkey did not answer again")


async def test_a_redis_that_is_full_is_unavailable_for_new_messages(tmp_path: Path) -> None:
    with backends.valkey(tmp_path, "--maxmemory", "1", "--maxmemory-policy", "noeviction") as url:
        async with open_redis(url, timeout_seconds=PATIENCE_SECONDS) as client:
            store = RedisSessionStore(client)
            await assert_unavailable(CALLS["append"](store))
            assert (await store.load("acme", "s")).messages == ()
