"""One limiter over real Valkey and SQLite for the tests that need no particular one."""

import itertools
from collections.abc import Iterator

import pytest

from tests.integration.ratelimit.ratelimit_process import RatelimitProcess, environ, make_tables, started


@pytest.fixture(scope="package")
def limiter(valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RatelimitProcess]:
    settings = environ(tmp_path_factory.mktemp("ratelimit"), redis_url=valkey_url)
    make_tables(settings)
    with started(settings) as process:
        yield process


@pytest.fixture(scope="session")
def addresses() -> Iterator[str]:
    return (f"203.0.113.{number}/32" for number in itertools.count())


@pytest.fixture
def address(addresses: Iterator[str]) -> str:
    """An address that no other test uses."""
    return next(addresses)
