"""Scopes: what an answer can be invalidated by, and that tenants never meet."""

from hypothesis import given
from hypothesis import strategies as st

from services.cache.generations.scopes import key_scope, scopes_of, tag_scope, tenant_scope

KEY = "ab" * 32


def test_an_answer_is_concerned_by_its_tenant_its_keys_and_its_tags() -> None:
    assert set(scopes_of("acme", keys=[KEY, "cd" * 32], tags=["news", "v2"])) == {
        tenant_scope("acme"),
        key_scope("acme", KEY),
        key_scope("acme", "cd" * 32),
        tag_scope("acme", "news"),
        tag_scope("acme", "v2"),
    }


tenants = st.text("ab/", max_size=12) | st.sampled_from(["a", "a/tag", "a/tenant/", "a/tag/b", "a/key"])
names = st.text("ab:.", min_size=1, max_size=4)


@given(tenants, tenants, names, names)
def test_no_two_of_them_are_the_same(one: str, other: str, name: str, second: str) -> None:
    scopes = [tenant_scope(one), tag_scope(one, name), key_scope(one, name)]
    if name != second:
        scopes += [tag_scope(one, second), key_scope(one, second)]
    if one != other:
        scopes += [tenant_scope(other), tag_scope(other, name), key_scope(other, name)]
    assert len(set(scopes)) == len(scopes)
