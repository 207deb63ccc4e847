"""The port of a level: a place that keeps entries, near or far."""

from dataclasses import dataclass
from typing import Protocol

from services.cache.entry import Entry
from services.cache.policies import Policy


class LevelUnavailableError(Exception):
    """A level cannot be used now; the caller goes on without it."""


class CorruptEntryError(Exception):
    """What a level holds under the key is no entry of this key and format. It counts as a miss."""


@dataclass(frozen=True, slots=True)
class Holdings:
    """What a level of this process's own holds."""

    entries: int = 0
    size_bytes: int = 0
    evictions: int = 0
    """Entries removed to make room, since the start."""


class Level(Protocol):
    """Keeps entries under storage keys. `now` is Unix time in seconds.

    A level does not know of invalidations: who asks it checks what it gives.
    """

    async def get(self, key: str, now: float) -> Entry | None:
        """The entry, if there is one that is still live. Raises LevelUnavailableError and CorruptEntryError."""

    async def put(self, key: str, entry: Entry, policy: Policy, now: float, *, promoted: bool = False) -> bool:
        """Keeps the entry until it expires or has to make room. Raises LevelUnavailableError.

        False if it is not kept: it has expired, or does not belong at this level. One that is `promoted` was found at
        another level: it replaces none that is newer, which another may have stored meanwhile. Of `policy`, a level
        minds only how entries are written (compression).
        """

    def holdings(self) -> Holdings | None:
        """None if the level is shared: it does not know."""
