"""A server for each test: what it counts begins at zero."""

from collections.abc import AsyncIterator

import pytest

from tests.integration.meshkit.guarded_server import GuardedServer, guarded_server


@pytest.fixture
async def server() -> AsyncIterator[GuardedServer]:
    async with guarded_server() as running:
        yield running
