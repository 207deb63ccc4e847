"""Preferences in memory, for tests and as the plainest statement of what a preference store does."""

from typing import Any

from meshkit.errors import Reason, ShoalError
from services.agent.ports import Preferences


def conflict(expected: int) -> ShoalError:
    return ShoalError(
        Reason.PREFERENCES_CONFLICT,
        f"The preferences are no longer at version {expected}; get them, merge your change and put them again.",
        field="expected_version",
    )


class MemoryPreferenceStore:
    """Preferences of one process."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], Preferences] = {}

    async def get(self, tenant: str, user_id: str) -> Preferences:
        return self._kept.get((tenant, user_id), Preferences({}, 0))

    async def put(self, tenant: str, user_id: str, values: dict[str, Any], *, expected_version: int | None) -> int:
        version = (await self.get(tenant, user_id)).version
        if expected_version not in (None, version):
            raise conflict(expected_version)
        self._kept[tenant, user_id] = Preferences(dict(values), version + 1)
        return version + 1
