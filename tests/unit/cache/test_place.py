"""Places: tenants are apart, whatever they are called."""

from hypothesis import given
from hypothesis import strategies as st

from services.cache.place import Place, Whole
from services.cache.policies import PolicyName

KEY = "0123456789abcdef" * 4
OTHER_KEY = "fedcba9876543210" * 4


def test_the_parts_are_tenant_policy_and_key() -> None:
    assert Place("acme", PolicyName.RESPONSE, KEY).storage_key == f"acme/response/{KEY}"


tenants = st.text(alphabet="ab/-0\n", max_size=20) | st.sampled_from(["a", "a/response", f"a/response/{KEY}", ""])
policies = st.sampled_from(PolicyName)
keys = st.text(alphabet="01", min_size=64, max_size=64)
places = st.builds(Place, tenants, policies, keys)


@given(first=places, second=places)
def test_two_places_never_share_a_storage_key(first: Place, second: Place) -> None:
    assert (first.storage_key == second.storage_key) == (first == second)


@given(first=places, second=places, tag=st.sampled_from(["a", "tenant", KEY]))
def test_two_tenants_never_share_a_scope(first: Place, second: Place, tag: str) -> None:
    if first.tenant != second.tenant:
        assert not set(first.scopes([tag])) & set(second.scopes([tag]))


def test_an_answer_is_concerned_by_what_it_is_a_part_of() -> None:
    place = Place("acme", PolicyName.MODEL_OUTPUT, KEY)
    alone, as_part = set(place.scopes(["news"])), set(place.scopes(["news"], Whole(OTHER_KEY, tags=("sports",))))
    assert as_part == alone | set(Place("acme", PolicyName.RESPONSE, OTHER_KEY).scopes(["sports"]))
    assert len(as_part) == len(alone) + 2


def test_scopes_are_put_together_only_when_they_are_read() -> None:
    tags = iter(["news"])
    scopes = Place("acme", PolicyName.RESPONSE, KEY).scopes(tags)
    assert next(tags) == "news"
    assert len(list(scopes)) == 2


def test_the_kind_of_an_answer_does_not_matter_to_who_invalidates_its_key() -> None:
    one, other = (Place("acme", policy, KEY) for policy in (PolicyName.RESPONSE, PolicyName.TOOL_RESULT))
    assert list(one.scopes([])) == list(other.scopes([]))
