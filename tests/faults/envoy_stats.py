"""Envoy's own counts."""

import httpx

from tests.mesh import Mesh


def envoy_stat(mesh: Mesh, name: str) -> int:
    """A counter or a gauge, by its whole name; 0 before it was first used."""
    answer = httpx.get(f"http://127.0.0.1:{mesh.admin_port}/stats", params={"filter": f"^{name}$"})
    return int(answer.text.partition(": ")[2] or 0)
