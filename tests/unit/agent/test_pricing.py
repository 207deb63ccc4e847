"""What tokens cost."""

import pytest

from services.agent.conversation import Usage
from services.agent.pricing import PriceList

PRICES = PriceList.parse(" small=1/10 , family=a/large=0/2.5,, ")


def test_input_and_output_have_their_own_price_per_million() -> None:
    assert PRICES.priced("small", Usage(1_000_000, 500_000)) == Usage(1_000_000, 500_000, 6.0)


def test_a_model_name_may_hold_the_signs_of_the_list() -> None:
    assert PRICES.priced("family=a/large", Usage(7, 2_000_000)).cost_usd == 5.0


def test_a_model_without_a_price_costs_nothing() -> None:
    assert PRICES.priced("other", Usage(10, 10)) == Usage(10, 10)


def test_an_empty_list_is_a_list() -> None:
    assert PriceList.parse("").priced("small", Usage(1, 1)).cost_usd == 0


@pytest.mark.parametrize(
    "text",
    ["small", "small=1", "small=1/2/3", "small=a/b", "=1/2", "small=-1/2", "small=1/-2", "small=nan/1", "small=1/inf"],
)
def test_what_is_no_price_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match=text):
        PriceList.parse(f"good=1/2,{text}")


def test_a_model_is_paid_if_reading_or_writing_costs() -> None:
    prices = PriceList.parse("read=1/0,written=0/1,given=0/0")
    assert [prices.is_paid(model) for model in ("read", "written", "given", "other")] == [True, True, False, False]
