"""Many HTTP requests from one process: the program that `load.measuring.rest` runs.

Usage: python -m load.measuring.rest_client < PLAN
"""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Iterator

import aiohttp
import msgspec

from load.measuring.report import percentile


class Plan(msgspec.Struct):
    """So many requests by so many workers; each asks again when it has its answer."""

    method: str
    url: str
    headers: dict[str, str]
    body: str
    """In the URL and in the body, `{number}` stands for the number of the request, from 0 on."""
    calls: int
    workers: int


class Report(msgspec.Struct):
    """What they came to. `statuses` counts the answers by their status."""

    statuses: dict[int, int]
    calls_per_second: float
    p50_ms: float
    p99_ms: float


async def carry_out(plan: Plan) -> Report:
    """Raises ClientError if the server does not answer."""
    statuses, seconds = Counter[int](), list[float]()
    numbers = iter(range(plan.calls))
    connections = aiohttp.TCPConnector(limit=plan.workers)
    async with aiohttp.ClientSession(connector=connections, headers=plan.headers) as session:
        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(plan.workers):
                group.create_task(_work(session, plan, numbers, statuses, seconds))
        lasted = time.perf_counter() - began
    p50, p99 = (1000 * percentile(seconds, share) for share in (0.5, 0.99))
    return Report(statuses, plan.calls / lasted, p50, p99)


async def _work(
    session: aiohttp.ClientSession, plan: Plan, numbers: Iterator[int], statuses: Counter[int], seconds: list[float]
) -> None:
    for number in numbers:
        url, body = (text.replace("{number}", str(number)) for text in (plan.url, plan.body))
        began = time.perf_counter()
        async with session.request(plan.method, url, data=body or None) as response:
            await response.read()
        seconds.append(time.perf_counter() - began)
        statuses[response.status] += 1


if __name__ == "__main__":
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)
    sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(carry_out(plan))))
