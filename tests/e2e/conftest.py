"""One real mesh for all end-to-end tests that do it no harm."""

from collections.abc import Iterator

import pytest

from tests.mesh import Mesh, running_mesh


@pytest.fixture(scope="session")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with running_mesh(tmp_path_factory.mktemp("mesh") / "home") as started:
        yield started
