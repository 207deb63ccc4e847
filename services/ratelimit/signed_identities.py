"""The identities of callers, signed, and remembered for a part of their lifetime."""

from meshkit.identity import LIFETIME_SECONDS, Authentication, Identity, IdentitySigner
from services.ratelimit.callers import Caller

USED_SECONDS = 60.0
"""How long one is given out: in the end it still lives for 19 minutes, longer than the longest stream."""
REMEMBERED = 10_000

_Key = tuple[str, str, str, Authentication, bool]
"""Everything that an identity says but its end, so that whatever changes about a caller makes another one."""


class SignedIdentities:
    """Signs anew for each caller every minute, and not for each request. The oldest ones make room."""

    def __init__(self, signer: IdentitySigner, *, remembered: int = REMEMBERED) -> None:
        self._signer = signer
        self._remembered = remembered
        # In the order of their making.
        self._made: dict[_Key, tuple[float, str]] = {}

    def of(self, caller: Caller, *, metered: bool, now: float) -> str:
        """`now` is Unix time in seconds. A clock that stepped back makes new ones."""
        key = (caller.tenant, caller.tier, caller.key_id, caller.authentication, metered)
        made = self._made.get(key)
        if made is not None and 0 <= now - made[0] < USED_SECONDS:
            return made[1]
        signed = self._signer.sign(_identity(caller, metered=metered, now=now))
        self._remember(key, now, signed)
        return signed

    def _remember(self, key: _Key, now: float, signed: str) -> None:
        self._made.pop(key, None)
        if len(self._made) >= self._remembered:
            del self._made[next(iter(self._made))]
        self._made[key] = (now, signed)


def _identity(caller: Caller, *, metered: bool, now: float) -> Identity:
    return Identity(
        tenant=caller.tenant,
        tier=caller.tier,
        key_id=caller.key_id,
        authentication=caller.authentication,
        expires=now + LIFETIME_SECONDS,
        metered=metered,
    )
