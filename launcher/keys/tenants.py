"""Tenants as the operator names them: whether there is one of that name."""

from launcher.keys.client import KeysClient
from launcher.operator import OperatorError
from meshkit.identity import ANONYMOUS_TENANT


async def doubt(tenant: str, keys: KeysClient) -> str:
    """A sentence if there may be no such tenant, else nothing.

    A tenant is known by its API keys, also by those that were revoked; callers without a key have none.
    """
    if tenant.startswith(ANONYMOUS_TENANT):
        return ""
    try:
        found = await keys.list_keys(tenant=tenant, include_revoked=True)
    except OperatorError as error:
        return f"Whether there is a tenant '{tenant}' could not be looked up: {error}"
    return "" if found else f"Warning: no API key of the tenant '{tenant}' exists; check the name."
