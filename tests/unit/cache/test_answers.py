"""What the cache does with answers, over levels, log and leases in memory."""

from dataclasses import replace

from services.cache.answers import JITTER, Hit
from services.cache.entry import Worth
from services.cache.events import Events
from services.cache.eviction.recency_frequency import RecencyFrequency
from services.cache.generations.scopes import key_scope
from services.cache.levels.memory_level import MemoryLevel
from services.cache.place import Place
from services.cache.policies import LevelName, PolicyName
from tests.unit.cache.processes import KEY, PLACE, POLICIES, STALE, TTL, Shared, new_process


async def test_who_opens_first_leads_and_then_finds_what_it_kept() -> None:
    process = await new_process()
    entry = await process.keep(await process.lead(), b"one", b"two", tags=["news"])
    assert entry
    assert (entry.events, entry.tags) == (Events.of([b"one", b"two"]), ("news",))
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
        assert (await process.hit(place)).entry.events == Events.of([place.key.encode()])


async def test_a_refresh_leads_although_there_is_an_answer_and_replaces_it() -> None:
    process = await new_process()
    await process.keep(await process.lead(), b"old")
    await process.keep(await process.lead(refresh=True), b"new")
    assert (await process.hit()).entry.events == Events.of([b"new"])
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
    assert (await process.hit(context)).entry.events == Events.of(turns[2:])


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


async def test_who_is_given_a_stale_answer_and_computes_it_anew_saves_nothing() -> None:
    shared = Shared()
    process = await new_process(shared)
    await process.keep(await process.lead(), worth=Worth(100, 20, 0.5))
    shared.now += TTL
    assert [(await process.hit()).renewal is not None for _ in range(3)] == [True, False, False]
    counts = process.counts[PolicyName.RESPONSE]
    assert (counts.hits, counts.saved) == (3, Worth(200, 40, 1.0))


async def test_the_hits_of_the_levels_add_up_to_those_of_the_policy() -> None:
    shared = Shared()
    one, other = await new_process(shared), await new_process(shared)
    await one.keep(await one.lead(), b"old")
    await other.hit()
    shared.now += TTL
    renewal = (await one.hit()).renewal
    assert renewal
    await other.hit()
    await one.keep(renewal, b"new")
    await other.hit()
    await other.hit()
    for process, expected in ((one, [1, 0]), (other, [2, 2])):
        counts = process.counts[PolicyName.RESPONSE]
        assert [each.hits for each in counts.levels.values()] == expected
        assert counts.hits == sum(expected)


async def test_one_caller_of_all_is_asked_to_renew_a_stale_answer() -> None:
    shared = Shared()
    one, other = await new_process(shared), await new_process(shared)
    await one.keep(await one.lead(), b"old")
    shared.now += TTL
    hits = [await process.hit() for process in (one, other, one, other)]
    assert {hit.entry.events for hit in hits} == {Events.of([b"old"])}
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
        assert (hit.entry.events, hit.renewal) == (Events.of([b"new"]), None)


async def test_a_renewal_that_never_comes_is_asked_of_another_after_a_while() -> None:
    shared = Shared()
    process = await new_process(shared)
    await process.keep(await process.lead())
    shared.now += TTL
    assert (await process.hit()).renewal
    shared.now += POLICIES[PolicyName.RESPONSE].renewal_seconds - 1
    assert not (await process.hit()).renewal
    shared.now += 1
    assert (await process.hit()).renewal


async def test_who_does_not_compute_is_not_asked_to_renew_and_leaves_it_to_another() -> None:
    shared = Shared()
    process = await new_process(shared)
    await process.keep(await process.lead())
    shared.now += TTL
    assert not (await process.hit(only=True)).renewal
    assert (await process.hit()).renewal


async def test_an_answer_computed_after_an_invalidation_replaces_one_whose_clock_is_ahead() -> None:
    shared = Shared()
    one, ahead = await new_process(shared), await new_process(shared)
    shared.now += 30
    await ahead.keep(await ahead.lead(), b"old")
    await one.hit()
    shared.now -= 30
    await one.watcher.invalidate(key_scope("acme", KEY))
    await one.keep(await one.lead(), b"new")
    hit = await one.hit()
    assert (list(hit.entry.events), hit.level) == ([b"new"], LevelName.L1)


async def test_beyond_its_stale_time_an_answer_is_gone() -> None:
    shared = Shared()
    process = await new_process(shared)
    entry = await process.keep(await process.lead())
    assert entry
    shared.now += entry.ttl_seconds + STALE - 0.1
    await process.hit()
    shared.now += 0.2
    await process.lead()


async def test_an_inspection_tells_what_each_level_has_and_whether_it_is_invalidated() -> None:
    shared = Shared()
    one, other = await new_process(shared), await new_process(shared)
    entry = await one.keep(await one.lead())
    seen = await one.answers.inspect(PLACE, shared.now)
    assert [(each.level, each.entry, each.is_invalidated) for each in seen.shown] == [
        (LevelName.L1, entry, False),
        (LevelName.L2, entry, False),
    ]
    await one.watcher.invalidate(key_scope("acme", KEY))
    await other.watcher.hear()
    assert [(each.level, each.is_invalidated) for each in (await other.answers.inspect(PLACE, shared.now)).shown] == [
        (LevelName.L2, True)
    ]
    assert other.counts[PolicyName.RESPONSE].look_ups == 0
