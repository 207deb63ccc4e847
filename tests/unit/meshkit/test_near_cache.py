"""How long what was found is repeated, who is sent to ask anew, and how much room it takes."""

from meshkit.near_cache import ENTRY_BYTES, Near, NearCache


def near_cache(*, seconds: float = 0.5, entries: int = 10) -> NearCache[str]:
    """One with room for so many entries of 100 bytes."""
    return NearCache(seconds=seconds, max_bytes=entries * (100 + ENTRY_BYTES))


def test_what_was_kept_is_found_with_the_time_since_the_cache_was_asked() -> None:
    cache = near_cache()
    cache.keep("key", "answer", asked_at=100.0, size=100)
    assert cache.find("key", 100.125) == Near("answer", 0.125)
    assert cache.find("other", 100.125) is None


def test_its_life_counts_from_the_question_to_the_cache() -> None:
    cache = near_cache()
    cache.keep("key", "answer", asked_at=100.0, size=100)
    cache.find("key", 100.49)
    assert cache.find("key", 100.499) is not None
    assert cache.find("key", 100.5) is None


def test_half_way_one_is_sent_to_the_cache_and_the_others_find_what_there_is() -> None:
    cache = near_cache()
    cache.keep("key", "old", asked_at=100.0, size=100)
    assert cache.find("key", 100.25) is not None
    assert cache.find("key", 100.28125) is None
    assert cache.find("key", 100.28125) == Near("old", 0.28125)
    cache.keep("key", "new", asked_at=100.28125, size=100)
    assert cache.find("key", 100.5) == Near("new", 0.21875)
    assert cache.find("key", 100.5625) is None, "the new one is renewed in its turn"


def test_where_that_one_brings_nothing_another_is_sent() -> None:
    cache = near_cache()
    cache.keep("key", "old", asked_at=100.0, size=100)
    asked = [moment for moment in range(300, 500, 10) if cache.find("key", 100 + moment / 1000) is None]
    assert asked == [300, 360, 420, 480]


def test_a_late_reply_does_not_take_the_place_of_a_later_one() -> None:
    cache = near_cache()
    cache.keep("key", "later", asked_at=100.125, size=100)
    cache.keep("key", "earlier", asked_at=100.0, size=100)
    assert cache.find("key", 100.25) == Near("later", 0.125)


def test_what_was_forgotten_does_not_come_back_with_a_reply_that_was_on_its_way() -> None:
    cache = near_cache()
    cache.keep("key", "old", asked_at=100.0, size=100)
    cache.forget("key", 100.125)
    assert cache.find("key", 100.125) is None
    cache.keep("key", "asked for before", asked_at=100.0625, size=100)
    assert cache.find("key", 100.125) is None
    cache.keep("key", "asked for since", asked_at=100.125, size=100)
    assert cache.find("key", 100.25) == Near("asked for since", 0.125)


def test_the_oldest_make_room() -> None:
    cache = near_cache(entries=2)
    for number, key in enumerate(["first", "second", "third"]):
        cache.keep(key, key, asked_at=100 + number / 1000, size=100)
    found = [key for key in ("first", "second", "third") if cache.find(key, 100.01)]
    assert found == ["second", "third"]
    assert cache.size_bytes == 2 * (100 + ENTRY_BYTES)


def test_what_is_over_goes_when_something_new_comes() -> None:
    cache = near_cache(entries=10)
    for key in ("first", "second"):
        cache.keep(key, key, asked_at=100.0, size=100)
    cache.keep("third", "third", asked_at=100.5, size=100)
    assert cache.size_bytes == 100 + ENTRY_BYTES


def test_one_larger_than_all_the_room_is_not_kept_and_moves_no_other_out() -> None:
    cache = near_cache(entries=1)
    cache.keep("small", "small", asked_at=100.0, size=100)
    cache.keep("large", "large", asked_at=100.0, size=101)
    assert cache.find("large", 100.1) is None
    assert cache.find("small", 100.1) is not None


def test_the_same_key_takes_its_room_once() -> None:
    cache = near_cache()
    for moment in (100.0, 100.1, 100.2):
        cache.keep("key", "answer", asked_at=moment, size=100)
    assert cache.size_bytes == 100 + ENTRY_BYTES


def test_switched_off_nothing_is_kept() -> None:
    cache = near_cache(seconds=0)
    cache.keep("key", "answer", asked_at=100.0, size=100)
    cache.forget("other", 100.0)
    assert cache.find("key", 100.0) is None
    assert cache.size_bytes == 0
