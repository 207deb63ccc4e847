"""The form of API keys."""

import hashlib

import pytest

from services.ratelimit import keys

SECRET = keys.new_secret(bytes(range(32)))


def test_a_key_has_the_published_form() -> None:
    assert SECRET == "sk-shoal-AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
    assert len(SECRET) == len("sk-shoal-") + 43
    assert keys.is_well_formed(SECRET)


def test_every_bit_of_entropy_is_in_the_key() -> None:
    secrets = {keys.new_secret((1 << bit).to_bytes(32, "big")) for bit in range(256)}
    assert len(secrets) == 256


def test_too_little_entropy_is_refused() -> None:
    with pytest.raises(ValueError, match="32 random bytes"):
        keys.new_secret(b"short")


def test_what_is_kept_holds_the_hash_and_not_the_key() -> None:
    key = keys.describe(SECRET, tenant="acme", tier="free", name="laptop", now=5.0)
    assert key.hash == hashlib.sha256(SECRET.encode()).hexdigest()
    assert key.id == keys.id_of(SECRET) == "key_" + key.hash[:16]
    assert SECRET.removeprefix("sk-shoal-") not in repr(key)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sk-shoal-",
        SECRET[:-1],
        SECRET + "A",
        SECRET + "\n",
        "sk-other-" + SECRET[9:],
        SECRET[:-1] + "+",
        SECRET[:-1] + "é",
    ],
)
def test_what_is_no_key_is_told_by_its_form(text: str) -> None:
    assert not keys.is_well_formed(text)
