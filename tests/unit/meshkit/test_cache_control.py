"""The rules for keys, tags and times to live, the same at every door."""

from collections.abc import Callable

import pytest

from meshkit.cache_control import canonical_key, check_tag, check_tags, check_ttl_seconds, tags_in
from meshkit.errors import Reason, ShoalError


def refused(check: Callable[[], object]) -> tuple[Reason, str]:
    with pytest.raises(ShoalError) as caught:
        check()
    return caught.value.reason, caught.value.field


def test_the_case_of_a_key_does_not_matter() -> None:
    assert canonical_key("key", "AB" * 32) == canonical_key("key", "ab" * 32) == "ab" * 32


@pytest.mark.parametrize("key", ["", "a" * 63, "a" * 65, "g" * 64, "a" * 64 + "\n", "\u0661" * 64])
def test_what_is_no_key_is_refused(key: str) -> None:
    assert refused(lambda: canonical_key("part_of", key)) == (Reason.FIELD_INVALID, "part_of")


def test_sixteen_tags_of_the_form_are_taken() -> None:
    check_tag("tag", "A.z_0:-")
    check_tags("tags", [])
    check_tags("tags", ["t" * 64, *("t",) * 15])


@pytest.mark.parametrize("tag", ["", "t" * 65, "a b", "a/b", "a\n", "\u00e9", "\udc80"])
def test_what_is_no_tag_is_refused(tag: str) -> None:
    assert refused(lambda: check_tag("tag", tag)) == (Reason.FIELD_INVALID, "tag")
    assert refused(lambda: check_tags("cache.tags", ["fine", tag])) == (Reason.FIELD_INVALID, "cache.tags")


def test_seventeen_tags_are_too_many() -> None:
    assert refused(lambda: check_tags("tags", ["t"] * 17)) == (Reason.FIELD_INVALID, "tags")


def test_tags_are_listed_with_commas() -> None:
    assert tags_in(" b,c\t, ,b c,") == ["b", "c", "b c"]
    assert tags_in("") == []


def test_a_time_to_live_is_a_second_to_a_week() -> None:
    check_ttl_seconds("ttl_seconds", 1)
    check_ttl_seconds("ttl_seconds", 7 * 86_400)


@pytest.mark.parametrize("seconds", [-1, 0, 7 * 86_400 + 1])
def test_another_time_to_live_is_refused(seconds: int) -> None:
    assert refused(lambda: check_ttl_seconds("ttl_seconds", seconds)) == (Reason.FIELD_INVALID, "ttl_seconds")
