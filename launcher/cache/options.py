"""Kinds of options about the cache. What they take is checked by the rules that hold at every door."""

import contextlib
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import click

from meshkit import cache_control
from meshkit.errors import ShoalError


def key(text: str) -> str:
    """In lower case, as Envoy has to see it to find the process that keeps it. Raises click.BadParameter."""
    with _told_to_the_user():
        return cache_control.canonical_key("key", text)


def tag(text: str) -> str:
    """Raises click.BadParameter."""
    with _told_to_the_user():
        cache_control.check_tag("tag", text)
    return text


def tags(text: str) -> tuple[str, ...]:
    """Separated by commas. Raises click.BadParameter."""
    distinct = tuple(dict.fromkeys(cache_control.tags_in(text)))
    with _told_to_the_user():
        cache_control.check_tags("tags", distinct)
    return distinct


def policy(text: str) -> str:
    """A policy of the cache by its name in the settings. Raises click.BadParameter."""
    from launcher.cache.policies import POLICIES

    if text not in POLICIES:
        raise click.BadParameter(f"must be one of {', '.join(POLICIES)}.")
    return text


def tenant(text: str) -> str:
    """The name of a tenant, with or without an API key. Raises click.BadParameter."""
    from services.ratelimit.keys import TENANT_PATTERN

    if not re.fullmatch(TENANT_PATTERN, text):
        raise click.BadParameter("must be 1 to 64 of a-z 0-9 -, beginning with a letter.")
    return text


def address(text: str) -> str:
    """The address of a front door. Raises click.BadParameter."""
    if not _is_address(text):
        raise click.BadParameter("write http://host:port or https://host:port.")
    return text


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    has_host = bool(parts.hostname) and not parts.username and not re.search(r"\s", text)
    return parts.scheme in ("http", "https") and has_host and port != 0 and not parts.query and not parts.fragment


@contextlib.contextmanager
def _told_to_the_user() -> Iterator[None]:
    try:
        yield
    except ShoalError as error:
        raise click.BadParameter(error.message) from None
