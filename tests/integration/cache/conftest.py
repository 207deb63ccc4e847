"""One cache process over two real Valkeys and SQLite for the tests that need no particular one."""

import secrets
from collections.abc import AsyncIterator, Iterator

import pytest

from tests import backends
from tests.integration.cache.cache_process import CacheProcess, cache_process
from tests.integration.cache.caller import Caller
from tests.mesh_identity import signed


@pytest.fixture(scope="package")
def state_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The state Redis, which tells of invalidations."""
    with backends.valkey(tmp_path_factory.mktemp("state")) as url:
        yield url


@pytest.fixture(scope="package")
def cache(valkey_url: str, state_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CacheProcess]:
    with cache_process(tmp_path_factory.mktemp("cache"), redis_url=valkey_url, state_url=state_url) as process:
        yield process


@pytest.fixture
async def acme(cache: CacheProcess) -> AsyncIterator[Caller]:
    async with Caller(cache, signed("acme")) as caller:
        yield caller


@pytest.fixture
def key() -> str:
    """A key that no other test uses."""
    return secrets.token_hex(32)
