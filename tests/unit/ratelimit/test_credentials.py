"""Keys in headers."""

import pytest

from services.ratelimit.credentials import MALFORMED, keys_in


@pytest.mark.parametrize(
    ("x_api_key", "authorization", "expected"),
    [
        (None, None, set()),
        ("a", None, {"a"}),
        (None, "Bearer a", {"a"}),
        (None, "bearer  a", {"a"}),
        ("a", "Bearer a", {"a"}),
        ("a,a", None, {"a"}),
        ("a", "Bearer b", {"a", "b"}),
        ("a, b", None, {"a", "b"}),
        (None, "Bearer a,Bearer b", {"a", "b"}),
        (None, "Basic YTpi", {MALFORMED}),
        (None, 'Digest username="a", realm="b"', {MALFORMED}),
        ("a", "Basic YTpi", {"a", MALFORMED}),
        (None, "Bearer", {MALFORMED}),
        ("", None, {MALFORMED}),
        (None, "", {MALFORMED}),
    ],
)
def test_the_different_keys_are_found(x_api_key: str | None, authorization: str | None, expected: set[str]) -> None:
    assert keys_in(x_api_key=x_api_key, authorization=authorization) == expected
