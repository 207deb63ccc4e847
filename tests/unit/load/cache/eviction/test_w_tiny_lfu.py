"""Eviction by admission."""

from load.cache.eviction.w_tiny_lfu import WTinyLfu

NOW = 0.0


def popular(count: int) -> WTinyLfu:
    """Full of keys that were used three times."""
    eviction = WTinyLfu(max_entries=count)
    for number in range(count):
        eviction.stored(f"popular {number}", NOW)
        for _ in range(3):
            eviction.used(f"popular {number}", NOW)
    return eviction


def test_a_scan_drives_out_nobody_who_is_used() -> None:
    eviction = popular(100)
    eviction.victims(NOW)
    eviction.stored("scanned", NOW)
    for number in range(200):
        assert eviction.victims(NOW)[0].startswith("scanned")
        eviction.stored(f"scanned {number}", NOW)


def test_who_is_seen_more_often_drives_out_who_is_seen_less() -> None:
    eviction = popular(100)
    eviction.victims(NOW)
    eviction.stored("rising", NOW)
    for _ in range(10):
        eviction.used("rising", NOW)
    for number in range(50):
        assert eviction.victims(NOW) != ["rising"]
        eviction.stored(f"scanned {number}", NOW)
