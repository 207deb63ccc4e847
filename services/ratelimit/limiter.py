"""The heart of the limiter: who is asking, which bucket pays, and whether the request may go on."""

import hashlib
from dataclasses import dataclass
from typing import Protocol

from meshkit.errors import Reason, ShoalError, field_invalid
from meshkit.identity import Authentication, Identity
from services.ratelimit import keys
from services.ratelimit.bucket import Decision, Spend
from services.ratelimit.bucket_store import BucketStore
from services.ratelimit.keys import ApiKey
from services.ratelimit.tiers import ANONYMOUS, Tier, Tiers

ANONYMOUS_TENANT = f"{ANONYMOUS}-"
"""What the tenants of callers without a key begin with; no other tenant may."""


class KnownKeys(Protocol):
    """Finds keys by their hash."""

    async def find(self, key_hash: str, now: float) -> ApiKey | None:
        """The good key with that hash. `now` is in seconds on a clock that never steps back.

        Raises ShoalError DATABASE_UNAVAILABLE if nobody can say.
        """
        ...


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks, as far as a request shows."""

    address: str
    api_keys: frozenset[str]
    """The different keys that were sent."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who that is, and which bucket pays."""

    tenant: str
    tier: Tier
    key_id: str
    authentication: Authentication
    bucket: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the request of a caller may go on."""

    caller: Caller
    decision: Decision


class Limiter:
    """Decides on requests. With `require_api_key`, callers without a key are not served."""

    def __init__(self, *, known_keys: KnownKeys, buckets: BucketStore, tiers: Tiers, require_api_key: bool) -> None:
        self._known_keys = known_keys
        self._buckets = buckets
        self._tiers = tiers
        self._require_api_key = require_api_key

    async def admit(self, asker: Asker, now: float) -> Verdict:
        """Spends one token for a request. `now` is as for `KnownKeys.find`; what that and the buckets raise passes."""
        caller = await self._identify(asker, now)
        return Verdict(caller, await self._buckets.take([Spend(caller.bucket, caller.tier.limit, 1)]))

    async def take(self, identity: Identity, cost: int) -> tuple[Tier, Decision]:
        """Spends from the caller's own bucket. Raises ShoalError if `cost` is 0 or more than the bucket ever holds."""
        tier = self._tiers.of(identity.tier)
        if cost < 1:
            raise field_invalid("cost", "be 1 or more")
        if cost > tier.limit.capacity:
            raise ShoalError(
                Reason.COST_ABOVE_CAPACITY,
                f"The tier '{tier.name}' never holds {cost} tokens; ask for {tier.limit.capacity} or fewer.",
                field="cost",
            )
        return tier, await self._buckets.take([Spend(_own_bucket(identity.key_id), tier.limit, cost)])

    async def peek(self, identity: Identity) -> tuple[Tier, Decision]:
        """Looks into the caller's own bucket."""
        tier = self._tiers.of(identity.tier)
        return tier, await self._buckets.take([Spend(_own_bucket(identity.key_id), tier.limit, 0)])

    async def _identify(self, asker: Asker, now: float) -> Caller:
        if len(asker.api_keys) > 1:
            return self._not_good(asker, Authentication.SEVERAL_KEYS)
        if asker.api_keys:
            (secret,) = asker.api_keys
            key = await self._find(secret, now)
            return self._holder(key) if key else self._not_good(asker, Authentication.UNKNOWN_KEY)
        if self._require_api_key:
            return self._not_good(asker, Authentication.MISSING_KEY)
        return self._from_address(asker.address, Authentication.ANONYMOUS, bucket=_own_bucket(asker.address))

    async def _find(self, secret: str, now: float) -> ApiKey | None:
        if not keys.is_well_formed(secret):
            return None
        return await self._known_keys.find(keys.hash_of(secret), now)

    def _holder(self, key: ApiKey) -> Caller:
        return Caller(
            tenant=key.tenant,
            tier=self._tiers.of(key.tier),
            key_id=key.id,
            authentication=Authentication.API_KEY,
            bucket=_own_bucket(key.id),
        )

    def _not_good(self, asker: Asker, authentication: Authentication) -> Caller:
        """A caller that is not served, and pays from what its address may get wrong, so that guessing is limited."""
        return self._from_address(asker.address, authentication, bucket=f"failed:{{{asker.address}}}")

    def _from_address(self, address: str, authentication: Authentication, *, bucket: str) -> Caller:
        return Caller(
            tenant=ANONYMOUS_TENANT + hashlib.sha256(address.encode()).hexdigest()[:16],
            tier=self._tiers.anonymous,
            key_id=address,
            authentication=authentication,
            bucket=bucket,
        )


def _own_bucket(key_id: str) -> str:
    """The braces keep all buckets of one caller in one slot of a Redis cluster."""
    return f"bucket:{{{key_id}}}"
