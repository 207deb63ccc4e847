"""The signed identity: nobody but the mesh can write one, and only one at a time is taken."""

import base64
import string
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshkit.errors import Reason, ShoalError
from meshkit.identity import (
    REMEMBERED,
    Authentication,
    Identity,
    IdentitySigner,
    require_api_key,
    require_checked,
    require_known,
    require_operator,
)
from tests.mesh_identity import SECRET, SIGNER

NOW = 1_000_000.0
SIGNED = SIGNER.sign(Identity("acme", "premium", "key_1", Authentication.API_KEY, NOW + 60))

identities = st.builds(
    Identity,
    tenant=st.text(max_size=20),
    tier=st.text(max_size=20),
    key_id=st.text(max_size=20),
    authentication=st.sampled_from(Authentication),
    expires=st.floats(NOW + 1, NOW + 10**6),
)


def refused(headers: Sequence[str], now: float = NOW) -> ShoalError:
    with pytest.raises(ShoalError) as raised:
        SIGNER.verify(headers, now)
    assert raised.value.reason is Reason.IDENTITY_INVALID
    return raised.value


@given(identity=identities)
def test_what_was_signed_is_verified_and_fits_into_a_header(identity: Identity) -> None:
    signed = SIGNER.sign(identity)
    assert SIGNER.verify([signed], NOW) == identity
    assert set(signed) <= set(string.ascii_letters + string.digits + "-_.")


@given(identity=identities, data=st.data())
def test_an_identity_that_was_altered_anywhere_is_refused(identity: Identity, data: st.DataObject) -> None:
    signed = SIGNER.sign(identity)
    position = data.draw(st.integers(0, len(signed) - 1))
    other = data.draw(st.characters(max_codepoint=255).filter(lambda character: character != signed[position]))
    refused([signed[:position] + other + signed[position + 1 :]])


def test_no_other_last_character_stands_for_the_same_tag() -> None:
    alphabet = string.ascii_letters + string.digits + "-_="
    for character in set(alphabet) - {SIGNED[-1]}:
        refused([SIGNED[:-1] + character])


@given(header=st.text(st.characters(max_codepoint=255)))
def test_any_other_text_is_refused(header: str) -> None:
    refused([header])


@pytest.mark.parametrize("cut", range(len(SIGNED)))
def test_a_part_of_an_identity_is_refused(cut: int) -> None:
    refused([SIGNED[:cut]])


def test_more_than_the_identity_is_refused() -> None:
    for header in (f"{SIGNED}.", f"{SIGNED}=", f" {SIGNED}", f"{SIGNED},{SIGNED}"):
        refused([header])


def test_an_identity_signed_with_another_secret_is_refused() -> None:
    forger = IdentitySigner(b"a secret that is not that of the mesh at all")
    refused([forger.sign(Identity("acme", "premium", "key_1", Authentication.API_KEY, NOW + 60))])


def test_an_unsigned_payload_is_refused() -> None:
    payload = msgspec.json.encode(Identity("acme", "premium", "key_1", Authentication.OPERATOR, NOW + 60))
    text = base64.urlsafe_b64encode(payload).rstrip(b"=").decode()
    for header in (text, f"{text}.", f"{text}.{text}"):
        refused([header])


def test_an_identity_expires_at_its_time() -> None:
    assert SIGNER.verify([SIGNED], NOW + 59.9).tenant == "acme"
    assert "expired" in refused([SIGNED], NOW + 60).message


@pytest.mark.parametrize("headers", [[], [SIGNED, SIGNED], [SIGNED, ""]], ids=["none", "two", "one and an empty one"])
def test_a_call_carries_exactly_one_identity(headers: list[str]) -> None:
    assert f"{len(headers)} signed identities" in refused(headers).message


class FormerIdentity(msgspec.Struct, array_like=True):
    """An identity as another version may write it."""

    tenant: str


def test_an_identity_of_another_version_is_refused_and_not_a_fault() -> None:
    signed = SIGNER.sign(FormerIdentity("acme"))  # type: ignore[arg-type]
    assert "cannot be read" in refused([signed]).message


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        IdentitySigner(bytes(31))


def test_the_line_end_of_a_secret_file_is_no_part_of_the_secret(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_bytes(SECRET + b"\n")
    assert IdentitySigner.from_file(str(file)).verify([SIGNED], NOW).tenant == "acme"


def of(authentication: Authentication) -> Identity:
    return Identity("acme", "premium", "key_1", authentication, NOW + 60)


@pytest.mark.parametrize("authentication", Authentication)
def test_who_named_a_bad_key_or_two_or_none_where_one_is_needed_is_not_known(authentication: Authentication) -> None:
    reasons = {
        Authentication.UNKNOWN_KEY: Reason.API_KEY_INVALID,
        Authentication.SEVERAL_KEYS: Reason.API_KEY_AMBIGUOUS,
        Authentication.MISSING_KEY: Reason.API_KEY_REQUIRED,
    }
    if authentication not in reasons:
        require_known(of(authentication))
        return
    with pytest.raises(ShoalError) as raised:
        require_known(of(authentication))
    assert raised.value.reason is reasons[authentication]


def test_some_things_need_the_limiter() -> None:
    require_checked(of(Authentication.ANONYMOUS), "for sessions")
    with pytest.raises(ShoalError, match="for sessions") as raised:
        require_checked(of(Authentication.UNCHECKED), "for sessions", field="session_id")
    assert (raised.value.reason, raised.value.field) == (Reason.LIMITER_UNAVAILABLE, "session_id")
    assert raised.value.retry_after_seconds == 1.0


@pytest.mark.parametrize(
    ("authentication", "reason"),
    [
        (Authentication.ANONYMOUS, Reason.API_KEY_REQUIRED),
        (Authentication.UNCHECKED, Reason.LIMITER_UNAVAILABLE),
    ],
)
def test_some_things_need_an_api_key(authentication: Authentication, reason: Reason) -> None:
    require_api_key(of(Authentication.API_KEY), "to keep preferences")
    with pytest.raises(ShoalError, match="to keep preferences") as raised:
        require_api_key(of(authentication), "to keep preferences", field="user_id")
    assert (raised.value.reason, raised.value.field) == (reason, "user_id")


@pytest.mark.parametrize("authentication", set(Authentication) - {Authentication.OPERATOR})
def test_nobody_but_the_operator_is_the_operator(authentication: Authentication) -> None:
    require_operator(of(Authentication.OPERATOR))
    with pytest.raises(ShoalError) as raised:
        require_operator(of(authentication))
    assert raised.value.reason is Reason.PERMISSION_DENIED


def test_an_identity_that_was_verified_before_is_refused_once_it_has_expired() -> None:
    assert SIGNER.verify([SIGNED], NOW).tenant == "acme"
    assert SIGNER.verify([SIGNED], NOW + 59).tenant == "acme"
    assert "expired" in refused([SIGNED], NOW + 60).message


def test_more_identities_than_are_remembered_are_told_apart() -> None:
    signed = {
        f"tenant-{number}": SIGNER.sign(Identity(f"tenant-{number}", "basic", "key", Authentication.API_KEY, NOW + 60))
        for number in range(REMEMBERED + 2)
    }
    for _ in range(2):
        assert all(SIGNER.verify([header], NOW).tenant == tenant for tenant, header in signed.items())
