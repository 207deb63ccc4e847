"""Parsing tiers."""

import pytest

from services.ratelimit.buckets.bucket import Limit
from services.ratelimit.tiers import Tier, parse_tiers


def test_tiers_are_read_in_order() -> None:
    tiers = parse_tiers("anonymous=0.5/10, premium=100/200")
    assert list(tiers) == ["anonymous", "premium"]
    assert tiers.of("premium") == Tier("premium", Limit(100, 200))
    assert tiers.anonymous == Tier("anonymous", Limit(0.5, 10))


def test_a_tier_that_is_not_configured_any_more_has_the_limits_of_anonymous_callers() -> None:
    tiers = parse_tiers("anonymous=1/10,premium=100/200")
    assert "gold" not in tiers
    assert tiers.of("gold") == tiers.anonymous


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "'' is no tier"),
        ("anonymous=1/10,", "'' is no tier"),
        ("anonymous", "write it as name=rate/burst"),
        ("anonymous=1", "write it as name=rate/burst"),
        ("anonymous=1/ten", "'anonymous=1/ten' is no tier"),
        ("Anonymous=1/10", "names are a-z"),
        ('a"b=1/10', "names are a-z"),
        ("anonymous=0/10", "the tier 'anonymous' cannot be: the rate"),
        ("anonymous=nan/10", "the tier 'anonymous' cannot be: the rate"),
        ("anonymous=1/0", "the tier 'anonymous' cannot be: the capacity"),
        ("anonymous=1/10,anonymous=2/20", "twice"),
        ("free=1/10", "the tier 'anonymous' is missing"),
    ],
)
def test_a_fault_is_named(text: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        parse_tiers(text)
