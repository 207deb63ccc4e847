"""Eviction by three queues."""

from services.cache.eviction.s3_fifo import S3Fifo

NOW = 0.0


def holding(*keys: str) -> S3Fifo:
    eviction = S3Fifo()
    for key in keys:
        eviction.stored(key, NOW)
    return eviction


def use(eviction: S3Fifo, key: str, times: int) -> None:
    for _ in range(times):
        eviction.used(key, NOW)


def gone(eviction: S3Fifo, count: int) -> list[str]:
    return [key for _ in range(count) for key in eviction.victims(NOW)]


def test_new_keys_go_in_the_order_in_which_they_were_stored() -> None:
    assert gone(holding("a", "b", "c"), 3) == ["a", "b", "c"]


def test_what_was_used_once_goes_and_what_was_used_twice_stays() -> None:
    eviction = holding("once", "twice", "other")
    use(eviction, "once", 1)
    use(eviction, "twice", 2)
    assert gone(eviction, 3) == ["once", "other", "twice"]


def test_a_key_that_comes_back_soon_outlives_new_ones() -> None:
    eviction = holding("back", "a", "b")
    assert gone(eviction, 1) == ["back"]
    eviction.stored("back", NOW)
    eviction.stored("c", NOW)
    assert gone(eviction, 3) == ["a", "b", "c"]


def test_a_key_that_comes_back_late_is_new_again() -> None:
    eviction = holding("late", "a", "b")
    assert gone(eviction, 3) == ["late", "a", "b"]
    for number in range(10):
        eviction.stored(str(number), NOW)
    gone(eviction, 10)
    eviction.stored("late", NOW)
    eviction.stored("new", NOW)
    assert gone(eviction, 1) == ["late"]


def test_what_expired_is_no_ghost() -> None:
    eviction = holding("expired", "a", "b")
    eviction.removed("expired")
    eviction.stored("expired", NOW)
    assert gone(eviction, 3) == ["a", "b", "expired"]


def test_a_scan_drives_out_nobody_who_is_used() -> None:
    eviction = holding(*(f"popular {number}" for number in range(90)), *(f"new {number}" for number in range(10)))
    for number in range(90):
        use(eviction, f"popular {number}", 2)
    for number in range(1000):
        assert not gone(eviction, 1)[0].startswith("popular")
        eviction.stored(f"scanned {number}", NOW)


def test_the_main_queue_passes_over_what_was_used_there_once_for_each_use() -> None:
    eviction = holding("a", "b", "c")
    for key in ("a", "b", "c"):
        use(eviction, key, 2)
    assert gone(eviction, 1) == ["a"]
    use(eviction, "b", 1)
    assert gone(eviction, 2) == ["c", "b"]


def test_uses_are_counted_up_to_three_so_fame_fades() -> None:
    eviction = holding("famous", "other")
    use(eviction, "famous", 2)
    assert gone(eviction, 1) == ["other"]
    use(eviction, "famous", 1000)
    went = []
    for number in range(100):
        eviction.stored(f"{number}", NOW)
        use(eviction, f"{number}", 2)
        went += gone(eviction, 1)
    assert "famous" in went
