"""The binary form of an entry, which shows every kind of corruption.

A seal (format version, digest of the key and of all that follows), a head of fixed length, and a body: the tags and
the events, both packed. The body may be compressed with zstd. Numbers are big-endian.
"""

import hashlib
import struct
from typing import NamedTuple

import zstandard

from services.cache.entry import Entry, Worth
from services.cache.events import Events
from services.cache.levels.level import CorruptEntryError

COMPRESSED_FROM_BYTES = 1024
"""A body up to this size is never compressed: there is little to win."""
COMPRESSED_MAX_BYTES = 64 * 1024 * 1024
"""A body beyond this size is never compressed, so that no few bytes can ask for more memory than this."""

_VERSION = 2
_ZSTD_LEVEL = 1
"""Twice as fast as the default, and a tenth larger."""
_DIGEST_BYTES = 16
_SEAL = struct.Struct(f">B{_DIGEST_BYTES}s")
_HEAD = struct.Struct(">?dddQQQdHI")


class _Head(NamedTuple):
    """The fields of _HEAD."""

    compressed: bool
    created: float
    ttl_seconds: float
    stale_seconds: float
    generation: int
    input_tokens: int
    output_tokens: int
    cost_usd: float
    tags_bytes: int
    """How much of the body is tags; at most 64 KB."""
    body_bytes: int
    """Before compression."""


def encode(key: str, entry: Entry, *, compress: bool) -> bytes:
    """The binary form. It is bound to `key`: read under another, it is corrupt.

    With `compress`, a body that is larger than 1 KB is compressed if that makes it smaller.
    """
    tags = Events.of(tag.encode() for tag in entry.tags).packed
    body = tags + entry.events.packed
    kept = _compressed(body) if compress else body
    head = _Head(
        compressed=kept is not body,
        created=entry.created,
        ttl_seconds=entry.ttl_seconds,
        stale_seconds=entry.stale_seconds,
        generation=entry.generation,
        input_tokens=entry.worth.input_tokens,
        output_tokens=entry.worth.output_tokens,
        cost_usd=entry.worth.cost_usd,
        tags_bytes=len(tags),
        body_bytes=len(body),
    )
    sealed = _HEAD.pack(*head) + kept
    return _SEAL.pack(_VERSION, _digest(key, sealed)) + sealed


def decode(key: str, data: bytes) -> Entry:
    """The entry stored under `key`. Raises CorruptEntryError for anything but the bytes that `encode` made."""
    sealed = _unsealed(key, data)
    head = _Head(*_HEAD.unpack_from(sealed))
    kept = sealed[_HEAD.size :]
    body = memoryview(_decompressed(kept, head.body_bytes)) if head.compressed else kept
    if len(body) != head.body_bytes:
        raise CorruptEntryError("the body has another length than the head says")
    if head.tags_bytes > head.body_bytes:
        raise CorruptEntryError("the body is too short for its tags")
    return Entry(
        events=_events(body[head.tags_bytes :]),
        created=head.created,
        ttl_seconds=head.ttl_seconds,
        stale_seconds=head.stale_seconds,
        generation=head.generation,
        tags=tuple(_text(tag) for tag in _events(body[: head.tags_bytes])),
        worth=Worth(input_tokens=head.input_tokens, output_tokens=head.output_tokens, cost_usd=head.cost_usd),
    )


def _unsealed(key: str, data: bytes) -> memoryview:
    """What the seal vouches for: a head, and whatever follows."""
    if len(data) < _SEAL.size + _HEAD.size:
        raise CorruptEntryError("the bytes are too few for an entry")
    version, digest = _SEAL.unpack_from(data)
    if version != _VERSION:
        raise CorruptEntryError(f"format version {version} is not known here")
    sealed = memoryview(data)[_SEAL.size :]
    if digest != _digest(key, sealed):
        raise CorruptEntryError("the checksum differs")
    return sealed


def _compressed(body: bytes) -> bytes:
    """The same object if it is not worth compressing."""
    if not COMPRESSED_FROM_BYTES < len(body) <= COMPRESSED_MAX_BYTES:
        return body
    frame = zstandard.compress(body, _ZSTD_LEVEL)
    return frame if len(frame) < len(body) else body


def _decompressed(frame: memoryview, size_bytes: int) -> bytes:
    """Never takes more memory than a body may, whatever the frame says of itself."""
    try:
        if size_bytes > COMPRESSED_MAX_BYTES or zstandard.frame_content_size(frame) != size_bytes:
            raise CorruptEntryError("the size of the compressed body is wrong")
        return zstandard.ZstdDecompressor().decompress(frame, max_output_size=size_bytes, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise CorruptEntryError("the body cannot be decompressed") from error


def _events(packed: memoryview) -> Events:
    try:
        return Events.from_packed(bytes(packed))
    except ValueError as error:
        raise CorruptEntryError(f"what is packed in the body is wrong: {error}") from error


def _text(tag: bytes) -> str:
    try:
        return tag.decode()
    except UnicodeDecodeError as error:
        raise CorruptEntryError("a tag is no text") from error


def _digest(key: str, sealed: bytes | memoryview) -> bytes:
    digest = hashlib.blake2b(key.encode() + b"\n", digest_size=_DIGEST_BYTES)
    digest.update(sealed)
    return digest.digest()
