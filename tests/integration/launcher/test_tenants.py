"""Whether there is a tenant of a name, where the limiter cannot tell."""

from pathlib import Path

from launcher.keys import tenants
from launcher.keys.client import open_keys
from launcher.settings import OperatorSettings
from load.measuring.ports import free_port


async def test_that_the_keys_cannot_be_looked_up_is_a_doubt_and_no_failure(tmp_path: Path) -> None:
    (tmp_path / "mesh-secret").write_text("s" * 43)
    settings = OperatorSettings(home=str(tmp_path), mesh_address=f"127.0.0.1:{free_port()}")
    async with open_keys(settings) as keys:
        said = await tenants.doubt("acme", keys)
        assert said.startswith("Whether there is a tenant 'acme' could not be looked up: The mesh does not answer")
        assert await tenants.doubt("anonymous-0123456789abcdef", keys) == ""
