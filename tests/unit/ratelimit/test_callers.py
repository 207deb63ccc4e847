"""Who is told apart how, and who pays for what is looked up."""

import asyncio
from dataclasses import dataclass, field

import pytest

from meshkit.errors import ShoalError
from meshkit.identity import Authentication
from services.ratelimit import keys
from services.ratelimit.buckets.bucket import MICROS_PER_SECOND, Limit
from services.ratelimit.buckets.bucket_store import InMemoryBucketStore
from services.ratelimit.callers import Asker, Caller, Callers
from services.ratelimit.key_directory import KeyDirectory
from services.ratelimit.keys import ApiKey
from tests.unit.ratelimit.gated_key_store import GatedKeyStore

ADDRESS = "203.0.113.7/32"
ELSEWHERE = "2001:db8::/64"
FAILURES = Limit(10, 100)
SECRET = keys.new_secret(b"k" * 32)
UNKNOWN = keys.new_secret(b"u" * 32)


def guess(number: int) -> str:
    return keys.new_secret(number.to_bytes(32, "big"))


@dataclass
class World:
    """Callers over stores in memory. Time stands still unless it is moved."""

    require_api_key: bool = False
    seconds: float = 0.0
    key_store: GatedKeyStore = field(default_factory=GatedKeyStore)
    look_ups: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.buckets = InMemoryBucketStore(lambda: round(self.seconds * MICROS_PER_SECOND))
        self.directory = KeyDirectory(self.key_store, count=self.look_ups.append, learned=lambda keys: None)
        self.callers = Callers(
            known_keys=self.directory,
            buckets=self.buckets,
            failures=FAILURES,
            require_api_key=self.require_api_key,
        )

    async def add_key(self, secret: str = SECRET) -> ApiKey:
        key = keys.describe(secret, tenant="acme", tier="basic", name="", now=0)
        await self.key_store.add(key)
        return key

    async def identify(self, *api_keys: str, address: str = ADDRESS) -> Caller:
        return await self.callers.identify(Asker(address, frozenset(api_keys)), self.seconds)

    async def left(self, address: str = ADDRESS) -> int:
        """What the address may still get wrong."""
        caller = await self.identify("sk-malformed", address=address)
        assert caller.paid
        return caller.paid.holdings[0].remaining + 1

    async def spend_all(self) -> None:
        while (caller := await self.identify("sk-malformed")).paid and caller.paid.allowed:
            pass


def is_refused(caller: Caller) -> bool:
    return caller.paid is not None and not caller.paid.allowed


async def test_a_good_key_names_its_tenant_and_tier() -> None:
    world = World()
    key = await world.add_key()
    assert await world.identify(SECRET) == Caller("acme", "basic", key.id, Authentication.API_KEY)


async def test_without_a_key_a_caller_is_its_address() -> None:
    world = World()
    here, there = await world.identify(), await world.identify(address=ELSEWHERE)
    assert (here.tier, here.key_id, here.authentication) == ("anonymous", ADDRESS, Authentication.ANONYMOUS)
    assert here.tenant.startswith("anonymous-")
    assert here.tenant != there.tenant
    assert ADDRESS not in here.tenant


@pytest.mark.parametrize(
    ("api_keys", "authentication"),
    [
        ((UNKNOWN,), Authentication.UNKNOWN_KEY),
        (("",), Authentication.UNKNOWN_KEY),
        (("sk-shoal-' OR 1=1",), Authentication.UNKNOWN_KEY),
        ((SECRET + "\n",), Authentication.UNKNOWN_KEY),
        ((SECRET + "\0",), Authentication.UNKNOWN_KEY),
        (("k" * 10_000,), Authentication.UNKNOWN_KEY),
        ((SECRET, UNKNOWN), Authentication.SEVERAL_KEYS),
        ((), Authentication.MISSING_KEY),
    ],
)
async def test_whoever_is_not_served_pays_one_from_its_address(
    api_keys: tuple[str, ...], authentication: Authentication
) -> None:
    world = World(require_api_key=True)
    await world.add_key()
    caller = await world.identify(*api_keys)
    assert caller.authentication is authentication
    assert (caller.tier, caller.key_id) == ("anonymous", ADDRESS)
    assert caller.paid
    assert caller.paid.allowed
    assert await world.left() == FAILURES.capacity - 1


async def test_what_is_no_key_is_never_looked_up() -> None:
    world = World()
    for text in ("", "sk-shoal-short", SECRET + "A", "k" * 10_000):
        await world.identify(text)
    assert world.key_store.asked.total() == 0


async def test_a_thousand_guesses_ask_the_database_no_more_often_than_the_budget_allows() -> None:
    world = World()
    for number in range(1000):
        world.seconds = number / 100
        await world.identify(guess(number))
    budget = FAILURES.capacity + FAILURES.rate_per_second * world.seconds
    assert FAILURES.capacity < world.key_store.asked.total() <= budget


async def test_a_thousand_guesses_at_once_ask_no_more_often() -> None:
    world = World()
    callers = await asyncio.gather(*(world.identify(guess(number)) for number in range(1000)))
    assert world.key_store.asked.total() == FAILURES.capacity
    assert sum(is_refused(caller) for caller in callers) == 1000 - FAILURES.capacity


async def test_a_refused_look_up_is_told_when_it_would_be_made() -> None:
    world = World()
    await world.spend_all()
    refused = await world.identify(UNKNOWN)
    assert is_refused(refused)
    assert refused.authentication is Authentication.UNKNOWN_KEY
    assert refused.paid
    assert refused.paid.retry_after_micros == 100_000
    world.seconds += 0.1
    assert not is_refused(await world.identify(UNKNOWN))
    assert world.key_store.asked.total() == 1


async def test_one_guess_again_and_again_is_asked_once_and_paid_each_time() -> None:
    world = World()
    for _ in range(5):
        assert (await world.identify(UNKNOWN)).authentication is Authentication.UNKNOWN_KEY
    assert world.key_store.asked.total() == 1
    assert world.look_ups == ["unknown"] + ["remembered"] * 4
    assert await world.left() == FAILURES.capacity - 5


async def test_one_guess_many_times_at_once_is_paid_each_time() -> None:
    world = World()
    await asyncio.gather(*(world.identify(UNKNOWN) for _ in range(20)))
    assert world.key_store.asked.total() == 1
    assert await world.left() == FAILURES.capacity - 20


async def test_a_guesser_costs_neither_other_addresses_nor_known_keys() -> None:
    world = World()
    await world.add_key()
    await world.identify(SECRET)
    await world.add_key(guess(1))
    await world.spend_all()
    assert (await world.identify(SECRET)).authentication is Authentication.API_KEY
    assert (await world.identify()).authentication is Authentication.ANONYMOUS
    assert (await world.identify(guess(1), address=ELSEWHERE)).authentication is Authentication.API_KEY
    assert await world.left(ELSEWHERE) == FAILURES.capacity


async def test_a_known_key_whose_answer_is_old_is_asked_about_for_nothing() -> None:
    world = World()
    await world.add_key()
    await world.identify(SECRET)
    world.seconds = 1000.0
    await world.spend_all()
    assert (await world.identify(SECRET)).authentication is Authentication.API_KEY
    assert world.key_store.asked.total() == 2


async def test_a_key_that_was_revoked_pays_like_a_guess() -> None:
    world = World()
    key = await world.add_key()
    await world.identify(SECRET)
    await world.key_store.revoke(key.id, now=1)
    world.directory.forget(key.hash)
    assert (await world.identify(SECRET)).authentication is Authentication.UNKNOWN_KEY
    assert await world.left() == FAILURES.capacity - 1


async def test_good_keys_cost_nothing_in_the_end() -> None:
    world = World()
    for number in range(300):
        await world.add_key(guess(number))
        caller = await world.identify(guess(number))
        assert caller.authentication is Authentication.API_KEY
        assert caller.paid is None
    assert world.key_store.asked.total() == 300
    assert await world.left() == FAILURES.capacity


async def test_a_look_up_that_fails_stays_paid() -> None:
    world = World()
    world.key_store.broken = True
    with pytest.raises(ShoalError, match="gone"):
        await world.identify(SECRET)
    assert await world.left() == FAILURES.capacity - 1


class WrongKeys:
    """Answers every look-up with the same key."""

    def __init__(self, key: ApiKey) -> None:
        self._key = key

    def is_new(self, key_hash: str, now: float) -> bool:
        return False

    async def find(self, key_hash: str, now: float) -> ApiKey | None:
        return self._key


async def test_a_key_counts_only_for_its_own_hash() -> None:
    buckets = InMemoryBucketStore(lambda: 0)
    key = keys.describe(SECRET, tenant="acme", tier="basic", name="", now=0)
    callers = Callers(known_keys=WrongKeys(key), buckets=buckets, failures=FAILURES, require_api_key=False)
    good, other = [await callers.identify(Asker(ADDRESS, frozenset({secret})), 0.0) for secret in (SECRET, UNKNOWN)]
    assert good.authentication is Authentication.API_KEY
    assert other.authentication is Authentication.UNKNOWN_KEY
