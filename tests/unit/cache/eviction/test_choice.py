"""The policies that a setting offers."""

from services.cache.eviction.choice import EvictionName, eviction_named
from services.cache.eviction.recency_frequency import RecencyFrequency
from services.cache.eviction.s3_fifo import S3Fifo


def test_every_name_gives_its_policy() -> None:
    assert {name: type(eviction_named(name)) for name in EvictionName} == {
        "recency_frequency": RecencyFrequency,
        "s3_fifo": S3Fifo,
    }


def test_each_is_a_new_one() -> None:
    for name in EvictionName:
        eviction_named(name).stored("key", 0.0)
        assert not eviction_named(name).victims(0.0)
