"""What the cache does with answers, over levels, log and leases in memory."""

from dataclasses import replace

import pytest

from services.cache.answers import JITTER, RENEWAL_SECONDS, Hit, Lead
from services.cache.entry import Worth
from services.cache.eviction.recency_frequency import RecencyFrequency
from services.cache.generations.scopes import key_scope, tag_scope, tenant_scope
from services.cache.levels.memory_level import MemoryLevel
from services.cache.place import Place, Whole
from services.cache.policies import LevelName, PolicyName
from tests.unit.cache.processes import KEY, OTHER_KEY, PLACE, CacheProcess, Shared, new_process

TTL = 3600
STALE = 300


async def test_who_opens_first_leads_and_then_finds_what_it_kept() -> None:
    process = await new_process()
    entry = await process.keep(await process.lead(), b"one", b"two", tags=["news"])
    assert entry
    assert (entry.events, entry.tags) == ((b"one", b"two"), ("news",))
    assert await process.hit() == Hit(entry, LevelName.L1)


async def test_another_tenant_and_another_kind_lead() -> None:
    process = await new_process()
    await process.keep(await process.lead())
    await process.lead(replace(PLACE, tenant="rival"))
    await process.lead(replace(PLACE, policy=PolicyName.TOOL_RESULT))


async def test_ten_thousand_keys_that_differ_in_one_digit_are_ten_thousand_answers() -> None:
    roomy = MemoryLevel(max_entries=20_000, max_bytes=10**8, eviction=RecencyFrequency())
    process = await new_process(Shared(far=roomy))
    places = [Place("acme", PolicyName.MODEL_OUTPUT, f"{number:04d}{KEY[4:]}") for number in range(10_000)]
    for place in places:
        await process.keep(await process.lead(place), place.key.encode(), place=place)
    for place in places:
        assert (await process.hit(place)).entry.events == (place.key.encode(),)


async def test_a_refresh_leads_although_there_is_an_answer_and_replaces_it() -> None:
    process = await new_process()
    await process.keep(await process.lead(), b"old")
    await process.keep(await process.lead(refresh=True), b"new")
    assert (await process.hit()).entry.events == (b"new",)
    assert process.counts[PolicyName.RESPONSE].look_ups == 2, "a refresh is no look-up"


async def test_an_answer_that_is_too_large_is_not_kept_and_is_counted() -> None:
    process = await new_process()
    assert await process.keep(await process.lead(), bytes(1001)) is None
    await process.lead()
    assert process.counts[PolicyName.RESPONSE].too_large == 1


async def test_of_a_conversation_the_last_turns_are_kept() -> None:
    process = await new_process()
    context = replace(PLACE, policy=PolicyName.CONVERSATION_CONTEXT)
    turns = [b"%d" % number for number in range(12)]
    await process.keep(await process.lead(context), *turns, place=context)
    assert (await process.hit(context)).entry.events == tuple(turns[2:])


async def test_times_to_live_are_a_little_shorter_than_promised_and_not_all_the_same() -> None:
    process = await new_process()
    lead = await process.lead()
    ttls = [entry.ttl_seconds for _ in range(50) if (entry := await process.keep(lead))]
    assert all(TTL * (1 - JITTER) <= ttl <= TTL for ttl in ttls)
    assert len(set(ttls)) > 40
    own = await process.keep(lead, ttl_seconds=100)
    assert own
    assert 100 * (1 - JITTER) <= own.ttl_seconds <= 100


async def test_the_tuned_time_to_live_is_the_one_that_is_used() -> None:
    process = await new_process()
    process.ttls[PolicyName.RESPONSE].seconds = 10
    entry = await process.keep(await process.lead())
    assert entry
    assert entry.ttl_seconds <= 10


async def test_hits_save_what_the_answer_took() -> None:
    process = await new_process()
    await process.keep(await process.lead(), worth=Worth(100, 20, 0.5))
    await process.hit()
    await process.hit()
    counts = process.counts[PolicyName.RESPONSE]
    assert counts.saved == Worth(200, 40, 1.0)
    assert (counts.hits, counts.stale_hits, counts.misses) == (2, 0, 1)


async def test_one_caller_of_all_is_asked_to_renew_a_stale_answer() -> None:
    shared = Shared()
    one, other = await new_process(shared), await new_process(shared)
    await one.keep(await one.lead(), b"old")
    shared.now += TTL
    hits = [await process.hit() for process in (one, other, one, other)]
    assert {hit.entry.events for hit in hits} == {(b"old",)}
    assert [hit.renewal is not None for hit in hits] == [True, False, False, False]
    assert one.counts[PolicyName.RESPONSE].stale_hits == 2


async def test_a_renewed_answer_is_found_fresh_by_every_process() -> None:
    shared = Shared()
    one, other = await new_process(shared), await new_process(shared)
    await one.keep(await one.lead(), b"old")
    await other.hit()
    shared.now += TTL
    renewal = (await one.hit()).renewal
    assert renewal
    await one.keep(renewal, b"new")
    for process in (one, other):
        hit = await process.hit()
        assert (hit.entry.events, hit.renewal) == ((b"new",), None)


async def test_a_renewal_that_never_comes_is_asked_of_another_after_a_while() -> None:
    shared = Shared()
    process = await new_process(shared)
    await process.keep(await process.lead())
    shared.now += TTL
    assert (await process.hit()).renewal
    shared.now += RENEWAL_SECONDS - 1
    assert not (await process.hit()).renewal
    shared.now += 1
    assert (await process.hit()).renewal


async def test_beyond_its_stale_time_an_answer_is_gone() -> None:
    shared = Shared()
    process = await new_process(shared)
    entry = await process.keep(await process.lead())
    assert entry
    shared.now += entry.ttl_seconds + STALE - 0.1
    await process.hit()
    shared.now += 0.2
    await process.lead()


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
    await one.answers.invalidate(SCOPES[what])
    await one.lead()
    await other.watcher.hear()
    lead = await other.lead()
    assert other.counts[PolicyName.RESPONSE].invalidated == 2, "near and far"
    assert await other.keep(lead, b"new", tags=["news"])
    assert (await one.hit()).entry.events == (b"new",)


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
    await process.answers.invalidate(scope)
    await process.hit()


@pytest.mark.parametrize("what", SCOPES)
async def test_a_computation_that_led_before_cannot_bring_the_old_answer_back(what: str) -> None:
    shared = Shared()
    one, other, deaf = [await new_process(shared) for _ in range(3)]
    lead = await one.lead()
    await other.answers.invalidate(SCOPES[what])
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
    await process.answers.invalidate(SCOPES["key"])
    await process.lead()


PART = Place("acme", PolicyName.MODEL_OUTPUT, OTHER_KEY)


async def test_a_part_is_not_found_for_an_answer_that_was_invalidated_but_is_for_others() -> None:
    process = await new_process()
    await process.keep(await process.lead(PART), place=PART)
    await process.answers.invalidate(key_scope("acme", KEY))
    await process.lead(PART, whole=Whole(KEY))
    await process.hit(PART, whole=Whole("ef" * 32))
    await process.hit(PART)


async def test_a_part_is_not_found_for_an_answer_with_a_tag_that_was_invalidated_but_is_for_others() -> None:
    process = await new_process()
    await process.keep(await process.lead(PART), place=PART)
    await process.answers.invalidate(tag_scope("acme", "news"))
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
    await leading.answers.invalidate(SCOPES[what])
    whole = Whole(KEY, ("news",), (await leading.lead()).generation)
    lead = await deaf.lead(PART, whole=whole)
    assert lead.generation == whole.generation, "it has heard"
    await deaf.keep(lead, place=PART)
    await leading.hit(PART, whole=whole)


async def test_who_has_to_hear_first_finds_what_is_valid_all_the_same() -> None:
    shared = Shared()
    leading, deaf = await new_process(shared), await new_process(shared)
    await deaf.keep(await deaf.lead(PART), place=PART)
    await leading.answers.invalidate(key_scope("rival", KEY))
    await deaf.hit(PART, whole=Whole(KEY, generation=(await leading.lead()).generation))


async def test_a_process_that_cannot_hear_so_far_looks_nothing_up() -> None:
    process = await new_process()
    await process.keep(await process.lead(PART), place=PART)
    latest = (await process.lead()).generation
    await process.hit(PART, whole=Whole(KEY, generation=latest))
    assert await process.lead(PART, whole=Whole(KEY, generation=latest + 1)) == Lead(latest)


@pytest.mark.parametrize("what", SCOPES)
async def test_who_leads_in_place_of_an_invalidated_answer_is_told_to_compute_anew_what_it_is_made_of(
    what: str,
) -> None:
    shared = Shared()
    one, other = await new_process(shared), await new_process(shared)
    first = await one.lead()
    assert not first.anew, "there was nothing"
    await one.keep(first, tags=["news"])
    await one.answers.invalidate(SCOPES[what])
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
    assert await process.keep(await process.lead()) is None
    await process.watcher.hear()
    await process.hit()


async def test_an_inspection_tells_what_each_level_has_and_whether_it_is_invalidated() -> None:
    shared = Shared()
    one, other = await new_process(shared), await new_process(shared)
    entry = await one.keep(await one.lead())
    seen = await one.answers.inspect(PLACE, shared.now)
    assert [(each.level, each.entry, each.is_invalidated) for each in seen.shown] == [
        (LevelName.L1, entry, False),
        (LevelName.L2, entry, False),
    ]
    await one.answers.invalidate(SCOPES["key"])
    await other.watcher.hear()
    assert [(each.level, each.is_invalidated) for each in (await other.answers.inspect(PLACE, shared.now)).shown] == [
        (LevelName.L2, True)
    ]
    assert other.counts[PolicyName.RESPONSE].look_ups == 0
