"""The API key that a new mesh can be tried with. It is kept in the home, the same on each run."""

from launcher.home import Home, write_private
from launcher.keys.client import KeysClient
from services.ratelimit.keys import id_of

TENANT = "demo"
TIER = "premium"


async def ensure_demo_key(home: Home, keys: KeysClient) -> str:
    """Keeps the kept key, or replaces it if the limiter does not know it any more. Returns its id.

    Raises OperatorError.
    """
    good = {key.id for key in await keys.list_keys(tenant=TENANT, include_revoked=False)}
    kept = id_of(home.demo_key())
    if kept in good:
        return kept
    created = await keys.create(tenant=TENANT, tier=TIER, name="demo key of this machine")
    write_private(home.demo_key_file, created.secret)
    return created.api_key.id
