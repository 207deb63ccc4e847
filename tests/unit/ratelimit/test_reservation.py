"""A caller's reservations: the rules, over any history. What each operation does is in the stores' contract."""

from hypothesis import given
from hypothesis import strategies as st

from services.ratelimit.buckets.bucket import MICROS_PER_SECOND, Limit
from services.ratelimit.limits import CallerLimits, ConcurrencyLimit, RateLimit
from services.ratelimit.reservations.reservation import Account, Answer, Outcome, Request

MINUTE = 60 * MICROS_PER_SECOND
LIMIT = Limit.per(1000, 60)
REQUESTS, TOKENS = RateLimit("free", Limit(1, 10)), RateLimit("free", LIMIT)
LIMITS = CallerLimits(REQUESTS, TOKENS, ConcurrencyLimit("free", 3))
SHADOW_OF_PLACES = CallerLimits(REQUESTS, TOKENS, ConcurrencyLimit("free", 1, shadow=True))

Step = tuple[int, str, str, int]
steps = st.lists(
    st.tuples(
        st.integers(0, MINUTE),
        st.sampled_from(["reserve", "settle", "renew"]),
        st.sampled_from(["a", "b", "c", "d", "e"]),
        st.integers(0, 1500),
    ),
    max_size=40,
)


def carry_out(account: Account, operation: str, name: str, tokens: int, now: int) -> Answer:
    match operation:
        case "reserve":
            return account.reserve(LIMITS, Request(name, tokens, MINUTE), now)
        case "settle":
            return account.settle(LIMITS, name, tokens, now)
        case _:
            return account.renew(LIMITS, name, MINUTE, now)


@given(steps=steps)
def test_no_history_leaves_the_bounds(steps: list[Step]) -> None:
    account, now = Account(), 0
    for elapsed, operation, name, tokens in steps:
        now += elapsed
        answer = carry_out(account, operation, name, tokens, now)
        assert answer.places is not None
        assert answer.model_tokens is not None
        assert 0 <= answer.places.taken <= 3
        assert 0 <= answer.model_tokens.remaining <= LIMIT.capacity
        assert answer.model_tokens.full_in_micros <= 2 * MINUTE


@given(steps=steps)
def test_no_history_reserves_more_than_the_capacity_and_the_refill(steps: list[Step]) -> None:
    account, now, granted = Account(), 0, 0
    for number, (elapsed, _, _, tokens) in enumerate(steps):
        now += elapsed // 40
        # These last for longer than the history does, and are never settled.
        answer = account.reserve(SHADOW_OF_PLACES, Request(f"r-{number}", tokens, 2 * MINUTE), now)
        granted += tokens if answer.outcome is Outcome.DONE else 0
        assert granted * LIMIT.grains_per_token <= LIMIT.full + now * LIMIT.grains_per_micro


@given(steps=steps, tokens=st.integers(0, 1000), after=st.integers(0, 2 * MINUTE))
def test_a_reservation_that_expires_leaves_no_trace(steps: list[Step], tokens: int, after: int) -> None:
    with_it, without_it, now = Account(), Account(), 0
    for elapsed, operation, name, amount in steps:
        now += elapsed
        for account in (with_it, without_it):
            carry_out(account, operation, name, amount, now)
    with_it.reserve(LIMITS, Request("killed", tokens, MINUTE), now)
    now += MINUTE + after
    assert with_it.peek(LIMITS, now) == without_it.peek(LIMITS, now)


@given(reserved=st.integers(0, 500), used=st.integers(0, 1000), elapsed=st.integers(0, MINUTE // 2))
def test_settling_leaves_what_taking_the_used_tokens_alone_would_have_left(
    reserved: int, used: int, elapsed: int
) -> None:
    settled, charged = Account(), Account()
    for account in (settled, charged):
        # Half full, so that no refill is lost at the brim.
        account.settle(LIMITS, "before", 500, now=0)
    settled.reserve(LIMITS, Request("a", reserved, MINUTE), now=0)
    assert settled.settle(LIMITS, "a", used, elapsed) == charged.settle(LIMITS, "a", used, elapsed)
