"""The signed identity: who the caller is, said by the limiter once and verified by every service.

The header `x-shoal-identity` is `<payload>.<tag>`, both base64url without padding: the payload is a JSON array of the
fields below, the tag is the HMAC-SHA256 of the payload's text under the mesh secret.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

import msgspec

from meshkit.errors import Reason, ShoalError

HEADER = "x-shoal-identity"
LIFETIME_SECONDS = 20 * 60
"""Longer than the longest stream (15 minutes), so that a turn can call other services until it ends."""

SECRET_MIN_BYTES = 32
REMEMBERED = 1024
"""Identities that were verified already: a caller's is often the same for some time."""
CHECKED_AGAIN_SECONDS = 1.0
"""A hint to unchecked callers: nobody knows when the limiter can be asked again."""

ANONYMOUS_TIER = "anonymous"
"""The tier of callers without a key."""
ANONYMOUS_TENANT = f"{ANONYMOUS_TIER}-"
"""What the tenants of callers without a key begin with; no other tenant may."""


class Authentication(StrEnum):
    """How the caller was told apart."""

    API_KEY = "api_key"
    ANONYMOUS = "anonymous"
    UNKNOWN_KEY = "unknown_key"
    SEVERAL_KEYS = "several_keys"
    MISSING_KEY = "missing_key"
    OPERATOR = "operator"
    UNCHECKED = "unchecked"
    """The limiter could not be asked, on a route that stays open then: nobody looked at a key or at a limit."""


class Identity(msgspec.Struct, frozen=True, array_like=True):
    """A caller, as the limiter saw it."""

    tenant: str
    tier: str
    key_id: str
    """The id of the API key; for a caller without one, its address."""
    authentication: Authentication
    expires: float
    """Unix time in seconds."""
    metered: bool = False
    """Whether the caller's limits ask for a reservation before a model is called."""

    @property
    def is_anonymous(self) -> bool:
        return self.authentication in (Authentication.ANONYMOUS, Authentication.UNCHECKED)


def unchecked(expires: float) -> Identity:
    """A caller about whom nothing was checked; it has the rights of an anonymous one, or fewer."""
    return Identity(
        tenant=f"{ANONYMOUS_TENANT}unchecked",
        tier=ANONYMOUS_TIER,
        key_id="unchecked",
        authentication=Authentication.UNCHECKED,
        expires=expires,
    )


class IdentitySigner:
    """Signs and verifies identities with the mesh secret."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) < SECRET_MIN_BYTES:
            raise ValueError(f"the mesh secret must have at least {SECRET_MIN_BYTES} bytes")
        self._mac = hmac.new(secret, digestmod=hashlib.sha256)
        self._decoder = msgspec.json.Decoder(Identity)
        self._verified: dict[str, Identity] = {}

    @classmethod
    def from_file(cls, path: str) -> "IdentitySigner":
        return cls(Path(path).read_bytes().strip())

    def sign(self, identity: Identity) -> str:
        payload = _encoded(msgspec.json.encode(identity))
        return f"{payload}.{self._tag(payload)}"

    def verify(self, headers: Sequence[str], now: float) -> Identity:
        """The identity in the header's values; `now` is Unix time in seconds.

        Raises ShoalError IDENTITY_INVALID unless there is exactly one value, signed by us and not expired.
        """
        if len(headers) != 1:
            raise _invalid(f"The call carries {len(headers)} signed identities instead of one; call the front door.")
        identity = self._verified.get(headers[0]) or self._remembered(headers[0])
        if identity.expires <= now:
            raise _invalid("The signed identity has expired; call again.")
        return identity

    def _remembered(self, header: str) -> Identity:
        identity = self._signed_by_us(header)
        if len(self._verified) >= REMEMBERED:
            self._verified.clear()
        self._verified[header] = identity
        return identity

    def _signed_by_us(self, header: str) -> Identity:
        payload, _, tag = header.partition(".")
        if not hmac.compare_digest(tag.encode(), self._tag(payload).encode()):
            raise _invalid("The signed identity was not signed by this mesh; call the front door.")
        try:
            return self._decoder.decode(_decoded(payload))
        except msgspec.DecodeError:
            # Signed by another version of Shoal, in the middle of a deploy.
            raise _invalid("The signed identity cannot be read; call again.") from None

    def _tag(self, payload: str) -> str:
        # A copy, since hmac.digest lets other threads run meanwhile, and grpc's own take that chance at every call.
        mac = self._mac.copy()
        mac.update(payload.encode())
        return _encoded(mac.digest())


def require_known(identity: Identity) -> None:
    """Raises ShoalError if the caller named a key that is not good, several, or none where one is needed."""
    if identity.authentication is Authentication.UNKNOWN_KEY:
        raise ShoalError(
            Reason.API_KEY_INVALID, "The API key is unknown or revoked; check it, or ask the operator for a new one."
        )
    if identity.authentication is Authentication.SEVERAL_KEYS:
        raise ShoalError(Reason.API_KEY_AMBIGUOUS, "The request carries two different API keys; send one.")
    if identity.authentication is Authentication.MISSING_KEY:
        raise ShoalError(Reason.API_KEY_REQUIRED, "An API key is needed; send it as X-API-Key.")


def require_checked(identity: Identity, purpose: str, *, field: str = "") -> None:
    """Raises ShoalError LIMITER_UNAVAILABLE for a caller whose key nobody looked at.

    `purpose` completes the sentence "The limiter is needed ...", `field` is the request's field that asks for it.
    """
    if identity.authentication is Authentication.UNCHECKED:
        raise ShoalError(
            Reason.LIMITER_UNAVAILABLE,
            f"The limiter is needed {purpose} and cannot be reached now; try again, or do without.",
            field=field,
            retry_after_seconds=CHECKED_AGAIN_SECONDS,
        )


def require_api_key(identity: Identity, purpose: str, *, field: str = "") -> None:
    """Raises ShoalError API_KEY_REQUIRED for an anonymous caller, and what require_checked does.

    `purpose` completes the sentence "An API key is needed ...", `field` is the request's field that asks for it.
    """
    require_checked(identity, purpose, field=field)
    if identity.is_anonymous:
        raise ShoalError(Reason.API_KEY_REQUIRED, f"An API key is needed {purpose}; send it as X-API-Key.", field=field)


def require_operator(identity: Identity) -> None:
    if identity.authentication is not Authentication.OPERATOR:
        raise ShoalError(Reason.PERMISSION_DENIED, "Only the operator's command line may do this.")


def _invalid(message: str) -> ShoalError:
    return ShoalError(Reason.IDENTITY_INVALID, message)


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
