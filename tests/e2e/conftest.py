"""One real mesh for all end-to-end tests that leave it as they found it."""

from collections.abc import Iterator

import pytest

from tests.mesh import Mesh, running_mesh


@pytest.fixture(scope="session")
def mesh() -> Iterator[Mesh]:
    with running_mesh() as started:
        yield started
