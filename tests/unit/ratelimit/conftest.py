"""A store of keys for each test that asks for one."""

import pytest

from tests.unit.ratelimit.gated_key_store import KEY, GatedKeyStore


@pytest.fixture
async def key_store() -> GatedKeyStore:
    """With one key in it."""
    store = GatedKeyStore()
    await store.add(KEY)
    return store
