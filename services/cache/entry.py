"""An answer as it is kept: events, when it was made, how long it lives, and a binary form that shows corruption."""

import hashlib
import struct
from dataclasses import dataclass
from itertools import accumulate, pairwise

_VERSION = 1
_DIGEST_BYTES = 16
_SEAL = struct.Struct(f">B{_DIGEST_BYTES}s")
"""Format version; digest of the key and of all that follows."""
_HEAD = struct.Struct(">ddI")
"""Created, time to live, number of events. Then the length of each event, then the events."""
_LENGTH = struct.Struct(">I")


class UnreadableEntryError(Exception):
    """Bytes that are no entry of this key and format."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One stored answer."""

    events: tuple[bytes, ...]
    created: float
    """Unix time in seconds."""
    ttl_seconds: float

    @property
    def expires(self) -> float:
        """Unix time in seconds; from then on the entry is no answer any more."""
        return self.created + self.ttl_seconds

    @property
    def size_bytes(self) -> int:
        """The length of its binary form."""
        return EMPTY_BYTES + sum(map(event_bytes, self.events))

    def is_live(self, now: float) -> bool:
        return now < self.expires

    def age_seconds(self, now: float) -> float:
        """Never negative, even if the clock of whoever made the entry is ahead."""
        return max(0.0, now - self.created)


EMPTY_BYTES = _SEAL.size + _HEAD.size
"""The size of an entry without events."""


def event_bytes(event: bytes) -> int:
    """What one event adds to the size of its entry."""
    return _LENGTH.size + len(event)


def encode(key: str, entry: Entry) -> bytes:
    """The binary form. It is bound to `key`: read under another, it is unreadable."""
    lengths = struct.pack(f">{len(entry.events)}I", *map(len, entry.events))
    body = b"".join((_HEAD.pack(entry.created, entry.ttl_seconds, len(entry.events)), lengths, *entry.events))
    return _SEAL.pack(_VERSION, _digest(key, body)) + body


def decode(key: str, data: bytes) -> Entry:
    """The entry stored under `key`. Raises UnreadableEntryError for anything but the bytes that `encode` made."""
    if len(data) < EMPTY_BYTES:
        raise UnreadableEntryError("the bytes are too few for an entry")
    version, digest = _SEAL.unpack_from(data)
    if version != _VERSION:
        raise UnreadableEntryError(f"format version {version} is not known here")
    body = memoryview(data)[_SEAL.size :]
    if digest != _digest(key, body):
        raise UnreadableEntryError("the checksum differs")
    created, ttl_seconds, count = _HEAD.unpack_from(body)
    lengths = struct.unpack_from(f">{count}I", body, _HEAD.size)
    bounds = accumulate(lengths, initial=_HEAD.size + count * _LENGTH.size)
    return Entry(tuple(bytes(body[start:end]) for start, end in pairwise(bounds)), created, ttl_seconds)


def _digest(key: str, body: bytes | memoryview) -> bytes:
    digest = hashlib.blake2b(key.encode() + b"\n", digest_size=_DIGEST_BYTES)
    digest.update(body)
    return digest.digest()
