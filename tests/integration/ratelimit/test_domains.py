"""Somebody else's Envoy and other clients of Envoy's protocol, asking a real limiter about a domain of their own."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import grpc
import pytest
from google.protobuf.wrappers_pb2 import UInt64Value

from meshkit.channel import open_channel
from meshkit.settings import SettingsError, load
from services.ratelimit.envoy_servicer import SERVICE
from services.ratelimit.settings import RatelimitSettings
from shoal.external.rls_pb2 import RateLimitDescriptor, RateLimitRequest, RateLimitResponse
from tests.backends import wait_until
from tests.integration.ratelimit.foreign_envoy import DOMAIN, ForeignEnvoy, foreign_envoy
from tests.integration.ratelimit.ratelimit_process import (
    RatelimitProcess,
    ask_raw,
    descriptor,
    environ,
    make_tables,
    started,
)

RULES = """\
# So slow that no hit comes back while a test runs.
domain: shop
descriptors:
  - key: generic_key
    value: api
    descriptors:
      - key: user
        rate_limit: {unit: hour, requests_per_unit: 3}
  - key: remote_address
    rate_limit: {unit: year, requests_per_unit: 10000}
  - key: metered
    rate_limit: {unit: day, requests_per_unit: 5}
"""
OK, OVER_LIMIT = RateLimitResponse.OK, RateLimitResponse.OVER_LIMIT


@dataclass(frozen=True, slots=True)
class Shop:
    """A limiter with the rules of a shop, and the shop's Envoy."""

    limiter: RatelimitProcess
    envoy: ForeignEnvoy
    rules: Path

    def change(self, text: str, *, outcome: str) -> None:
        """Replaces the rules, and waits until the limiter has noticed."""
        self.limiter.change_file(self.rules, text, file="domains", outcome=outcome)

    def ask(self, *descriptors: RateLimitDescriptor, domain: str = DOMAIN) -> RateLimitResponse:
        return asyncio.run(ask_raw(self.limiter, RateLimitRequest(domain=domain, descriptors=descriptors)))

    def left(self, **entries: str) -> int:
        """What a bucket holds."""
        looks = descriptor(**entries)
        looks.hits_addend.CopyFrom(UInt64Value(value=0))
        return self.ask(looks).statuses[0].limit_remaining

    def wait_until_left(self, hits: int, **entries: str) -> None:
        wait_until(lambda: self.left(**entries) == hits, f"a bucket that holds {hits}")


@pytest.fixture(scope="module")
def shop(valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("shop")
    rules = folder / "rules"
    rules.mkdir()
    (rules / "shop.yaml").write_text(RULES)
    settings = environ(folder, redis_url=valkey_url) | {"SHOAL_DOMAINS_PATH": str(rules)}
    make_tables(settings)
    with (
        started(settings) as limiter,
        foreign_envoy(folder, limiter_port=int(settings["SHOAL_ENVOY_PORT"])) as envoy,
    ):
        yield Shop(limiter, envoy, rules / "shop.yaml")


@pytest.fixture
def user() -> str:
    """A user whom no other test has."""
    return uuid4().hex


def test_requests_pass_until_the_limit_and_are_told_when_to_come_back(shop: Shop, user: str) -> None:
    assert shop.envoy.statuses(user=user, times=3) == [200, 200, 200]
    status, headers = shop.envoy.get(user=user)
    assert status == 429
    assert 1100 <= int(headers["retry-after"]) <= 1200
    assert headers["x-ratelimit-limit"].startswith("3, 3;w=3600")
    assert headers["x-ratelimit-remaining"] == "0"
    assert shop.envoy.statuses(user=f"another {user}", times=1) == [200]


def test_a_request_that_is_refused_costs_its_address_nothing(shop: Shop, user: str) -> None:
    shop.envoy.statuses(user=user, times=3)
    before = shop.left(remote_address="127.0.0.1")
    assert shop.envoy.statuses(user=user, times=5) == [429] * 5
    assert shop.left(remote_address="127.0.0.1") == before < 10_000


def test_envoy_takes_hits_and_gives_back_what_was_not_needed(shop: Shop, user: str) -> None:
    for left in (4, 3, 2):
        status, _ = shop.envoy.get(user=user, path="/metered")
        assert status == 200
        shop.wait_until_left(left, metered=user)
    assert shop.envoy.get(user=user, path="/metered")[0] == 429


def test_changed_rules_hold_without_a_restart_and_faulty_ones_never(shop: Shop, user: str) -> None:
    try:
        shop.change(RULES.replace("requests_per_unit: 3}", "requests_per_unit: 5}"), outcome="read")
        assert shop.envoy.statuses(user=user, times=6) == [200] * 5 + [429]
        shop.change(RULES.replace("unit: day", "unit: dya"), outcome="refused")
        assert shop.envoy.statuses(user=f"another {user}", times=6) == [200] * 5 + [429]
        (line,) = shop.limiter.log_lines("a changed file cannot be used; what it said before holds")
        assert f"{shop.rules}: line 12: 'dya' is no unit" in line["fault"]
    finally:
        shop.change(RULES, outcome="read")
    assert shop.envoy.statuses(user=f"a third {user}", times=4) == [200] * 3 + [429]


def test_a_refusal_takes_from_none_of_the_descriptors(shop: Shop, user: str) -> None:
    full, metered = descriptor(generic_key="api", user=user), descriptor(metered=user)
    shop.ask(full, full, full)
    answer = shop.ask(metered, full, descriptor(unmatched="x"))
    assert answer.overall_code == OVER_LIMIT
    assert [status.code for status in answer.statuses] == [OK, OVER_LIMIT, OK]
    assert shop.left(metered=user) == 5


def test_many_at_once_get_no_more_than_the_limit(shop: Shop, user: str) -> None:
    async def ask_at_once() -> list[RateLimitResponse]:
        request = RateLimitRequest(domain=DOMAIN, descriptors=[descriptor(metered=user)])
        return await asyncio.gather(*(ask_raw(shop.limiter, request) for _ in range(50)))

    answers = asyncio.run(ask_at_once())
    assert [answer.overall_code for answer in answers].count(OK) == 5


@pytest.mark.parametrize(
    ("domain", "descriptors"),
    [
        ("", [descriptor(metered="x")]),
        ("unknown", [descriptor(metered="x")]),
        (DOMAIN, []),
        (DOMAIN, [RateLimitDescriptor()]),
        (DOMAIN, [descriptor(**{f"entry_{number}": "x" for number in range(33)})]),
    ],
)
def test_what_cannot_be_answered_is_refused(shop: Shop, domain: str, descriptors: list[RateLimitDescriptor]) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        shop.ask(*descriptors, domain=domain)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.value.details()


def our_own(**entries: str) -> RateLimitDescriptor:
    """A descriptor as Shoal's Envoy sends it."""
    return descriptor(masked_remote_address="198.51.100.1/32", surface="rest", **entries)


@pytest.mark.parametrize(
    ("domain", "one"), [(DOMAIN, descriptor(metered="x")), ("unknown", descriptor(metered="x")), ("shoal", our_own())]
)
@pytest.mark.parametrize("count", [101, 1000])
def test_too_many_descriptors_are_refused_in_every_domain(
    shop: Shop, domain: str, one: RateLimitDescriptor, count: int
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        shop.ask(*[one] * count, domain=domain)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "1 to 100 descriptors" in (refused.value.details() or "")


@pytest.mark.parametrize(
    ("domain", "value_of"),
    [(DOMAIN, lambda value: descriptor(metered=value)), ("shoal", lambda value: our_own(x_api_key=value))],
)
def test_questions_over_256_kib_are_refused_in_every_domain(
    shop: Shop, domain: str, value_of: Callable[[str], RateLimitDescriptor], user: str
) -> None:
    assert shop.ask(value_of(user + "x" * 200_000), domain=domain).overall_code == OK
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        shop.ask(value_of("x" * 300_000), domain=domain)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than max" in (refused.value.details() or "")
    assert shop.ask(value_of(f"{user} after it"), domain=domain).overall_code == OK


def test_decisions_are_counted_by_domain(shop: Shop, user: str) -> None:
    sample = f'shoal_ratelimit_domain_decisions_total{{domain="{DOMAIN}",outcome="allowed"}}'
    before = shop.limiter.metrics().get(sample, 0)
    shop.ask(descriptor(metered=user))
    assert shop.limiter.metrics()[sample] == before + 1


def test_faulty_rules_at_the_start_are_told_with_file_and_line(tmp_path: Path) -> None:
    rules = tmp_path / "shop.yaml"
    rules.write_text(RULES.replace("unit: day", "unit: dya"))
    told = environ(tmp_path, redis_url="redis://127.0.0.1:1/0") | {"SHOAL_DOMAINS_PATH": str(rules)}
    with pytest.raises(SettingsError) as refused:
        load(RatelimitSettings, told)
    (fault,) = refused.value.faults
    assert fault.startswith(f"SHOAL_DOMAINS_PATH: {rules}: line 12: 'dya' is no unit")


@pytest.mark.parametrize("question", [b"\x0a\x02\xff\xfe", b"\x12\x05\x0a", b"\xff" * 20])
def test_bytes_that_are_no_question_are_refused(shop: Shop, question: bytes) -> None:
    async def send() -> None:
        async with open_channel(shop.limiter.envoy_address) as channel:
            ask: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{SERVICE}/ShouldRateLimit")
            await ask(question, timeout=20)

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        asyncio.run(send())
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
