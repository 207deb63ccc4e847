"""Who is asking: the caller behind an address and the keys that came with a request."""

import hashlib
import hmac
from typing import Protocol

import msgspec

from meshkit.identity import ANONYMOUS_TENANT, ANONYMOUS_TIER, Authentication
from services.ratelimit import keys
from services.ratelimit.buckets.bucket import Decision, Limit, Spend
from services.ratelimit.buckets.bucket_store import BucketStore
from services.ratelimit.keys import ApiKey


class KnownKeys(Protocol):
    """Finds keys by their hash. `now` is in seconds on a clock that never steps back."""

    def is_new(self, key_hash: str, now: float) -> bool:
        """Whether a look-up would ask the database about a key of which nothing is known here."""
        ...

    async def find(self, key_hash: str, now: float) -> ApiKey | None:
        """The good key with that hash.

        Raises ShoalError DATABASE_UNAVAILABLE if nobody can say.
        """
        ...


class Asker(msgspec.Struct, frozen=True):
    """Who asks, as far as a request shows."""

    address: str
    api_keys: frozenset[str]
    """The different keys that were sent."""


class Caller(msgspec.Struct, frozen=True):
    """Who that is."""

    tenant: str
    tier: str
    key_id: str
    """The id of the API key; for a caller without one, its address."""
    authentication: Authentication
    paid: Decision | None = None
    """What a caller that is not served has paid already, from what its address may get wrong."""


class Callers:
    """Tells callers apart. With `require_api_key`, callers without a key are not served."""

    def __init__(self, *, known_keys: KnownKeys, buckets: BucketStore, failures: Limit, require_api_key: bool) -> None:
        """`failures` is how many requests without one good key an address may send, and how many new keys it may ask
        about at the same time."""
        self._known_keys = known_keys
        self._buckets = buckets
        self._failures = failures
        self._require_api_key = require_api_key

    async def identify(self, asker: Asker, now: float) -> Caller:
        """`now` is as for `KnownKeys`; what that and the buckets raise passes."""
        if len(asker.api_keys) > 1:
            return await self._refused(asker.address, Authentication.SEVERAL_KEYS)
        if asker.api_keys:
            (secret,) = asker.api_keys
            return await self._with_key(secret, asker.address, now)
        if self._require_api_key:
            return await self._refused(asker.address, Authentication.MISSING_KEY)
        return _from_address(asker.address, Authentication.ANONYMOUS)

    async def _with_key(self, secret: str, address: str, now: float) -> Caller:
        """A look-up of a new key is paid for first and given back if the key is good. So a guesser's address asks the
        database no more often than its budget allows, and nobody else waits for that."""
        if not keys.is_well_formed(secret):
            return await self._refused(address, Authentication.UNKNOWN_KEY)
        key_hash = keys.hash_of(secret)
        paid = await self._spend(address, 1) if self._known_keys.is_new(key_hash, now) else None
        key = None
        if paid is None or paid.allowed:
            key = await self._known_keys.find(key_hash, now)
        if key is None or not _is_the_same(key.hash, key_hash):
            return await self._refused(address, Authentication.UNKNOWN_KEY, paid)
        if paid is not None:
            await self._spend(address, -1)
        return Caller(key.tenant, key.tier, key.id, Authentication.API_KEY)

    async def _refused(self, address: str, authentication: Authentication, paid: Decision | None = None) -> Caller:
        """A caller that is not served, and has paid from what its address may get wrong, so that guessing is
        limited."""
        return _from_address(address, authentication, paid=paid or await self._spend(address, 1))

    async def _spend(self, address: str, cost: int) -> Decision:
        return await self._buckets.take([Spend(f"failed:{address}", self._failures, cost)])


def _is_the_same(found: str, asked: str) -> bool:
    """A look-up by hash tells at most, by its time, how a hash begins, and the hash of 256 random bits says nothing
    about them. The comparison that decides tells not even that."""
    return hmac.compare_digest(found, asked)


def _from_address(address: str, authentication: Authentication, *, paid: Decision | None = None) -> Caller:
    tenant = ANONYMOUS_TENANT + hashlib.sha256(address.encode()).hexdigest()[:16]
    return Caller(tenant, ANONYMOUS_TIER, address, authentication, paid)
