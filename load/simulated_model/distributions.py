"""Distributions of non-negative quantities, written as `fixed:0.5` or `lognormal:0.3,0.5`."""

import math
from dataclasses import dataclass
from random import Random
from typing import Protocol


class Distribution(Protocol):
    """A quantity of which each sample is >= 0; its unit is the caller's."""

    def sample(self, random: Random) -> float: ...


@dataclass(frozen=True, slots=True)
class Fixed:
    value: float

    def sample(self, random: Random) -> float:
        return self.value


@dataclass(frozen=True, slots=True)
class Uniform:
    low: float
    high: float

    def sample(self, random: Random) -> float:
        return random.uniform(self.low, self.high)


@dataclass(frozen=True, slots=True)
class Lognormal:
    """Half of the samples are below `median`; `sigma` is the standard deviation of the logarithm."""

    median: float
    sigma: float

    def sample(self, random: Random) -> float:
        return random.lognormvariate(math.log(self.median), self.sigma)


@dataclass(frozen=True, slots=True)
class Exponential:
    mean: float

    def sample(self, random: Random) -> float:
        return random.expovariate(1 / self.mean)


def parse_distribution(text: str) -> Distribution:
    """Read `fixed:V`, `uniform:LOW,HIGH`, `lognormal:MEDIAN,SIGMA` or `exponential:MEAN`.

    Raises ValueError, saying what is wrong.
    """
    kind, colon, parameters = text.partition(":")
    match kind, _numbers(parameters) if colon else []:
        case "fixed", [value]:
            return Fixed(value)
        case "uniform", [low, high]:
            if low > high:
                raise ValueError(f"in {text!r} the low end is above the high end")
            return Uniform(low, high)
        case "lognormal", [median, sigma] if median > 0:
            return Lognormal(median, sigma)
        case "exponential", [mean] if mean > 0:
            return Exponential(mean)
    raise ValueError(
        f"{text!r} is not one of fixed:V, uniform:LOW,HIGH, lognormal:MEDIAN,SIGMA (median > 0), "
        "exponential:MEAN (mean > 0)"
    )


def _numbers(text: str) -> list[float]:
    return [_number(part) for part in text.split(",")]


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number, as in fixed:0.5 or uniform:0.1,0.4") from None
    if not (number >= 0 and math.isfinite(number)):
        raise ValueError(f"{text} is out of range: numbers are finite and not below 0")
    return number
