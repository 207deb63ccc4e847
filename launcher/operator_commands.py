"""Commands that talk to the running mesh as its operator. What they need is imported when one runs."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

from launcher.exits import fail, loaded
from launcher.settings import OperatorSettings

OPERATOR_HELP = """\
As the operator of the running mesh a command signs its calls with the mesh's secret.

\b
SHOAL_HOME, SHOAL_MESH_SECRET_FILE   where that secret is (.shoal/mesh-secret)
SHOAL_MESH_ADDRESS                   the mesh's inner listener (127.0.0.1:8090)
SHOAL_INNER_PORT, SHOAL_PORT_SHIFT   where it is, if `shoal up` was told the same
"""

Client = TypeVar("Client")


def run_as_operator(
    environ: Mapping[str, str],
    opened: Callable[[OperatorSettings], AbstractAsyncContextManager[Client]],
    command: Callable[[Client], Coroutine[None, None, None]],
) -> None:
    """Runs a command with a client of a service. Ends with the error's sentence if there is one."""
    from launcher.operator import OperatorError

    settings = loaded(OperatorSettings, environ)

    async def connected() -> None:
        async with opened(settings) as client:
            await command(client)

    try:
        asyncio.run(connected())
    except OperatorError as error:
        fail(str(error))
