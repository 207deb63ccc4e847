"""What the cache does with answers that were invalidated, and with what they are made of."""

import pytest

from services.cache.answers import Lead
from services.cache.events import Events
from services.cache.generations.scopes import key_scope, tag_scope, tenant_scope
from services.cache.place import Place, Whole
from services.cache.policies import PolicyName
from tests.unit.cache.processes import KEY, OTHER_KEY, STALE, TTL, CacheProcess, Shared, new_process

SCOPES = {
    "key": key_scope("acme", KEY),
    "tag": tag_scope("acme", "news"),
    "tenant": tenant_scope("acme"),
}


@pytest.mark.parametrize("what", SCOPES)
async def test_what_is_invalidated_is_not_found_any_more_at_any_level_of_any_process(what: str) -> None:
    shared = Shared()
    one, other = await new_process(shared), await new_process(shared)
    await one.keep(await one.lead(), tags=["news"])
    await other.hit()
    await one.watcher.invalidate(SCOPES[what])
    await one.lead()
    await other.watcher.hear()
    lead = await other.lead()
    assert other.counts[PolicyName.RESPONSE].invalidated == 2, "near and far"
    assert await other.keep(lead, b"new", tags=["news"])
    assert (await one.hit()).entry.events == Events.of([b"new"])


@pytest.mark.parametrize(
    "scope",
    [
        key_scope("rival", KEY),
        tag_scope("rival", "news"),
        tenant_scope("rival"),
        tag_scope("acme", "sports"),
        key_scope("acme", OTHER_KEY),
    ],
)
async def test_other_answers_and_other_tenants_are_left_alone(scope: str) -> None:
    process = await new_process()
    await process.keep(await process.lead(), tags=["news"])
    await process.watcher.invalidate(scope)
    await process.hit()


@pytest.mark.parametrize("what", SCOPES)
async def test_a_computation_that_led_before_cannot_bring_the_old_answer_back(what: str) -> None:
    shared = Shared()
    one, other, deaf = [await new_process(shared) for _ in range(3)]
    lead = await one.lead()
    await other.watcher.invalidate(SCOPES[what])
    await one.watcher.hear()
    assert await one.keep(lead, tags=["news"]) is None
    assert one.counts[PolicyName.RESPONSE].invalidated == 1
    assert await deaf.keep(lead, tags=["news"]), "it has not heard yet, and cannot refuse"
    await other.lead()
    await deaf.watcher.hear()
    await deaf.lead()


async def test_nobody_outlives_invalidations_to_come_by_naming_a_later_generation() -> None:
    process = await new_process()
    await process.keep(Lead(2**64 - 1))
    await process.watcher.invalidate(SCOPES["key"])
    await process.lead()


PART = Place("acme", PolicyName.MODEL_OUTPUT, OTHER_KEY)


async def test_a_part_is_not_found_for_an_answer_that_was_invalidated_but_is_for_others() -> None:
    process = await new_process()
    await process.keep(await process.lead(PART), place=PART)
    await process.watcher.invalidate(key_scope("acme", KEY))
    await process.lead(PART, whole=Whole(KEY))
    await process.hit(PART, whole=Whole("ef" * 32))
    await process.hit(PART)


async def test_a_part_is_not_found_for_an_answer_with_a_tag_that_was_invalidated_but_is_for_others() -> None:
    process = await new_process()
    await process.keep(await process.lead(PART), place=PART)
    await process.watcher.invalidate(tag_scope("acme", "news"))
    await process.lead(PART, whole=Whole(KEY, tags=("sports", "news")))
    await process.hit(PART, whole=Whole(KEY, tags=("sports",)))
    await process.keep(await process.lead(PART, refresh=True), place=PART)
    await process.hit(PART, whole=Whole(KEY, tags=("news",)))


@pytest.mark.parametrize("what", SCOPES)
async def test_a_process_that_has_not_heard_of_an_invalidation_gives_no_old_part_to_an_answer_led_after_it(
    what: str,
) -> None:
    shared = Shared()
    leading, deaf = await new_process(shared), await new_process(shared)
    await deaf.keep(await deaf.lead(PART), place=PART)
    await leading.watcher.invalidate(SCOPES[what])
    whole = Whole(KEY, ("news",), (await leading.lead()).generation)
    lead = await deaf.lead(PART, whole=whole)
    assert lead.generation == whole.generation, "it has heard"
    await deaf.keep(lead, place=PART)
    await leading.hit(PART, whole=whole)


async def test_who_has_to_hear_first_finds_what_is_valid_all_the_same() -> None:
    shared = Shared()
    leading, deaf = await new_process(shared), await new_process(shared)
    await deaf.keep(await deaf.lead(PART), place=PART)
    await leading.watcher.invalidate(key_scope("rival", KEY))
    await deaf.hit(PART, whole=Whole(KEY, generation=(await leading.lead()).generation))


async def test_a_process_that_cannot_hear_so_far_looks_nothing_up() -> None:
    process = await new_process()
    await process.keep(await process.lead(PART), place=PART)
    latest = (await process.lead()).generation
    await process.hit(PART, whole=Whole(KEY, generation=latest))
    assert await process.lead(PART, whole=Whole(KEY, generation=latest + 1)) == Lead(latest)
    assert process.counts[PART.policy].misses == 2, "that is one of them"


@pytest.mark.parametrize("what", SCOPES)
async def test_who_leads_in_place_of_an_invalidated_answer_is_told_to_compute_anew_what_it_is_made_of(
    what: str,
) -> None:
    shared = Shared()
    one, other = await new_process(shared), await new_process(shared)
    first = await one.lead()
    assert not first.anew, "there was nothing"
    await one.keep(first, tags=["news"])
    await one.watcher.invalidate(SCOPES[what])
    await other.watcher.hear()
    for process in (one, other):
        lead = await process.lead()
        assert lead.anew
    await one.keep(lead)
    assert not (await other.lead(refresh=True)).anew
    shared.now += TTL + STALE
    assert not (await other.lead()).anew


async def test_a_process_that_has_heard_nothing_finds_and_keeps_nothing() -> None:
    shared = Shared()
    informed = await new_process(shared)
    await informed.keep(await informed.lead())
    process = CacheProcess(shared)
    lead = await process.lead()
    assert lead == Lead(0)
    counts = process.counts[PolicyName.RESPONSE]
    assert (counts.misses, counts.invalidated) == (1, 0)
    assert [level.misses for level in counts.levels.values()] == [0, 0], "no level is asked"
    assert await process.keep(lead) is None
    await process.watcher.hear()
    await process.hit()
