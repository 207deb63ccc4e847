"""A server for each test, over each transport: what it counts begins at zero."""

from collections.abc import AsyncIterator

import pytest

from tests.integration.meshkit.guarded_server import GuardedServer, Transport, guarded_server


@pytest.fixture(params=list(Transport))
def transport(request: pytest.FixtureRequest) -> Transport:
    """Every test that asks for it is run over each."""
    return Transport(request.param)


@pytest.fixture
async def server(transport: Transport) -> AsyncIterator[GuardedServer]:
    async with guarded_server(transport) as running:
        yield running
