"""What a process says of itself on its metrics port."""

import asyncio
import urllib.request


async def read(port: int) -> dict[str, float]:
    """The samples by name with labels."""
    return await asyncio.to_thread(_read, port)


def _read(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as response:
        lines = response.read().decode().splitlines()
    samples = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name: float(value) for name, _, value in samples}
