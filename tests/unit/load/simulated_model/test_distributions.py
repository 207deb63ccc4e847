"""Latency distributions: how they are written and what they yield."""

import math
from random import Random
from statistics import fmean, median

import pytest

from load.simulated_model.distributions import Distribution, Exponential, Fixed, Lognormal, Uniform, parse_distribution


@pytest.mark.parametrize(
    ("text", "distribution"),
    [
        ("fixed:0.5", Fixed(0.5)),
        ("fixed:0", Fixed(0.0)),
        ("uniform:0.1,0.4", Uniform(0.1, 0.4)),
        ("lognormal:0.3,0.5", Lognormal(0.3, 0.5)),
        ("exponential:2", Exponential(2.0)),
    ],
)
def test_each_distribution_is_read_from_its_text(text: str, distribution: Distribution) -> None:
    assert parse_distribution(text) == distribution


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is not one of"),
        ("0.5", "is not one of"),
        ("fixed:", "is not a number"),
        ("fixed:abc", "'abc' is not a number"),
        ("fixed:1,2", "is not one of"),
        ("uniform:1", "is not one of"),
        ("uniform:0.4,0.1", "low end is above the high end"),
        ("fixed:-1", "out of range"),
        ("fixed:inf", "out of range"),
        ("fixed:nan", "out of range"),
        ("lognormal:0,1", "median > 0"),
        ("exponential:0", "mean > 0"),
        ("gamma:1,2", "is not one of"),
    ],
)
def test_a_bad_distribution_is_refused_with_the_reason(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_distribution(text)


def _samples(text: str) -> list[float]:
    distribution = parse_distribution(text)
    random = Random(7)  # noqa: S311 # it draws latencies, not secrets
    return [distribution.sample(random) for _ in range(5000)]


def test_fixed_yields_only_its_value() -> None:
    assert set(_samples("fixed:0.5")) == {0.5}


def test_uniform_fills_its_range_and_stays_inside() -> None:
    samples = _samples("uniform:1,3")
    assert 1 <= min(samples) < 1.1
    assert 2.9 < max(samples) <= 3


def test_half_of_the_lognormal_samples_are_below_the_median_and_sigma_is_the_spread_of_their_logarithms() -> None:
    samples = _samples("lognormal:0.3,0.5")
    assert median(samples) == pytest.approx(0.3, rel=0.05)
    logarithms = [math.log(sample / 0.3) for sample in samples]
    assert math.sqrt(fmean(x * x for x in logarithms)) == pytest.approx(0.5, rel=0.05)


def test_the_exponential_samples_have_the_given_mean() -> None:
    assert fmean(_samples("exponential:2")) == pytest.approx(2, rel=0.05)


def test_the_same_seed_yields_the_same_samples() -> None:
    assert _samples("exponential:2") == _samples("exponential:2")
