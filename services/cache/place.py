"""Where an answer belongs: to a tenant, under a policy and a key."""

from collections.abc import Iterable
from dataclasses import dataclass

from services.cache.generations.scopes import scopes_of
from services.cache.policies import PolicyName


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

    def scopes(self, tags: Iterable[str], *, part_of: str = "") -> tuple[str, ...]:
        """Everything whose invalidation concerns the answer here with these tags, asked for as a part of another."""
        keys = (self.key, part_of) if part_of else (self.key,)
        return scopes_of(self.tenant, keys=keys, tags=tags)
