"""A key store whose answers a test holds back, and a directory over it."""

import asyncio
from collections import Counter
from collections.abc import Collection
from typing import TypeVar

from meshkit.errors import Reason, ShoalError
from services.ratelimit import keys
from services.ratelimit.key_directory import KeyDirectory
from services.ratelimit.keys import ApiKey, InMemoryKeyStore

Answer = TypeVar("Answer")


def key(number: int) -> ApiKey:
    secret = keys.new_secret(number.to_bytes(32, "big"))
    return keys.describe(secret, tenant="acme", tier="free", name="", now=number)


KEY = key(1)


class GatedKeyStore(InMemoryKeyStore):
    """Keys in memory that count questions, answer only while the gate is open, and can be out of order."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: Counter[str] = Counter()
        self.questions: list[frozenset[str]] = []
        self.was_asked = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()
        self.broken = False

    async def find(self, key_hash: str) -> ApiKey | None:
        self.asked[key_hash] += 1
        self.was_asked.set()
        return await self._let_out(await super().find(key_hash))

    async def find_many(self, hashes: Collection[str]) -> dict[str, ApiKey]:
        self.questions.append(frozenset(hashes))
        self.was_asked.set()
        return await self._let_out(await super().find_many(hashes))

    async def recent(self, count: int) -> list[ApiKey]:
        return await self._let_out(await super().recent(count))

    async def _let_out(self, answer: Answer) -> Answer:
        # As with a real database, others run meanwhile.
        await asyncio.sleep(0)
        await self.gate.wait()
        if self.broken:
            raise ShoalError(Reason.DATABASE_UNAVAILABLE, "gone")
        return answer


def directory_over(
    store: GatedKeyStore,
    *,
    remembered: int = 100,
    look_ups: list[str] | None = None,
    learned: list[ApiKey] | None = None,
) -> KeyDirectory:
    """`look_ups` gathers how each of them came out, `learned` the keys that the store told."""
    return KeyDirectory(
        store,
        count=([] if look_ups is None else look_ups).append,
        learned=([] if learned is None else learned).extend,
        remembered=remembered,
    )
