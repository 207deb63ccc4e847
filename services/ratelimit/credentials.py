"""The API keys that a request carries in its headers."""

MALFORMED = ""
"""Stands for a credential that is no API key at all, such as another scheme of Authorization."""


def keys_in(*, x_api_key: str | None, authorization: str | None) -> frozenset[str]:
    """The different keys in the values of both headers; None for a header that is not there.

    A header sent several times arrives as its values joined by commas.
    """
    keys = [] if x_api_key is None else [value.strip() for value in x_api_key.split(",")]
    if authorization is not None:
        keys += [_bearer_key(value) for value in authorization.split(",")]
    return frozenset(keys)


def _bearer_key(value: str) -> str:
    scheme, _, key = value.strip().partition(" ")
    return key.strip() if scheme.lower() == "bearer" else MALFORMED
