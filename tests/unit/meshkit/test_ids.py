"""Ids that callers choose: their form."""

import pytest

from meshkit.ids import is_id


@pytest.mark.parametrize("text", ["s", "Ab.c_d:e-9", "x" * 128])
def test_ids_are_short_and_of_plain_letters(text: str) -> None:
    assert is_id(text)


@pytest.mark.parametrize("text", ["", "x" * 129, "two words", "t\u00e4g", "a/b", "s\n", "a,b"])
def test_other_text_is_no_id(text: str) -> None:
    assert not is_id(text)
