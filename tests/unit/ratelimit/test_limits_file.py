"""The limits file."""

from fractions import Fraction

import pytest

from services.ratelimit.buckets.bucket import Limit
from services.ratelimit.limits import CallerLimits, ConcurrencyLimit, Payment, RateLimit
from services.ratelimit.limits_file import read_limits
from services.ratelimit.tiers import parse_tiers
from services.ratelimit.yaml_lines import FaultyFileError

TIERS = parse_tiers("anonymous=1/10,free=1/10,basic=10/50")

FILE = """
tiers:
  free: {requests: {per_second: 0.1, burst: 3}, model_tokens: {per_minute: 20000}, concurrent: {calls: 4}}
  basic: {model_tokens: {per_minute: 100, burst: 5000, shadow: true}, concurrent: {calls: 8, shadow: true}}
tenants:
  acme:
    requests: {per_second: 50, burst: 100, shadow: true}
    routes: {chat: {requests: {per_second: 5, burst: 5}}}
routes:
  chat: {requests: {per_second: 5, burst: 10}, fail_closed: true}
"""


def test_the_file_stands_on_top_of_the_tiers() -> None:
    limits = read_limits(FILE, TIERS)
    assert limits.of(tier="anonymous", tenant="x") == CallerLimits(RateLimit("anonymous", Limit(1, 10)))
    assert limits.of(tier="free", tenant="x") == CallerLimits(
        RateLimit("free", Limit(Fraction(1, 10), 3)),
        RateLimit("free", Limit(Fraction(20_000, 60), 20_000)),
        ConcurrencyLimit("free", 4),
    )
    assert limits.of(tier="basic", tenant="x") == CallerLimits(
        RateLimit("basic", Limit(10, 50)),
        RateLimit("basic", Limit(Fraction(100, 60), 5000), shadow=True),
        ConcurrencyLimit("basic", 8, shadow=True),
    )


def test_tenants_and_routes_are_read() -> None:
    limits = read_limits(FILE, TIERS)
    acme = limits.of(tier="free", tenant="acme")
    assert acme.requests == RateLimit("free", Limit(Fraction(1, 10), 3))
    assert acme.requests_shadow == RateLimit("acme", Limit(50, 100), shadow=True)
    assert acme.concurrent == ConcurrencyLimit("free", 4)
    general = limits.request(tier="free", tenant="x", route="chat")
    assert general.payments == (Payment(RateLimit("chat", Limit(5, 10)), "chat"),)
    own = limits.request(tier="free", tenant="acme", route="chat")
    assert own.payments == (Payment(RateLimit("chat", Limit(5, 5)), "chat"),)
    assert general.fail_closed
    assert own.fail_closed


def test_every_limit_bears_the_name_of_whoever_it_was_written_for() -> None:
    text = """
tiers:
  free: {model_tokens: {per_minute: 20000}}
tenants:
  acme: {model_tokens: {per_minute: 90}, concurrent: {calls: 4}}
"""
    acme = read_limits(text, TIERS).of(tier="free", tenant="acme")
    assert acme.model_tokens
    assert acme.concurrent
    assert (acme.requests.name, acme.model_tokens.name, acme.concurrent.name) == ("free", "acme", "acme")


def test_the_shadow_of_a_tier_leaves_the_limit_of_the_settings() -> None:
    text = "tiers: {basic: {requests: {per_second: 1, burst: 2, shadow: true}}}"
    basic = read_limits(text, TIERS).of(tier="basic", tenant="x")
    assert basic.requests == RateLimit("basic", Limit(10, 50))
    assert basic.requests_shadow == RateLimit("basic", Limit(1, 2), shadow=True)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("routes:\n  chat: {fail_closed: true}\n  task:\n    fail_closed: true", 4),
        ("tenants:\n  acme:\n    routes:\n      task: {fail_closed: true}", 4),
    ],
)
def test_a_route_that_fails_open_cannot_fail_closed(text: str, line: int) -> None:
    with pytest.raises(FaultyFileError) as refused:
        read_limits(text, TIERS, fail_open={"task"})
    assert str(refused.value) == f"line {line}: the route 'task' fails open: SHOAL_FAIL_OPEN_ROUTES names it"


def test_a_route_that_fails_open_may_say_so_and_have_a_limit() -> None:
    text = "routes: {task: {fail_closed: false, requests: {per_second: 1, burst: 1}}, chat: {fail_closed: true}}"
    limits = read_limits(text, TIERS, fail_open={"task"})
    assert not limits.request(tier="free", tenant="x", route="task").fail_closed
    assert limits.request(tier="free", tenant="x", route="chat").fail_closed


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "line 1: the file is empty"),
        ("tiers:\n  fre: {}", "line 2: there is no tier 'fre'; SHOAL_TIERS has anonymous, free, basic"),
        ("tiers:\n  free: {}\n  free: {}", "line 3: the name 'free' is there twice"),
        ("tiers:\n  free:\n    request: {}", "line 3: tiers.free.request: the name 'request' is unknown here"),
        ("tiers:\n  free:\n    routes: {}", "line 3: tiers.free.routes: the name 'routes' is unknown here"),
        (
            "tiers:\n  free:\n    requests:\n      burst: 10",
            "line 3: tiers.free.requests: Object missing required field `per_second`",
        ),
        (
            "tiers:\n  free:\n    requests:\n      per_second: fast\n      burst: 1",
            "line 4: tiers.free.requests.per_second: Expected `float`",
        ),
        (
            "tiers:\n  free:\n    requests:\n      per_second: nan\n      burst: 1",
            "line 4: tiers.free.requests.per_second: Expected `float`",
        ),
        (
            "tiers:\n  free:\n    requests:\n      per_second: 0\n      burst: 1",
            "line 4: tiers.free.requests.per_second: Expected `float` > 0",
        ),
        (
            "tiers:\n  free:\n    requests:\n      per_second: 1\n      burst: 0",
            "line 5: tiers.free.requests.burst: Expected `int` >= 1",
        ),
        (
            "tiers:\n  free:\n    requests:\n      per_second: 1\n      burst: 1.5",
            "line 5: tiers.free.requests.burst: Expected `int`",
        ),
        (
            "tiers:\n  free:\n    requests:\n      per_second: 1e-9\n      burst: 1",
            "line 3: tiers.free.requests: the rate must be from one",
        ),
        (
            "tiers:\n  free:\n    model_tokens:\n      per_minute: -1",
            "line 4: tiers.free.model_tokens.per_minute: Expected `int` >= 1",
        ),
        (
            "tiers:\n  free:\n    concurrent:\n      calls: 0",
            "line 4: tiers.free.concurrent.calls: Expected `int` >= 1",
        ),
        ("tenants:\n  a: {}\n  Acme: {}", "line 3: tenants.Acme: Expected `str` matching regex"),
        ('tenants:\n  "a\\"b": {}', "line 2: tenants.'a\"b': Expected `str` matching regex"),
        ("tenants:\n  anonymous-1: {}", "line 2: callers without a key are limited by the tier 'anonymous'"),
        ("routes:\n  chat: {}\n  chta: {}", "line 3: there is no route 'chta'; routes are task, chat,"),
        ("tenants:\n  a:\n    routes:\n      chta: {}", "line 4: there is no route 'chta'; routes are task, chat,"),
        ("routes:\n  chat:\n    fail_closed: perhaps", "line 3: routes.chat.fail_closed: Expected `bool | null`"),
        ("routes:\n  chat: {requests: {per_second: 1, burst: 1}", "line 2:"),
    ],
)
def test_a_fault_is_told_with_its_line(text: str, fault: str) -> None:
    with pytest.raises(FaultyFileError) as refused:
        read_limits(text, TIERS)
    assert str(refused.value).startswith(fault)
