"""The events of an answer in one piece: a hit hands them on without an object for each."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_FIELD = 0x0A
"""Field number 1, of a kind that has a length."""
_BITS = 7
"""Each byte of a length has so many bits of it, the lowest first."""
_MORE = 1 << _BITS
"""Set in each byte of a length but the last."""
_LENGTH_MAX_BYTES = 5
_SHORT_FRONTS = tuple([bytes((_FIELD, size)) for size in range(_MORE)])
"""What stands before the events whose length takes one byte: most of a stream."""


@dataclass(frozen=True, slots=True)
class Events:
    """`packed` is protobuf's wire form of a `repeated bytes` field with the number 1: before each event the field's
    byte and the event's length as a varint (https://protobuf.dev/programming-guides/encoding)."""

    packed: bytes

    @classmethod
    def of(cls, events: Iterable[bytes]) -> "Events":
        return cls(b"".join([part for event in events for part in (_front(len(event)), event)]))

    @classmethod
    def from_packed(cls, packed: bytes) -> "Events":
        """Raises ValueError for anything but the packed bytes of some events."""
        for _ in _bounds(packed):
            pass
        return cls(packed)

    def __iter__(self) -> Iterator[bytes]:
        return (self.packed[start:end] for start, end in _bounds(self.packed))

    @property
    def size_bytes(self) -> int:
        return len(self.packed)


def event_bytes(event: bytes) -> int:
    """What one event adds to the size of its answer."""
    size = len(event)
    return len(_front(size)) + size


def _front(size: int) -> bytes:
    """What stands before an event of that size."""
    if size < _MORE:
        return _SHORT_FRONTS[size]
    front = bytearray((_FIELD,))
    while size >= _MORE:
        front.append(_MORE | size % _MORE)
        size >>= _BITS
    front.append(size)
    return bytes(front)


def _bounds(packed: bytes) -> Iterator[tuple[int, int]]:
    """Where each event starts and where it ends. Raises ValueError at the first that is none."""
    end, whole = 0, len(packed)
    while end < whole:
        if packed[end] == _FIELD and end + 1 < whole and packed[end + 1] < _MORE:
            start, size = end + 2, packed[end + 1]
        else:
            start, size = _read_front(packed, end)
        end = start + size
        if end > whole:
            raise ValueError("an event is longer than what is there of it")
        yield start, end


def _read_front(packed: bytes, place: int) -> tuple[int, int]:
    """Where the event starts that has its front there, and its size. Raises ValueError if that is not its front."""
    size = 0
    for number, byte in enumerate(packed[place + 1 : place + 1 + _LENGTH_MAX_BYTES]):
        size |= (byte % _MORE) << (number * _BITS)
        if byte < _MORE:
            break
    front = _front(size)
    if not packed.startswith(front, place):
        raise ValueError(f"no event begins at byte {place}")
    return place + len(front), size
