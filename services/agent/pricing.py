"""Prices of models."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from services.agent.conversation import Usage

_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens."""

    input: float
    output: float


class PriceList:
    """Prices by model; a model that is not on the list costs nothing."""

    def __init__(self, prices: Mapping[str, Price]) -> None:
        self._prices = dict(prices)

    @classmethod
    def parse(cls, text: str) -> "PriceList":
        """Reads "model=input/output,..." in US dollars per million tokens. Raises ValueError."""
        return cls(dict(_parsed(item) for item in text.split(",") if item.strip()))

    def is_paid(self, model: str) -> bool:
        price = self._prices.get(model)
        return price is not None and (price.input > 0 or price.output > 0)

    def priced(self, model: str, usage: Usage) -> Usage:
        price = self._prices.get(model)
        if price is None:
            return usage
        cost = (usage.input_tokens * price.input + usage.output_tokens * price.output) / _MILLION
        return msgspec.structs.replace(usage, cost_usd=cost)


def _parsed(item: str) -> tuple[str, Price]:
    model, _, amounts = item.strip().rpartition("=")
    try:
        input_price, output_price = (float(amount) for amount in amounts.split("/"))
    except ValueError:
        raise ValueError(f"{item.strip()!r} is not model=input/output, such as gpt-5=1.25/10") from None
    if not (model and 0 <= input_price < math.inf and 0 <= output_price < math.inf):
        raise ValueError(f"{item.strip()!r} needs a model and prices of 0 or more")
    return model, Price(input_price, output_price)
