"""The port of eviction: who is told how keys are used, and says which of them make room."""

from collections.abc import Sequence
from typing import ClassVar, Protocol


class Eviction(Protocol):
    """Knows the keys that a level holds, and their use. `now` is Unix time in seconds."""

    KEY_BYTES: ClassVar[int]
    """The memory that a key that is held takes here, the key itself apart."""

    def stored(self, key: str, now: float) -> None:
        """The key is held from now on, or what is held under it was replaced."""

    def used(self, key: str, now: float) -> None:
        """A key that is held was found by a look-up."""

    def removed(self, key: str) -> None:
        """A key that is held went for another reason than `victims`: it had expired."""

    def victims(self, now: float) -> Sequence[str]:
        """Lets go of the keys that make room: at least one, if any is held. The caller removes what they hold."""
