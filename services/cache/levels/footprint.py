"""What an entry takes of this process's memory."""

from services.cache.entry import Entry

OVERHEAD_BYTES = 672
"""What an entry costs besides its texts and bytes: the objects around them and its places in the tables."""

_TEXT_BYTES = 49
"""What CPython adds to the characters of an ASCII text."""
_BYTES_BYTES = 33
"""What CPython adds to bytes."""
_PLACE_BYTES = 8
"""A place in a tuple."""
_UNIT = 16
"""Memory is handed out in multiples of this."""


def footprint_bytes(key: str, entry: Entry) -> int:
    """The memory that an entry takes under its key, overhead included. Keys and tags are ASCII."""
    texts = sum([_allocated(_TEXT_BYTES + len(text)) + _PLACE_BYTES for text in (key, *entry.tags)])
    return OVERHEAD_BYTES + texts + _allocated(_BYTES_BYTES + entry.size_bytes)


def _allocated(size: int) -> int:
    return -(-size // _UNIT) * _UNIT
