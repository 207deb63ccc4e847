"""One cache process over real Valkey for the tests that need no particular one."""

import secrets
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.integration.cache.cache_process import CacheProcess, Caller, cache_process, signed


@pytest.fixture(scope="package")
def cache(valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CacheProcess]:
    with cache_process(tmp_path_factory.mktemp("cache"), redis_url=valkey_url) as process:
        yield process


@pytest.fixture
async def acme(cache: CacheProcess) -> AsyncIterator[Caller]:
    async with Caller(cache, signed("acme")) as caller:
        yield caller


@pytest.fixture
def key() -> str:
    """A key that no other test uses."""
    return secrets.token_hex(32)
