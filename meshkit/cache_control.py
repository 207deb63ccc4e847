"""What may be asked of the cache: the rules for keys, tags and times to live, the same at every door."""

import re
from collections.abc import Collection

from meshkit.errors import field_invalid

MAX_TAGS = 16
MAX_TTL_SECONDS = 7 * 24 * 3600
TAG_PATTERN = "[A-Za-z0-9._:-]{1,64}"

_TAG = re.compile(TAG_PATTERN)
_TAG_FORM = "1 to 64 of A-Z a-z 0-9 . _ : -"
_KEY = re.compile("[0-9a-fA-F]{64}")


def canonical_key(field: str, key: str) -> str:
    """The key in lower case: its case does not matter. Raises ShoalError FIELD_INVALID."""
    if not _KEY.fullmatch(key):
        raise field_invalid(field, "be 64 hexadecimal digits")
    return key.lower()


def check_tag(field: str, tag: str) -> None:
    """Raises ShoalError FIELD_INVALID."""
    if not _TAG.fullmatch(tag):
        raise field_invalid(field, f"be {_TAG_FORM}")


def check_tags(field: str, tags: Collection[str]) -> None:
    """Raises ShoalError FIELD_INVALID for too many, and for one that is no tag."""
    if len(tags) > MAX_TAGS or not all(map(_TAG.fullmatch, tags)):
        raise field_invalid(field, f"hold at most {MAX_TAGS} tags, each {_TAG_FORM}")


def tags_in(listed: str) -> list[str]:
    """Tags that are separated by commas, with or without spaces."""
    return [tag for item in listed.split(",") if (tag := item.strip(" \t"))]


def check_ttl_seconds(field: str, seconds: int) -> None:
    """Raises ShoalError FIELD_INVALID."""
    if not 1 <= seconds <= MAX_TTL_SECONDS:
        raise field_invalid(field, f"be 1 to {MAX_TTL_SECONDS}")
