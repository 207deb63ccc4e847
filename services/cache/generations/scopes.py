"""What can be invalidated at once: an answer by its key, all with a tag, all of a tenant.

A scope is `<tenant>/<kind>/<name>`; kinds and names hold no slash, so scopes of two tenants never meet, whatever the
tenants' names hold.
"""

from collections.abc import Iterable


def tenant_scope(tenant: str) -> str:
    return f"{tenant}/tenant/"


def tag_scope(tenant: str, tag: str) -> str:
    return f"{tenant}/tag/{tag}"


def key_scope(tenant: str, key: str) -> str:
    return f"{tenant}/key/{key}"


def scopes_of(tenant: str, *, keys: Iterable[str], tags: Iterable[str]) -> tuple[str, ...]:
    """Everything whose invalidation concerns an answer with these keys and tags."""
    return (
        tenant_scope(tenant),
        *(key_scope(tenant, key) for key in keys),
        *(tag_scope(tenant, tag) for tag in tags),
    )
