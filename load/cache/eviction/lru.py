"""Eviction of what was used least recently: the policy that others are compared with."""

from collections import OrderedDict
from typing import ClassVar


class Lru:
    """An Eviction of one key at a time, in constant time."""

    KEY_BYTES: ClassVar[int] = 128

    def __init__(self) -> None:
        self._keys: OrderedDict[str, None] = OrderedDict()

    def stored(self, key: str, now: float) -> None:
        self._keys[key] = None
        self._keys.move_to_end(key)

    def used(self, key: str, now: float) -> None:
        self._keys.move_to_end(key)

    def removed(self, key: str) -> None:
        del self._keys[key]

    def victims(self, now: float) -> list[str]:
        return [self._keys.popitem(last=False)[0]] if self._keys else []
