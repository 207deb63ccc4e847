"""Which limits hold for whom."""

from dataclasses import replace

from services.ratelimit.buckets.bucket import Limit, Mode
from services.ratelimit.limits import (
    CallerLimits,
    ConcurrencyLimit,
    Limits,
    Overrides,
    Payment,
    RateLimit,
    RouteLimits,
    tier_limits,
)
from services.ratelimit.tiers import parse_tiers

TIERS = tier_limits(parse_tiers("anonymous=1/10,free=2/20"))
FREE = TIERS["free"].requests
TOKENS = RateLimit("free", Limit.per(20_000, 60))
PLACES = ConcurrencyLimit("free", 4)
SMALL, LARGE = RateLimit("chat", Limit(5, 5)), RateLimit("acme", Limit(50, 100))
TRIED = RateLimit("chat", Limit(1, 1), shadow=True)


def test_a_caller_has_the_limits_of_its_tier() -> None:
    assert Limits(TIERS).of(tier="free", tenant="acme") == CallerLimits(RateLimit("free", Limit(2, 20)))


def test_a_tier_that_is_gone_has_the_limits_of_callers_without_a_key() -> None:
    assert Limits(TIERS).of(tier="gold", tenant="acme").requests.name == "anonymous"


def test_an_override_takes_the_place_of_its_own_kind_alone() -> None:
    tiers, own = TIERS | {"free": CallerLimits(FREE, TOKENS, PLACES)}, ConcurrencyLimit("acme", 9)
    limits = Limits(tiers, tenants={"acme": Overrides(concurrent=own)})
    assert limits.of(tier="free", tenant="acme") == CallerLimits(FREE, TOKENS, own)
    assert limits.of(tier="free", tenant="other") == tiers["free"]


def test_limits_of_tokens_or_places_ask_for_reservations() -> None:
    assert not CallerLimits(FREE).metered
    assert CallerLimits(FREE, model_tokens=TOKENS).metered
    assert CallerLimits(FREE, concurrent=PLACES).metered


def test_a_route_without_a_limit_of_its_own_spends_from_the_general_bucket() -> None:
    rule = Limits(TIERS, routes={"chat": RouteLimits(SMALL)}).request(tier="free", tenant="acme", route="task")
    assert rule.payments == (Payment(FREE),)
    spend = rule.payments[0].spend("key_1", 1)
    assert (spend.bucket, spend.limit, spend.mode) == ("bucket:key_1", FREE.limit, Mode.ENFORCED)
    assert not rule.fail_closed


def test_a_route_with_a_limit_of_its_own_has_a_bucket_of_its_own() -> None:
    rule = Limits(TIERS, routes={"chat": RouteLimits(SMALL)}).request(tier="free", tenant="acme", route="chat")
    assert rule.payments == (Payment(SMALL, "chat"),)
    assert rule.payments[0].spend("key_1", 1).bucket == "bucket:key_1:chat"


def test_a_shadow_of_a_route_is_tried_beside_the_limit_that_holds() -> None:
    rule = Limits(TIERS, routes={"chat": RouteLimits(TRIED)}).request(tier="free", tenant="acme", route="chat")
    assert rule.payments == (Payment(FREE), Payment(TRIED, "chat"))
    assert [payment.spend("key_1", 1).mode for payment in rule.payments] == [Mode.ENFORCED, Mode.SHADOW]


def test_a_shadow_of_a_tenant_is_tried_beside_the_limit_of_its_tier() -> None:
    limits = Limits(TIERS, tenants={"acme": Overrides(requests=TRIED)})
    rule = limits.request(tier="free", tenant="acme", route="task")
    assert rule.payments == limits.of(tier="free", tenant="acme").payments == (Payment(FREE), Payment(TRIED))
    buckets = [payment.spend("key_1", 1).bucket for payment in rule.payments]
    assert buckets == ["bucket:key_1", "bucket:key_1:shadow"]


def test_a_shadow_of_a_tier_does_not_concern_a_tenant_with_a_limit_of_its_own() -> None:
    tried = Overrides(requests=TRIED).applied_to(TIERS["free"])
    limits = Limits({"free": tried}, tenants={"acme": Overrides(requests=LARGE), "meek": Overrides(concurrent=PLACES)})
    assert limits.of(tier="free", tenant="acme").payments == (Payment(LARGE),)
    assert limits.of(tier="free", tenant="meek").payments == (Payment(FREE), Payment(TRIED))


def test_the_shadow_of_a_tenants_route_leaves_the_enforced_limit_of_the_route() -> None:
    limits = Limits(
        TIERS, tenants={"acme": Overrides(routes={"chat": RouteLimits(TRIED)})}, routes={"chat": RouteLimits(SMALL)}
    )
    rule = limits.request(tier="free", tenant="acme", route="chat")
    assert rule.payments == (Payment(SMALL, "chat"), Payment(TRIED, "chat"))
    buckets = [payment.spend("key_1", 1).bucket for payment in rule.payments]
    assert buckets == ["bucket:key_1:chat", "bucket:key_1:chat:shadow"]


def test_shadows_of_a_tenant_and_of_a_route_are_tried_together_and_the_tenants_route_before_the_general_one() -> None:
    own = RateLimit("chat", Limit(2, 2), shadow=True)
    limits = Limits(
        TIERS,
        tenants={"acme": Overrides(requests=TRIED, routes={"chat": RouteLimits(own)})},
        routes={"chat": RouteLimits(TRIED), "task": RouteLimits(SMALL)},
    )
    chat = limits.request(tier="free", tenant="acme", route="chat")
    assert chat.payments == (Payment(FREE), Payment(TRIED), Payment(own, "chat"))
    assert limits.request(tier="free", tenant="acme", route="task").payments == (Payment(SMALL, "task"),)


def test_a_shadow_of_tokens_or_places_takes_no_enforced_limit_away() -> None:
    tokens, places = replace(TOKENS, shadow=True), replace(PLACES, shadow=True)
    tried = Overrides(model_tokens=tokens, concurrent=places)
    enforced = CallerLimits(FREE, TOKENS, PLACES)
    assert tried.applied_to(enforced) == enforced
    assert tried.applied_to(CallerLimits(FREE)) == CallerLimits(FREE, tokens, places)
    assert Overrides(None, TOKENS, PLACES).applied_to(CallerLimits(FREE, tokens, places)) == enforced


def test_a_tenants_own_route_wins_over_the_general_one() -> None:
    limits = Limits(
        TIERS,
        tenants={"acme": Overrides(routes={"chat": RouteLimits(LARGE)})},
        routes={"chat": RouteLimits(SMALL, fail_closed=True)},
    )
    own = limits.request(tier="free", tenant="acme", route="chat")
    assert own.payments == (Payment(LARGE, "chat"),)
    assert own.fail_closed
    assert limits.request(tier="free", tenant="other", route="chat").payments == (Payment(SMALL, "chat"),)


def test_a_tenants_own_route_may_stay_open_and_keep_the_general_size() -> None:
    limits = Limits(
        TIERS,
        tenants={"acme": Overrides(routes={"chat": RouteLimits(fail_closed=False)})},
        routes={"chat": RouteLimits(SMALL, fail_closed=True)},
    )
    rule = limits.request(tier="free", tenant="acme", route="chat")
    assert rule.payments == (Payment(SMALL, "chat"),)
    assert not rule.fail_closed
