"""The bystanders themselves: what they report, and that they notice when they are hurt."""

import pytest

from tests.faults.bystanders import BystandersOf
from tests.faults.fault_report import REPORT
from tests.mesh import Mesh


async def test_when_nothing_is_wrong_they_say_so(
    mesh: Mesh, bystanders: BystandersOf, pytestconfig: pytest.Config
) -> None:
    async with bystanders(mesh) as others:
        await others.quiet()
        await others.during("nothing at all")
    line = pytestconfig.stash[REPORT][-1]
    assert (line.fault, line.refused) == ("nothing at all", 0)
    assert line.streams >= 8
    assert line.quiet_p99_ms > 0
