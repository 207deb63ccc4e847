"""`shoal cache ...` as a user meets it, as far as that needs no running mesh."""

import os
import pty
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from launcher import binaries
from launcher.cli import main
from tests.ports import free_port

KEY = "a" * 64


def shoal_cache(*arguments: str, home: Path) -> Result:
    """Runs a command for a mesh that is not there."""
    (home / "mesh-secret").write_text("s" * 43)
    unset = dict.fromkeys((name for name in os.environ if name.startswith("SHOAL_")), None)
    told = {"SHOAL_HOME": str(home), "SHOAL_MESH_ADDRESS": f"127.0.0.1:{free_port()}"}
    return CliRunner().invoke(main, ["cache", *arguments], env={**unset, **told}, catch_exceptions=False)


@pytest.mark.parametrize(
    "command",
    [["stats"], ["get", KEY, "--tenant", "acme"], ["invalidate", "--tenant", "acme", "--all"]],
    ids=lambda command: command[0],
)
def test_without_a_mesh_a_command_says_how_to_start_one(command: list[str], tmp_path: Path) -> None:
    result = shoal_cache(*command, home=tmp_path)
    assert result.exit_code == 1
    assert "start it with `make run` or `shoal up`" in result.stderr


@pytest.mark.parametrize(
    "what", [[], ["--key", KEY, "--all"], ["--tag", "a", "--key", KEY], ["--tag", "a", "--all"]], ids=" ".join
)
def test_exactly_one_thing_is_invalidated(what: list[str], tmp_path: Path) -> None:
    result = shoal_cache("invalidate", "--tenant", "acme", *what, home=tmp_path)
    assert result.exit_code == 2
    assert "exactly one of --key, --tag and --all" in result.stderr


def test_a_policy_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    result = shoal_cache("get", KEY, "--tenant", "acme", "--policy", "answers", home=tmp_path)
    assert result.exit_code == 2
    assert "model_output" in result.stderr


@pytest.mark.parametrize(
    "options",
    [["--ttl", "0"], ["--ttl", "604801"], ["--concurrency", "0"], ["--tags", "a b"], ["--tags", "x" * 65],
     ["--tags", ",".join(f"tag{number}" for number in range(17))], ["--api-key-file", "/no/such/key"]],
    ids=" ".join,
)  # fmt: skip
def test_options_of_warming_have_bounds(options: list[str], tmp_path: Path) -> None:
    tasks = tmp_path / "tasks.jsonl"
    tasks.write_text('"x"\n')
    result = shoal_cache("warm", str(tasks), *options, home=tmp_path)
    assert result.exit_code == 2
    assert options[0] in result.stderr


@pytest.mark.parametrize("name", ["", "not-there.jsonl"])
def test_a_file_of_tasks_must_be_there(name: str, tmp_path: Path) -> None:
    result = shoal_cache("warm", str(tmp_path / name), home=tmp_path)
    assert result.exit_code == 2
    assert str(tmp_path / name) in result.stderr


def test_warming_needs_a_key(tmp_path: Path) -> None:
    tasks = tmp_path / "tasks.jsonl"
    tasks.write_text('"x"\n')
    without = shoal_cache("warm", str(tasks), home=tmp_path)
    assert without.exit_code == 1
    assert "no API key" in without.stderr
    assert "--api-key-file" in without.stderr
    (tmp_path / "demo-api-key").write_text("two words\n")
    assert "holds no API key" in shoal_cache("warm", str(tasks), home=tmp_path).stderr


def test_on_a_terminal_a_whole_tenant_is_asked_about_first(tmp_path: Path) -> None:
    (tmp_path / "mesh-secret").write_text("s" * 43)
    ours, theirs = pty.openpty()
    command = [str(binaries.shoal()), "cache", "invalidate", "--tenant", "acme", "--all"]
    told = {**os.environ, "SHOAL_HOME": str(tmp_path), "SHOAL_MESH_ADDRESS": f"127.0.0.1:{free_port()}"}
    with os.fdopen(ours, "wb", buffering=0) as keyboard:
        keyboard.write(b"n\n")
        result = subprocess.run(command, env=told, stdin=theirs, capture_output=True, text=True, timeout=60)
        os.close(theirs)
    assert result.returncode == 1
    assert "Invalidate all answers of the tenant acme?" in result.stdout
    assert "Aborted" in result.stderr
