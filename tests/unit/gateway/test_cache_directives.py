"""What a request says of the cache: the headers as RFC 9111 has them, and with what the body says."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from meshkit.errors import Reason, ShoalError
from services.gateway.cache_directives import combined
from services.gateway.shapes import CacheMode, CacheShape

Lines = list[tuple[str, str]]
SAYING: dict[CacheMode, str] = {
    "default": "max-age=60",
    "bypass": "no-store",
    "refresh": "no-cache",
    "only": "only-if-cached",
}


def headers(lines: Lines) -> Headers:
    return Headers(raw=[(name.lower().encode(), value.encode("latin-1")) for name, value in lines])


def mode(*lines: tuple[str, str], asked: CacheMode = "default") -> CacheMode:
    return combined(CacheShape(mode=asked), headers(list(lines))).mode


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", "default"),
        ("no-store", "bypass"),
        ("no-cache", "refresh"),
        ("max-age=0", "refresh"),
        ("only-if-cached", "only"),
        ("No-Store", "bypass"),
        ("MAX-AGE=0", "refresh"),
        ("  no-store\t", "bypass"),
        (",, ,no-store ,,", "bypass"),
        ("max-age=0,no-store", "bypass"),
        ("no-transform, no-cache", "refresh"),
        ('max-age="0"', "refresh"),
        (r'max-age="\0"', "refresh"),
        ("max-age=000", "refresh"),
        ("max-age=60, max-age=0", "refresh"),
        ("max-age=60", "default"),
        ("max-age=10", "default"),
        ("max-age", "default"),
        ("max-age=", "default"),
        ("max-age=-0", "default"),
        ("max-age=0.5", "default"),
        ('max-age=""', "default"),
        ('max-age="', "default"),
        ("s-maxage=0, max-stale=0, min-fresh=0", "default"),
        ("no-store=1", "bypass"),
        ('no-cache="set-cookie"', "refresh"),
        ("x-no-store", "default"),
        ("no-store-please", "default"),
        ("nostore, no_store, no store", "default"),
        ('ext="no-store"', "default"),
        ('ext="a, no-store, b"', "default"),
        (r'ext="a \", no-store, b", no-cache', "refresh"),
        ('ext="never closed, no-store', "default"),
        ('no-cache, ext="never closed', "refresh"),
        ('"no-store"', "default"),
        ("=no-store", "default"),
        ("no-store\xa0", "default"),
    ],
)
def test_a_line_of_cache_control(line: str, expected: CacheMode) -> None:
    assert mode(("Cache-Control", line)) == expected


def test_several_lines_are_one_list_and_an_open_quote_ends_with_its_line() -> None:
    assert mode(("Cache-Control", "max-age=60"), ("cache-control", "no-transform, no-cache")) == "refresh"
    assert mode(("Cache-Control", 'ext="open'), ("Cache-Control", "no-store")) == "bypass"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([("Pragma", "no-cache")], "refresh"),
        ([("Pragma", "x, No-Cache ")], "refresh"),
        ([("Pragma", "no-cache"), ("Cache-Control", "")], "refresh"),
        ([("Pragma", "no-cache"), ("Cache-Control", "max-age=60")], "default"),
        ([("Pragma", "no-cache"), ("Cache-Control", "only-if-cached")], "only"),
        ([("Pragma", "no-cache"), ("Cache-Control", "no-cache")], "refresh"),
        ([("Pragma", "no-store")], "default"),
        ([("Pragma", "max-age=0")], "default"),
    ],
)
def test_pragma_is_heeded_only_where_there_is_no_cache_control(lines: Lines, expected: CacheMode) -> None:
    assert mode(*lines) == expected


@pytest.mark.parametrize("asked", SAYING)
@pytest.mark.parametrize("said", SAYING)
def test_where_body_and_header_differ_bypass_wins_and_any_mode_wins_over_default(
    asked: CacheMode, said: CacheMode
) -> None:
    if {asked, said} != {"refresh", "only"}:
        strictest = next(each for each in ("bypass", "refresh", "only", "default") if each in (asked, said))
        assert mode(("Cache-Control", SAYING[said]), asked=asked) == strictest


@pytest.mark.parametrize(("asked", "said"), [("refresh", "only"), ("only", "refresh")])
def test_to_compute_and_not_to_compute_at_once_is_refused(asked: CacheMode, said: CacheMode) -> None:
    with pytest.raises(ShoalError) as raised:
        mode(("Cache-Control", SAYING[said]), asked=asked)
    assert (raised.value.reason, raised.value.field) == (Reason.FIELD_INVALID, "cache.mode")


def test_refresh_and_only_in_one_header_are_refused_unless_bypass_wins_over_both() -> None:
    with pytest.raises(ShoalError) as raised:
        mode(("Cache-Control", "only-if-cached, max-age=0"))
    assert raised.value.field == "cache.mode"
    assert mode(("Cache-Control", "only-if-cached, max-age=0, no-store")) == "bypass"
    assert mode(("Cache-Control", "only-if-cached, max-age=0"), asked="bypass") == "bypass"


def test_tags_of_header_and_body_are_put_together_once_each_and_in_their_order() -> None:
    lines = [("Shoal-Cache-Tags", " b,c\t, ,"), ("shoal-cache-tags", "d,a"), ("Shoal-Cache-Tags", "")]
    assert combined(CacheShape(tags=["a", "b", "a"]), headers(lines)).tags == ["a", "b", "c", "d"]


def test_headers_leave_the_rest_as_it_was_asked() -> None:
    asked = CacheShape(mode="refresh", ttl_seconds=60, tags=["a"], public=True)
    assert combined(asked, headers([])) == asked
    said = combined(asked, headers([("Cache-Control", "no-store, max-age=5"), ("Shoal-Cache-Tags", "b")]))
    assert said == CacheShape(mode="bypass", ttl_seconds=60, tags=["a", "b"], public=True)


@given(line=st.text(st.characters(codec="latin-1", exclude_characters="\r\n"), max_size=40))
def test_no_line_is_a_fault_of_ours(line: str) -> None:
    assert mode(("Cache-Control", line), ("Pragma", line), ("Shoal-Cache-Tags", line)) in get_args(CacheMode)


@pytest.mark.parametrize("line", ['"', r"\"", r'"\"', '"a', ",", '",', "no-store ", '"a" '])
def test_a_line_as_long_as_it_may_be_is_read_in_one_pass(line: str) -> None:
    assert mode(("Cache-Control", line * 20_000)) in get_args(CacheMode)
