"""Where an answer belongs: to a tenant, under a policy and a key, and maybe to a larger answer."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from services.cache.generations.scopes import scopes_of
from services.cache.policies import PolicyName


@dataclass(frozen=True, slots=True)
class Whole:
    """The answer for which another one is looked up, as a part of it."""

    key: str = ""
    """64 hexadecimal digits in lower case; empty if the other one stands alone."""
    tags: tuple[str, ...] = ()
    """Those with which it is going to be kept."""
    generation: int = 0
    """That of its lead."""


ALONE = Whole()
"""For what is looked up for its own sake."""


@dataclass(frozen=True, slots=True)
class Place:
    """`tenant` is that of a verified identity, so that no caller can name another's answers."""

    tenant: str
    policy: PolicyName
    key: str
    """64 hexadecimal digits in lower case."""

    @property
    def storage_key(self) -> str:
        """`<tenant>/<policy>/<key>`. The last two parts hold no slash, so no two tenants share, whatever their names
        hold."""
        return f"{self.tenant}/{self.policy}/{self.key}"

    def scopes(self, tags: Iterable[str], whole: Whole = ALONE) -> Iterator[str]:
        """Everything whose invalidation concerns the answer here with these tags, when it is looked up for `whole`.

        They are put together when the first is read, and mostly none is: an answer's generation is enough.
        """
        keys = (self.key, whole.key) if whole.key else (self.key,)
        yield from scopes_of(self.tenant, keys=keys, tags=chain(tags, whole.tags))
