"""`shoal keys` with a real limiter."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from launcher.cli import main
from services.ratelimit.keys import id_of, is_well_formed
from tests.integration.ratelimit.ratelimit_process import RatelimitProcess
from tests.mesh_identity import SECRET


class KeysCommand:
    """The command as the operator of a limiter calls it."""

    def __init__(self, limiter: RatelimitProcess, folder: Path) -> None:
        secret_file = folder / "secret"
        secret_file.write_bytes(SECRET)
        self._environ = {"SHOAL_MESH_ADDRESS": limiter.address, "SHOAL_MESH_SECRET_FILE": str(secret_file)}

    def __call__(self, *arguments: str) -> Result:
        return CliRunner().invoke(main, ["keys", *arguments], env=self._environ, catch_exceptions=False)

    def listed(self, key_id: str) -> dict[str, str | None] | None:
        rows = json.loads(self("list", "--all", "--json").stdout)
        return next((row for row in rows if row["id"] == key_id), None)


@pytest.fixture
def keys(limiter: RatelimitProcess, tmp_path: Path) -> KeysCommand:
    return KeysCommand(limiter, tmp_path)


def test_a_key_is_made_moved_to_another_tier_and_revoked(keys: KeysCommand) -> None:
    made = keys("create", "--tenant", "commander", "--tier", "free")
    assert is_well_formed(made.stdout.rstrip("\n"))
    key_id = id_of(made.stdout.rstrip("\n"))
    updated = keys("update", key_id, "--tier", "premium")
    assert updated.exit_code == 0
    assert updated.stderr == f"Key {key_id} of commander has the tier premium.\n"
    row = keys.listed(key_id)
    assert row
    assert (row["tier"], row["revoked"]) == ("premium", None)
    assert keys("revoke", key_id).exit_code == 0
    row = keys.listed(key_id)
    assert row
    assert row["revoked"]


def test_an_update_of_an_unknown_key_is_refused_in_a_sentence(keys: KeysCommand) -> None:
    refused = keys("update", "key_0000000000000000", "--tier", "free")
    assert refused.exit_code == 1
    assert refused.stderr == "There is no good API key with that id; list them.\n"


def test_an_update_to_an_unknown_tier_names_those_that_there_are(keys: KeysCommand) -> None:
    refused = keys("update", "key_0000000000000000", "--tier", "gold")
    assert refused.exit_code == 1
    assert refused.stderr == "The field 'tier' must be one of anonymous, free, premium.\n"
