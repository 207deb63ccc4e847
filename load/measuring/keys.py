"""API keys for those who make load."""

from collections.abc import Sequence

from launcher.keys.client import open_keys
from launcher.settings import OperatorSettings
from load.measuring.home import Home


async def create_keys(home: Home, address: str, tiers: Sequence[str]) -> list[str]:
    """New ones, one for each of the tiers, in their order, from the limiter at that address."""
    settings = OperatorSettings(home=str(home.folder), mesh_address=address)
    async with open_keys(settings) as client:
        return [(await client.create(tenant="load", tier=tier, name="load test")).secret for tier in tiers]
