"""The heart of the limiter, over stores in memory."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from msgspec.structs import replace

from meshkit.errors import Reason, ShoalError
from meshkit.identity import Authentication, Identity
from services.ratelimit import keys
from services.ratelimit.buckets.bucket import Decision, Limit, Spend
from services.ratelimit.buckets.bucket_store import InMemoryBucketStore
from services.ratelimit.callers import Asker, Callers
from services.ratelimit.key_directory import KeyDirectory
from services.ratelimit.keys import ApiKey, InMemoryKeyStore
from services.ratelimit.limiter import Limiter, Verdict
from services.ratelimit.limits import Kind, Limits, Overrides, RateLimit, RouteLimits, tier_limits
from services.ratelimit.tiers import parse_tiers

ADDRESS = "203.0.113.7/32"
SECRET = keys.new_secret(b"k" * 32)
UNKNOWN = keys.new_secret(b"u" * 32)
TIERS = tier_limits(parse_tiers("anonymous=1/3,free=1/10,basic=10/50"))
SMALL = RateLimit("small", Limit(1, 2))
TRIED = RateLimit("tried", Limit(1, 2), shadow=True)


class SeenBuckets(InMemoryBucketStore):
    """Buckets in memory that remember what was asked of them, and may say that they are a limiter's own share."""

    def __init__(self, world: "World") -> None:
        super().__init__(lambda: world.micros)
        self.spends: list[Spend] = []
        self.degraded = False

    async def take(self, spends: Sequence[Spend]) -> Decision:
        self.spends += spends
        return replace(await super().take(spends), degraded=self.degraded)


@dataclass
class World:
    """A limiter with everything around it in memory. Time stands still unless it is moved."""

    limits: Limits = field(default_factory=lambda: Limits(TIERS))
    require_api_key: bool = False
    micros: int = 0
    shadows: list[tuple[Kind, str]] = field(default_factory=list)
    look_ups: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.key_store = InMemoryKeyStore()
        self.buckets = SeenBuckets(self)
        callers = Callers(
            known_keys=KeyDirectory(self.key_store, count=self.look_ups.append, learned=lambda keys: None),
            buckets=self.buckets,
            failures=Limit(1, 4),
            require_api_key=self.require_api_key,
        )
        self.limiter = Limiter(
            callers=callers,
            buckets=self.buckets,
            limits=lambda: self.limits,
            count_shadow=lambda kind, name: self.shadows.append((kind, name)),
        )

    async def add_key(self, *, tier: str = "free") -> ApiKey:
        key = keys.describe(SECRET, tenant="acme", tier=tier, name="", now=0)
        await self.key_store.add(key)
        return key

    async def admit(self, *api_keys: str, route: str = "other") -> Verdict:
        return await self.limiter.admit(Asker(ADDRESS, frozenset(api_keys)), route, now=0.0)


def identity(*, tier: str = "free", key_id: str = "key_1") -> Identity:
    return Identity("acme", tier, key_id, Authentication.API_KEY, expires=0)


async def test_a_request_pays_from_the_bucket_of_its_key() -> None:
    world = World()
    key = await world.add_key(tier="basic")
    verdict = await world.admit(SECRET)
    assert verdict.caller.key_id == key.id
    assert verdict.policy == "basic"
    assert verdict.holding.limit == Limit(10, 50)
    assert verdict.holding.remaining == 49
    assert world.look_ups == ["known"]


async def test_without_a_key_it_pays_from_the_bucket_of_its_address() -> None:
    world = World()
    verdicts = [await world.admit() for _ in range(4)]
    assert [verdict.decision.allowed for verdict in verdicts] == [True] * 3 + [False]
    assert {verdict.policy for verdict in verdicts} == {"anonymous"}


async def test_tokens_come_back_with_time() -> None:
    world = World()
    while (verdict := await world.admit()).decision.allowed:
        pass
    world.micros += verdict.decision.retry_after_micros - 1
    assert not (await world.admit()).decision.allowed
    world.micros += 1
    assert (await world.admit()).decision.allowed


@pytest.mark.parametrize(
    "sent",
    [[UNKNOWN], ["sk-shoal-\n\0"], ["k" * 10_000], [SECRET + "\ufffd"], [SECRET, UNKNOWN], ["", "a"]],
)
async def test_who_is_not_served_pays_once_and_leaves_no_trace_of_what_it_sent(sent: list[str]) -> None:
    world = World()
    await world.add_key()
    verdicts = [await world.admit(*sent) for _ in range(5)]
    assert [verdict.decision.allowed for verdict in verdicts] == [True] * 4 + [False]
    assert {verdict.policy for verdict in verdicts} == {"address"}
    assert {verdict.holding.limit for verdict in verdicts} == {Limit(1, 4)}
    assert {spend.bucket for spend in world.buckets.spends} == {f"failed:{ADDRESS}"}
    assert len(world.buckets.spends) == 5


async def test_a_route_of_its_own_does_not_draw_on_the_general_bucket() -> None:
    world = World(Limits(TIERS, routes={"chat": RouteLimits(SMALL)}))
    chats = [await world.admit(route="chat") for _ in range(3)]
    assert [verdict.decision.allowed for verdict in chats] == [True, True, False]
    assert [(verdict.policy, verdict.holding.limit) for verdict in chats] == [("small", SMALL.limit)] * 3
    assert (await world.admit(route="task")).holding.remaining == 2


async def test_a_shadow_refuses_nothing_and_what_it_would_have_refused_is_counted() -> None:
    world = World(Limits(TIERS, tenants={"acme": Overrides(requests=TRIED)}))
    await world.add_key()
    verdicts = [await world.admit(SECRET) for _ in range(11)]
    assert [verdict.decision.allowed for verdict in verdicts] == [True] * 10 + [False]
    assert [(verdict.policy, verdict.holding.remaining) for verdict in verdicts[:2]] == [("free", 9), ("free", 8)]
    assert world.shadows == [(Kind.REQUESTS, "tried")] * 8


async def test_what_is_taken_inside_the_mesh_is_tried_on_the_shadow_too() -> None:
    world = World(Limits(TIERS, tenants={"acme": Overrides(requests=TRIED)}))
    for cost, refusals in [(1, 0), (1, 0), (5, 1)]:
        limits, decision = await world.limiter.take(identity(), cost)
        assert decision.allowed
        assert limits.requests.name == "free"
        assert world.shadows == [(Kind.REQUESTS, "tried")] * refusals


async def test_the_shadow_of_a_route_opens_no_door() -> None:
    world = World(Limits(TIERS, routes={"chat": RouteLimits(TRIED)}))
    verdicts = [await world.admit(route="chat") for _ in range(5)]
    assert [verdict.decision.allowed for verdict in verdicts] == [True] * 3 + [False] * 2
    assert [verdict.policy for verdict in verdicts] == ["anonymous"] * 5
    assert [verdict.holding.remaining for verdict in verdicts] == [2, 1, 0, 0, 0]
    assert world.shadows == [(Kind.REQUESTS, "tried")]


async def test_a_route_that_fails_closed_is_refused_while_decisions_are_degraded() -> None:
    world = World(Limits(TIERS, routes={"chat": RouteLimits(fail_closed=True)}))
    assert (await world.admit(route="chat")).decision.allowed
    world.buckets.degraded = True
    for sent in [(), (UNKNOWN,)]:
        with pytest.raises(ShoalError) as refused:
            await world.admit(*sent, route="chat")
        assert refused.value.reason is Reason.LIMITER_UNAVAILABLE
    assert (await world.admit(route="task")).decision.degraded


async def test_limits_that_change_hold_from_the_next_request_on() -> None:
    world = World()
    await world.add_key()
    assert (await world.admit(SECRET)).holding.remaining == 9
    world.limits = Limits(TIERS, tenants={"acme": Overrides(requests=SMALL, model_tokens=SMALL)})
    verdict = await world.admit(SECRET)
    assert (verdict.policy, verdict.holding.remaining) == ("small", 1)
    assert verdict.metered


async def test_take_and_admit_spend_from_the_same_bucket() -> None:
    world = World()
    key = await world.add_key()
    await world.admit(SECRET)
    limits, decision = await world.limiter.take(identity(key_id=key.id), 4)
    assert limits.requests.name == "free"
    assert decision.allowed
    assert decision.holdings[0].remaining == 5


async def test_peek_spends_nothing_and_counts_nothing() -> None:
    world = World(Limits(TIERS, tenants={"acme": Overrides(requests=TRIED)}))
    await world.limiter.take(identity(), 2)
    for _ in range(2):
        _, decision = await world.limiter.peek(identity())
        assert decision.holdings[0].remaining == 8
    assert world.shadows == []


async def test_a_cost_of_nothing_is_refused() -> None:
    with pytest.raises(ShoalError) as refused:
        await World().limiter.take(identity(), 0)
    assert (refused.value.reason, refused.value.field) == (Reason.FIELD_INVALID, "cost")


@pytest.mark.parametrize("cost", [11, 2**64 - 1])
async def test_a_cost_that_can_never_pass_is_refused(cost: int) -> None:
    world = World()
    with pytest.raises(ShoalError, match=r"The limit of 'free' never holds .* ask for 10 or fewer") as refused:
        await world.limiter.take(identity(), cost)
    assert (refused.value.reason, refused.value.field) == (Reason.COST_ABOVE_CAPACITY, "cost")
    assert (await world.limiter.take(identity(), 10))[1].allowed
