"""API keys: their form, their hash, and the port to where they are kept. Only the hash of a key is ever kept."""

import base64
import hashlib
import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Protocol

PREFIX = "sk-shoal-"
ENTROPY_BYTES = 32

TENANT_PATTERN = "[a-z][a-z0-9-]{0,63}"
"""The names of tenants, apart from those that begin as the tenants of callers without a key do."""

_FORM = re.compile(PREFIX + r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key without its secret. Times are Unix seconds."""

    id: str
    hash: str
    """SHA-256 of the secret, 64 hexadecimal digits. A secret has 256 random bits, so it needs no salt."""
    tenant: str
    tier: str
    name: str
    created: float
    revoked: float | None = None
    """When it was revoked; None while it is good."""


class KeyStore(Protocol):
    """Keeps keys. Every method raises ShoalError DATABASE_UNAVAILABLE if it cannot."""

    async def add(self, key: ApiKey) -> None:
        """Keeps a new key, and its tenant if that is new too."""
        ...

    async def find(self, key_hash: str) -> ApiKey | None:
        """The key with that hash, unless it is unknown or revoked."""
        ...

    async def find_many(self, hashes: Collection[str]) -> dict[str, ApiKey]:
        """Those of up to 500 hashes whose keys are good, with their keys."""
        ...

    async def recent(self, count: int) -> list[ApiKey]:
        """The youngest good keys, at most `count`; youngest first."""
        ...

    async def list_keys(self, *, tenant: str, include_revoked: bool) -> list[ApiKey]:
        """The keys of a tenant, or of all if that is empty; oldest first."""
        ...

    async def update(self, key_id: str, tier: str) -> ApiKey | None:
        """Moves a good key to another tier and returns it, or None if there is none."""
        ...

    async def revoke(self, key_id: str, now: float) -> ApiKey | None:
        """Revokes a key for good and returns it, or None if there is none. A second time changes nothing."""
        ...


class InMemoryKeyStore:
    """Keys of one process, gone when it ends."""

    def __init__(self) -> None:
        self._keys: dict[str, ApiKey] = {}

    async def add(self, key: ApiKey) -> None:
        self._keys[key.id] = key

    async def find(self, key_hash: str) -> ApiKey | None:
        return next((key for key in self._keys.values() if key.hash == key_hash and key.revoked is None), None)

    async def find_many(self, hashes: Collection[str]) -> dict[str, ApiKey]:
        return {key.hash: key for key in self._keys.values() if key.hash in hashes and key.revoked is None}

    async def recent(self, count: int) -> list[ApiKey]:
        return (await self.list_keys(tenant="", include_revoked=False))[::-1][:count]

    async def list_keys(self, *, tenant: str, include_revoked: bool) -> list[ApiKey]:
        chosen = [
            key
            for key in self._keys.values()
            if tenant in ("", key.tenant) and (include_revoked or key.revoked is None)
        ]
        return sorted(chosen, key=lambda key: (key.created, key.id))

    async def update(self, key_id: str, tier: str) -> ApiKey | None:
        key = self._keys.get(key_id)
        if key is None or key.revoked is not None:
            return None
        self._keys[key_id] = replace(key, tier=tier)
        return self._keys[key_id]

    async def revoke(self, key_id: str, now: float) -> ApiKey | None:
        key = self._keys.get(key_id)
        if key is not None and key.revoked is None:
            key = self._keys[key_id] = replace(key, revoked=now)
        return key


def new_secret(entropy: bytes) -> str:
    """The key that a caller sends, from 32 random bytes."""
    if len(entropy) != ENTROPY_BYTES:
        raise ValueError(f"a key is made from {ENTROPY_BYTES} random bytes, not {len(entropy)}")
    return PREFIX + base64.urlsafe_b64encode(entropy).rstrip(b"=").decode()


def describe(secret: str, *, tenant: str, tier: str, name: str, now: float) -> ApiKey:
    """What is kept about a new key."""
    return ApiKey(id=id_of(secret), hash=hash_of(secret), tenant=tenant, tier=tier, name=name, created=now)


def id_of(secret: str) -> str:
    """What the key is called where the secret must not be seen."""
    return f"key_{hash_of(secret)[:16]}"


def hash_of(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def is_well_formed(secret: str) -> bool:
    """Whether it could be a key of ours; if not, nobody need be asked."""
    return _FORM.fullmatch(secret) is not None
