"""A pooled client when Redis has closed its connections."""

import asyncio
from typing import Any

import redis.asyncio

from meshkit.redis import FAILURES, open_redis

CALLS = 20


async def close_all_but(operator: redis.asyncio.Redis) -> None:
    """The server closes the connections of everybody else, as a restart would."""
    await operator.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")  # type: ignore[no-untyped-call]


async def answers_after_a_restart(url: str, *, sends_again: bool) -> list[Any]:
    """What each of many calls at once gets after all connections of the pool were closed by the server."""
    async with (
        open_redis(url, timeout_seconds=5, sends_again=sends_again) as client,
        redis.asyncio.Redis.from_url(url) as operator,
    ):
        await asyncio.gather(*(client.ping() for _ in range(CALLS)))
        await close_all_but(operator)
        return await asyncio.gather(*(client.incr("calls") for _ in range(CALLS)), return_exceptions=True)


async def test_lost_connections_cost_no_call_where_it_may_be_sent_again(valkey_url: str) -> None:
    answers = await answers_after_a_restart(valkey_url, sends_again=True)
    assert not [answer for answer in answers if isinstance(answer, BaseException)]


async def test_nothing_is_sent_twice_where_it_may_not(valkey_url: str) -> None:
    async with redis.asyncio.Redis.from_url(valkey_url) as operator:
        await operator.delete("calls")
    answers = await answers_after_a_restart(valkey_url, sends_again=False)
    failed = [answer for answer in answers if isinstance(answer, FAILURES)]
    async with redis.asyncio.Redis.from_url(valkey_url) as operator:
        assert int(await operator.get("calls") or 0) == CALLS - len(failed)


async def test_connections_known_to_be_closed_cost_no_call(valkey_url: str) -> None:
    async with (
        open_redis(valkey_url, timeout_seconds=5) as client,
        redis.asyncio.Redis.from_url(valkey_url) as operator,
    ):
        await asyncio.gather(*(client.ping() for _ in range(CALLS)))
        await close_all_but(operator)
        while len(await operator.client_list()) > 1:
            pass  # Asked once more, until the server has closed them all.
        await asyncio.gather(*(client.ping() for _ in range(CALLS)))
