"""Which models are on offer."""

import asyncio

import pytest

from meshkit.errors import Reason, ShoalError
from services.agent.model_catalog import FRESH_SECONDS, RETRY_SECONDS, Choice, ModelCatalog
from tests.unit.agent.scripted_model import ScriptedModel


class Shop:
    """A catalog over a scripted model. Time stands still unless it is moved."""

    def __init__(self, *listed: str, named: tuple[str, ...] = ()) -> None:
        self.now = 1000.0
        self.model = ScriptedModel(*listed)
        self.catalog = ModelCatalog(provider=self.model, names=named, clock=lambda: self.now)

    async def names(self) -> list[str]:
        return [model.id for model in await self.catalog.models()]

    async def refusal(self, requested: str = "") -> ShoalError:
        with pytest.raises(ShoalError) as refused:
            await self.catalog.choose(requested)
        return refused.value


async def test_the_first_model_is_the_default() -> None:
    shop = Shop("small", "large")
    assert await shop.names() == ["small", "large"]
    assert await shop.catalog.choose("") == Choice("small", "the default model")
    assert await shop.catalog.choose("large") == Choice("large", "requested by the caller")


async def test_models_that_are_named_in_the_settings_are_all_there_are() -> None:
    shop = Shop("small", named=("large", "larger"))
    assert await shop.names() == ["large", "larger"]
    assert (await shop.refusal("small")).reason is Reason.MODEL_UNKNOWN
    assert shop.model.listed == 0


async def test_a_list_is_believed_for_a_while() -> None:
    shop = Shop("small")
    await shop.names()
    shop.model.names = ["large"]
    shop.now += FRESH_SECONDS - 0.001
    assert await shop.names() == ["small"]
    shop.now += 0.001
    assert await shop.names() == ["large"]


async def test_a_turn_does_not_wait_for_a_newer_list() -> None:
    shop = Shop("small")
    await shop.catalog.choose("")
    shop.now += 1000 * FRESH_SECONDS
    assert [(await shop.catalog.choose(name)).model for name in ("", "small")] == ["small", "small"]
    assert shop.model.listed == 1


async def test_a_model_that_is_not_on_the_list_is_looked_for_once_more() -> None:
    shop = Shop("small")
    await shop.names()
    shop.model.names = ["small", "fresh"]
    assert (await shop.refusal("fresh")).field == "model"
    shop.now += RETRY_SECONDS
    assert (await shop.catalog.choose("fresh")).model == "fresh"


async def test_unknown_names_do_not_flood_the_provider() -> None:
    shop = Shop("small")
    for _ in range(10):
        assert (await shop.refusal("x" * 1000)).reason is Reason.MODEL_UNKNOWN
    assert shop.model.listed == 1
    assert len((await shop.refusal("x" * 1000)).message) < 200


async def test_an_old_list_is_believed_on_while_the_provider_is_out_of_order() -> None:
    shop = Shop("small")
    await shop.names()
    shop.model.is_out_of_order = True
    shop.now += FRESH_SECONDS
    for _ in range(10):
        assert await shop.names() == ["small"]
    assert shop.model.listed == 2


async def test_without_any_list_the_provider_is_asked_again_soon() -> None:
    shop = Shop("small")
    shop.model.is_out_of_order = True
    for _ in range(10):
        refusal = await shop.refusal()
        assert (refusal.reason, refusal.message) == (Reason.MODEL_UNAVAILABLE, "The model is out of order.")
    assert shop.model.listed == 1
    shop.model.is_out_of_order = False
    shop.now += RETRY_SECONDS
    assert await shop.names() == ["small"]


async def test_a_provider_without_models_is_no_provider() -> None:
    assert (await Shop().refusal()).reason is Reason.MODEL_UNAVAILABLE


async def test_an_empty_list_does_not_take_the_place_of_a_good_one() -> None:
    shop = Shop("small")
    await shop.names()
    shop.model.names = []
    shop.now += FRESH_SECONDS
    assert await shop.names() == ["small"]


async def test_those_who_ask_at_the_same_time_share_one_question() -> None:
    shop = Shop("small")
    shop.model.gate.clear()
    askers = [asyncio.create_task(shop.names()) for _ in range(20)]
    await shop.model.was_asked.wait()
    askers[5].cancel()
    shop.now += 0.5
    shop.model.gate.set()
    answers = await asyncio.gather(*askers, return_exceptions=True)
    assert answers.count(["small"]) == 19
    assert shop.model.listed == 1


async def test_when_the_one_who_asks_leaves_the_next_asks() -> None:
    shop = Shop("small")
    shop.model.gate.clear()
    first, second = asyncio.create_task(shop.names()), asyncio.create_task(shop.names())
    await shop.model.was_asked.wait()
    first.cancel()
    shop.model.gate.set()
    assert await second == ["small"]
