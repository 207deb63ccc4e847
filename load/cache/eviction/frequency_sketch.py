"""How often keys were seen of late, roughly and in little memory.

A count-min sketch (Cormode, Muthukrishnan: An Improved Data Stream Summary. Journal of Algorithms 2005) with
conservative updates, whose counts are halved from time to time (Einziger, Friedman, Manes: TinyLFU. ACM Transactions on
Storage 2017).
"""

import zlib

ROWS = 4
COUNTS_PER_KEY = 4
"""How many counts a row has for each key that it is made for."""
MOST = 15
"""Counts go up to this."""
SEEN_PER_KEY = 10
"""After so many sightings for each key all counts are halved."""

_MULTIPLIERS = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93)
"""Odd 64-bit numbers: multiplied with a hash, each gives another row's place in the upper bits."""
_HASH_BITS = 64
_HALVES = bytes(count // 2 for count in range(256))


class FrequencySketch:
    """Made for about `keys` keys at a time. Counts are never too low, but for the halving."""

    def __init__(self, *, keys: int) -> None:
        width_bits = (keys * COUNTS_PER_KEY).bit_length()
        self._shift = _HASH_BITS - width_bits
        self._rows = [bytearray(1 << width_bits) for _ in range(ROWS)]
        self._seen_at_most = keys * SEEN_PER_KEY
        self._seen = 0

    def record(self, key: str) -> None:
        """One more sighting. It raises the lowest counts alone: the others are too high already."""
        places = self._places(key)
        lowest = min(row[place] for row, place in places)
        if lowest < MOST:
            for row, place in places:
                if row[place] == lowest:
                    row[place] += 1
        self._seen += 1
        if self._seen >= self._seen_at_most:
            self._halve()

    def count(self, key: str) -> int:
        return min(row[place] for row, place in self._places(key))

    def _places(self, key: str) -> list[tuple[bytearray, int]]:
        hashed = zlib.crc32(key.encode())
        return [
            (row, (hashed * multiplier & (1 << _HASH_BITS) - 1) >> self._shift)
            for row, multiplier in zip(self._rows, _MULTIPLIERS, strict=True)
        ]

    def _halve(self) -> None:
        self._rows = [row.translate(_HALVES) for row in self._rows]
        self._seen //= 2
