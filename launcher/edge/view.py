"""The pools as Envoy sees them, for those who change and show them."""

import asyncio
from collections.abc import Callable, Iterable, Mapping

import msgspec

from launcher.edge.admin import EnvoyAdmin, Host
from launcher.processes.keeper import within

LOOK_SECONDS = 0.05


class EnvoyView:
    """Looks at an Envoy that may not be there: then it sees nobody."""

    def __init__(self, admin: EnvoyAdmin) -> None:
        self._admin = admin

    async def hosts(self, cluster: str = "") -> Mapping[int, Host]:
        """The processes of a cluster, or of all, by their ports."""
        try:
            return await self._admin.hosts(cluster)
        except (OSError, EOFError, msgspec.DecodeError):
            return {}

    async def comes_to_see(
        self, places: Iterable[tuple[str, int]], is_so: Callable[[Host], bool], *, seconds: float
    ) -> bool:
        """Waits until something is so of the process at all these places, each a cluster and a port; False if it is not
        within that time."""

        async def looked() -> None:
            for cluster, port in places:
                while True:
                    host = (await self.hosts(cluster)).get(port)
                    if host and is_so(host):
                        break
                    await asyncio.sleep(LOOK_SECONDS)

        return await within(seconds, looked())
