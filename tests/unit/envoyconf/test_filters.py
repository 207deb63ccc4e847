"""The filters of the front door: what both sides of the limiter's protocol must agree on."""

from envoyconf.filters import LIMITER_SECONDS
from services.ratelimit.patience import AT_MOST_SECONDS, ENVOY_WAITS_SECONDS


def test_the_limiter_knows_how_long_envoy_waits_for_it() -> None:
    assert ENVOY_WAITS_SECONDS == LIMITER_SECONDS
    assert AT_MOST_SECONDS < ENVOY_WAITS_SECONDS
