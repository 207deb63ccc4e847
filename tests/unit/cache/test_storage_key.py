"""Storage keys: tenants are apart, whatever a caller sends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshkit.errors import Reason, ShoalError
from services.cache.policies import PolicyName
from services.cache.storage_key import storage_key

KEY = "0123456789abcdef" * 4


def test_the_parts_are_tenant_policy_and_key() -> None:
    assert storage_key(tenant="acme", policy=PolicyName.RESPONSE, key=KEY) == f"acme/response/{KEY}"


def test_the_case_of_the_digits_does_not_matter() -> None:
    upper = storage_key(tenant="acme", policy=PolicyName.RESPONSE, key=KEY.upper())
    assert upper == storage_key(tenant="acme", policy=PolicyName.RESPONSE, key=KEY)


@pytest.mark.parametrize(
    "key", ["", KEY[1:], KEY + "0", "g" + KEY[1:], KEY + "\n", "\u0660" * 64, "../other/response/" + KEY]
)
def test_a_key_of_another_form_is_refused_by_name(key: str) -> None:
    with pytest.raises(ShoalError) as refusal:
        storage_key(tenant="acme", policy=PolicyName.RESPONSE, key=key)
    assert refusal.value.reason is Reason.FIELD_INVALID
    assert refusal.value.field == "key"


tenants = st.text(alphabet="ab/-0\n", max_size=20) | st.sampled_from(["a", "a/response", f"a/response/{KEY}", ""])
keys = st.text(alphabet="01", min_size=64, max_size=64)


@given(first=st.tuples(tenants, keys), second=st.tuples(tenants, keys))
def test_two_tenants_never_share_a_storage_key(first: tuple[str, str], second: tuple[str, str]) -> None:
    stored = [storage_key(tenant=tenant, policy=PolicyName.RESPONSE, key=key) for tenant, key in (first, second)]
    assert (stored[0] == stored[1]) == (first == second)
