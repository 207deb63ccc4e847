"""Programs that make load: started, given their work, awaited."""

import asyncio
import contextlib
from asyncio.subprocess import PIPE
from collections.abc import Mapping, Sequence

_MOST_SECONDS = 180


class MeasurementError(Exception):
    """Something could not be measured. The message says what to do, or what a generator of load said."""


async def output_of(
    command: Sequence[str], sent: bytes = b"", *, environment: Mapping[str, str] | None = None
) -> bytes:
    """What the program wrote. It is gone afterwards, also when we are told to stop. Raises MeasurementError."""
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=environment)
    try:
        async with asyncio.timeout(_MOST_SECONDS):
            output, complaint = await process.communicate(sent)
    except TimeoutError:
        raise MeasurementError(f"{command[0]} took more than {_MOST_SECONDS} s") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode != 0:
        raise MeasurementError(f"{command[0]} failed: {complaint.decode()}")
    return output
