"""The heart of the limiter, over stores in memory."""

from dataclasses import dataclass, field

import pytest
from prometheus_client import CollectorRegistry

from meshkit.errors import Reason, ShoalError
from meshkit.identity import Authentication, Identity
from services.ratelimit import keys
from services.ratelimit.bucket_store import InMemoryBucketStore
from services.ratelimit.key_directory import KeyDirectory
from services.ratelimit.keys import ApiKey, InMemoryKeyStore
from services.ratelimit.limiter import Asker, Limiter
from services.ratelimit.metrics import LimiterMetrics
from services.ratelimit.tiers import parse_tiers

ADDRESS = "203.0.113.7/32"
ELSEWHERE = "2001:db8::/64"
SECRET = keys.new_secret(b"k" * 32)
UNKNOWN = keys.new_secret(b"u" * 32)


class AskedKeyStore(InMemoryKeyStore):
    """Keys in memory that remember how often they were asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    async def find(self, key_hash: str) -> ApiKey | None:
        self.asked += 1
        return await super().find(key_hash)


@dataclass
class World:
    """A limiter with everything around it in memory. Time stands still unless it is moved."""

    require_api_key: bool = False
    micros: int = 0
    key_store: AskedKeyStore = field(default_factory=AskedKeyStore)

    def __post_init__(self) -> None:
        metrics = LimiterMetrics(CollectorRegistry())
        self.limiter = Limiter(
            known_keys=KeyDirectory(self.key_store, count=metrics.count_look_up),
            buckets=InMemoryBucketStore(lambda: self.micros),
            tiers=parse_tiers("anonymous=1/3,free=1/10,basic=10/50"),
            require_api_key=self.require_api_key,
        )

    async def add_key(self, *, tier: str = "free") -> ApiKey:
        key = keys.describe(SECRET, tenant="acme", tier=tier, name="", now=0)
        await self.key_store.add(key)
        return key

    async def outcome(self, asker: Asker) -> tuple[Authentication, bool]:
        verdict = await self.limiter.admit(asker, now=0.0)
        return verdict.caller.authentication, verdict.decision.allowed


def asker(*api_keys: str, address: str = ADDRESS) -> Asker:
    return Asker(address, frozenset(api_keys))


def identity(*, tier: str = "free", key_id: str = "key_1") -> Identity:
    return Identity("acme", tier, key_id, Authentication.API_KEY, expires=0)


async def test_a_known_key_pays_from_its_own_bucket() -> None:
    world = World()
    key = await world.add_key(tier="basic")
    verdict = await world.limiter.admit(asker(SECRET), now=0.0)
    assert verdict.caller.tenant == "acme"
    assert verdict.caller.tier.name == "basic"
    assert verdict.caller.key_id == key.id
    assert verdict.caller.authentication is Authentication.API_KEY
    assert verdict.decision.holdings[0].remaining == 49
    assert (await world.limiter.admit(asker(SECRET, address=ELSEWHERE), now=0.0)).decision.holdings[0].remaining == 48


async def test_a_caller_without_a_key_is_limited_by_its_address() -> None:
    world = World()
    outcomes = [await world.outcome(asker()) for _ in range(4)]
    assert outcomes == [(Authentication.ANONYMOUS, True)] * 3 + [(Authentication.ANONYMOUS, False)]
    assert await world.outcome(asker(address=ELSEWHERE)) == (Authentication.ANONYMOUS, True)


async def test_addresses_share_no_tenant() -> None:
    world = World()
    here = (await world.limiter.admit(asker(), now=0.0)).caller
    there = (await world.limiter.admit(asker(address=ELSEWHERE), now=0.0)).caller
    assert here.tenant != there.tenant
    assert here.tenant.startswith("anonymous-")
    assert ADDRESS not in here.tenant
    assert (here.key_id, there.key_id) == (ADDRESS, ELSEWHERE)


@pytest.mark.parametrize("guess", [UNKNOWN, "sk-shoal-short", ""])
async def test_a_key_that_is_not_known_pays_from_the_failed_look_ups_of_its_address(guess: str) -> None:
    world = World()
    outcomes = [await world.outcome(asker(guess)) for _ in range(4)]
    assert outcomes == [(Authentication.UNKNOWN_KEY, True)] * 3 + [(Authentication.UNKNOWN_KEY, False)]


async def test_spent_failed_look_ups_hinder_neither_known_keys_nor_anonymous_callers() -> None:
    world = World()
    await world.add_key()
    for _ in range(4):
        await world.outcome(asker(UNKNOWN))
    assert await world.outcome(asker(UNKNOWN)) == (Authentication.UNKNOWN_KEY, False)
    assert await world.outcome(asker(SECRET)) == (Authentication.API_KEY, True)
    assert await world.outcome(asker()) == (Authentication.ANONYMOUS, True)


async def test_a_malformed_key_is_never_looked_up() -> None:
    world = World()
    await world.outcome(asker("sk-shoal-' OR 1=1"))
    assert world.key_store.asked == 0
    await world.outcome(asker(UNKNOWN))
    assert world.key_store.asked == 1


async def test_two_different_keys_are_refused_though_one_is_good() -> None:
    world = World()
    await world.add_key()
    assert await world.outcome(asker(SECRET, UNKNOWN)) == (Authentication.SEVERAL_KEYS, True)
    peeked, decision = await world.limiter.peek(identity(key_id=keys.id_of(SECRET)))
    assert decision.holdings[0].remaining == peeked.limit.capacity


async def test_a_revoked_key_is_unknown() -> None:
    world = World()
    key = await world.add_key()
    await world.key_store.revoke(key.id, now=1)
    assert await world.outcome(asker(SECRET)) == (Authentication.UNKNOWN_KEY, True)


async def test_where_a_key_is_required_callers_without_one_are_marked() -> None:
    world = World(require_api_key=True)
    await world.add_key()
    outcomes = [await world.outcome(asker()) for _ in range(4)]
    assert outcomes == [(Authentication.MISSING_KEY, True)] * 3 + [(Authentication.MISSING_KEY, False)]
    assert await world.outcome(asker(SECRET)) == (Authentication.API_KEY, True)


async def test_tokens_come_back_with_time() -> None:
    world = World()
    while (await world.outcome(asker()))[1]:
        pass
    verdict = await world.limiter.admit(asker(), now=0.0)
    world.micros += verdict.decision.retry_after_micros
    assert await world.outcome(asker()) == (Authentication.ANONYMOUS, True)


async def test_take_and_admit_spend_from_the_same_bucket() -> None:
    world = World()
    key = await world.add_key()
    await world.outcome(asker(SECRET))
    tier, decision = await world.limiter.take(identity(key_id=key.id), 4)
    assert tier.name == "free"
    assert decision.allowed
    assert decision.holdings[0].remaining == 5


async def test_peek_spends_nothing() -> None:
    world = World()
    for _ in range(2):
        _, decision = await world.limiter.peek(identity())
        assert decision.holdings[0].remaining == 10


async def test_a_cost_of_nothing_is_refused() -> None:
    with pytest.raises(ShoalError) as refused:
        await World().limiter.take(identity(), 0)
    assert (refused.value.reason, refused.value.field) == (Reason.FIELD_INVALID, "cost")


async def test_a_cost_that_can_never_pass_is_refused() -> None:
    world = World()
    with pytest.raises(ShoalError, match="ask for 10 or fewer") as refused:
        await world.limiter.take(identity(), 11)
    assert (refused.value.reason, refused.value.field) == (Reason.COST_ABOVE_CAPACITY, "cost")
    assert (await world.limiter.take(identity(), 10))[1].allowed
