"""Identities are signed once a minute for each caller, and never say what holds no more."""

import pytest
from msgspec.structs import replace

from meshkit.identity import LIFETIME_SECONDS, Authentication, Identity, IdentitySigner
from services.ratelimit.callers import Caller
from services.ratelimit.signed_identities import USED_SECONDS, SignedIdentities

NOW = 1_800_000_000.0
LONGEST_STREAM_SECONDS = 15 * 60
SIGNER = IdentitySigner(b"s" * 32)
CALLER = Caller("acme", "free", "key_1", Authentication.API_KEY)


def verified(signed: str) -> Identity:
    return SIGNER.verify([signed], NOW)


@pytest.fixture
def identities() -> SignedIdentities:
    return SignedIdentities(SIGNER, remembered=2)


def test_an_identity_says_who_the_caller_is_and_lives_for_its_lifetime(identities: SignedIdentities) -> None:
    expires = NOW + LIFETIME_SECONDS
    expected = Identity("acme", "free", "key_1", Authentication.API_KEY, expires, metered=True)
    assert verified(identities.of(CALLER, metered=True, now=NOW)) == expected


def test_it_is_the_same_for_a_while_and_then_a_new_one(identities: SignedIdentities) -> None:
    first = identities.of(CALLER, metered=False, now=NOW)
    assert identities.of(CALLER, metered=False, now=NOW + USED_SECONDS - 1) == first
    later = identities.of(CALLER, metered=False, now=NOW + USED_SECONDS)
    assert verified(later).expires == NOW + USED_SECONDS + LIFETIME_SECONDS


def test_whatever_is_given_out_outlives_the_longest_stream(identities: SignedIdentities) -> None:
    identities.of(CALLER, metered=False, now=NOW)
    last = NOW + USED_SECONDS - 0.001
    assert verified(identities.of(CALLER, metered=False, now=last)).expires - last > LONGEST_STREAM_SECONDS + 60


@pytest.mark.parametrize(
    "change",
    [
        {"tenant": "other"},
        {"tier": "premium"},
        {"key_id": "key_2"},
        {"authentication": Authentication.UNKNOWN_KEY},
    ],
)
def test_a_caller_about_whom_something_changed_has_another_one(
    identities: SignedIdentities, change: dict[str, str]
) -> None:
    identities.of(CALLER, metered=False, now=NOW)
    changed = verified(identities.of(replace(CALLER, **change), metered=False, now=NOW))
    assert {name: getattr(changed, name) for name in change} == change


def test_whether_calls_are_metered_is_told_as_it_is_now(identities: SignedIdentities) -> None:
    told = [verified(identities.of(CALLER, metered=metered, now=NOW)).metered for metered in (False, True, False)]
    assert told == [False, True, False]


def test_a_clock_that_stepped_back_makes_a_new_one(identities: SignedIdentities) -> None:
    identities.of(CALLER, metered=False, now=NOW + 1000)
    assert verified(identities.of(CALLER, metered=False, now=NOW)).expires == NOW + LIFETIME_SECONDS


def test_no_more_are_remembered_than_there_is_room_for(identities: SignedIdentities) -> None:
    others = [replace(CALLER, key_id=f"key_{number}") for number in (2, 3)]
    for caller in (CALLER, *others):
        identities.of(caller, metered=False, now=NOW)
    assert verified(identities.of(others[1], metered=False, now=NOW + 1)).expires == NOW + LIFETIME_SECONDS
    assert verified(identities.of(CALLER, metered=False, now=NOW + 1)).expires == NOW + 1 + LIFETIME_SECONDS
