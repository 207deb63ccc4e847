"""Turns that are read when they are complete, and when their model may answer in one piece."""

import msgspec
import pytest

from services.agent.conversation import Sampling
from services.agent.request import CacheControl, CacheMode, TurnRequest
from tests.unit.agent.world import ACME, METERED, PRICED, TASK, World, all_else_done, asking

SHORT = msgspec.structs.replace(TASK, sampling=Sampling(max_tokens=256), cache=CacheControl(mode=CacheMode.BYPASS))


async def test_the_whole_answer_is_what_its_reader_would_have_read() -> None:
    world = World()
    for _ in ("miss", "hit"):
        async with world.running(TASK) as turn:
            assert list(await turn.whole()) == list(PRICED)
            assert turn.cache.lifetime is not None
    assert len(world.agent.turns) == 1


async def test_a_session_remembers_an_answer_that_was_read_whole() -> None:
    world = World()
    async with world.running(msgspec.structs.replace(TASK, session_id="s")) as turn:
        await turn.whole()
    assert [message.content for message in (await world.sessions.load("acme", "s")).messages] == ["Say hello.", "Hello"]


async def asked_in_one_piece(world: World, request: TurnRequest, *, metered: bool = False) -> bool:
    async with world.running(request, METERED if metered else ACME) as turn:
        await turn.whole()
    return world.agent.turns[-1].in_one_piece


async def test_a_short_answer_that_nobody_sees_the_pieces_of_may_come_in_one() -> None:
    assert await asked_in_one_piece(World(), SHORT)


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(max_tokens=257)])
async def test_one_that_may_be_long_comes_in_pieces_lest_the_model_seems_silent(sampling: Sampling) -> None:
    assert not await asked_in_one_piece(World(), msgspec.structs.replace(SHORT, sampling=sampling))


@pytest.mark.parametrize("mode", [CacheMode.DEFAULT, CacheMode.REFRESH])
async def test_one_that_is_kept_comes_in_the_pieces_in_which_it_is_replayed(mode: CacheMode) -> None:
    kept = msgspec.structs.replace(SHORT, cache=CacheControl(mode=mode))
    assert not await asked_in_one_piece(World(), kept)


async def test_one_that_is_metered_comes_in_pieces_that_are_counted() -> None:
    assert not await asked_in_one_piece(World(), SHORT, metered=True)


async def test_one_that_is_read_as_it_comes_does_come_in_pieces() -> None:
    world = World()
    assert await world.events(SHORT) == list(PRICED)
    assert not world.agent.turns[-1].in_one_piece


async def test_a_renewal_comes_in_pieces() -> None:
    world = World()
    stale = msgspec.structs.replace(SHORT, cache=asking(ttl_seconds=7).cache)
    await world.events(stale)
    await world.events(stale)
    await all_else_done()
    assert [turn.in_one_piece for turn in world.agent.turns] == [False, False]
