"""`shoal cache ...` as a user meets it, as far as that needs no running mesh."""

import os
import pty
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from launcher.cache import options as cache_options
from launcher.cli import main
from launcher.processes import binaries
from load.measuring.ports import free_port

KEY = "a" * 64
BAD_ADDRESSES = (
    "", "foo", "127.0.0.1:8080", "ftp://x", "http://", "http://:80", "http://x:0", "http://x:99999", "http://[::1",
    "http://a b", "http://user@x", "http://x?y", "http://x#y",
)  # fmt: skip


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
    assert "response, model_output, conversation_context, tool_result" in result.stderr


@pytest.mark.parametrize(
    ("command", "rule"),
    [
        (["get", "short", "--tenant", "acme"], "'key' must be 64 hexadecimal digits"),
        (["get", "é" * 64, "--tenant", "acme"], "'key' must be 64 hexadecimal digits"),
        (["invalidate", "--tenant", "acme", "--key", "short"], "'key' must be 64 hexadecimal digits"),
        (["invalidate", "--tenant", "acme", "--tag", "a b"], "'tag' must be 1 to 64 of"),
        (["warm", os.devnull, "--tags", "a b"], "'tags' must hold at most 16 tags, each 1 to 64 of"),
        (["get", KEY, "--tenant", "Acme"], "'--tenant': must be 1 to 64 of a-z 0-9 -, beginning with a letter."),
        (["invalidate", "--all", "--tenant", ""], "'--tenant': must be 1 to 64 of a-z 0-9 -, beginning with a letter."),
    ],
    ids=lambda part: " ".join(part) if isinstance(part, list) else "",
)
def test_keys_tags_and_tenants_are_refused_before_anything_is_called(
    command: list[str], rule: str, tmp_path: Path
) -> None:
    result = shoal_cache(*command, home=tmp_path)
    assert result.exit_code == 2
    assert rule in " ".join(result.stderr.split())


def test_a_key_is_looked_for_in_lower_case() -> None:
    assert cache_options.key("A" * 64) == KEY


@pytest.mark.parametrize("group", ["keys", "cache"])
def test_help_says_what_a_command_needs_to_act_as_the_operator(group: str) -> None:
    text = CliRunner().invoke(main, [group, "--help"]).stdout
    assert "\n  SHOAL_MESH_ADDRESS                   the mesh's inner listener (127.0.0.1:8090)\n" in text
    assert text.count("SHOAL_MESH_SECRET_FILE") == 1


@pytest.mark.parametrize(
    "options",
    [["--ttl", "0"], ["--ttl", "604801"], ["--concurrency", "0"], ["--tags", "a b"], ["--tags", "x" * 65],
     ["--tags", ",".join(f"tag{number}" for number in range(17))], ["--api-key-file", "/no/such/key"],
     *(["--url", url] for url in BAD_ADDRESSES)],
    ids=" ".join,
)  # fmt: skip
def test_options_of_warming_have_bounds(options: list[str], tmp_path: Path) -> None:
    tasks = tmp_path / "tasks.jsonl"
    tasks.write_text('"x"\n')
    result = shoal_cache("warm", str(tasks), *options, home=tmp_path)
    assert result.exit_code == 2
    assert options[0] in result.stderr


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080", "https://[::1]:8443/", "HTTP://shoal.example/behind/"])
def test_an_address_may_be_any_of_http(url: str) -> None:
    assert cache_options.address(url) == url


def test_a_refused_address_is_said_how_to_write(tmp_path: Path) -> None:
    result = shoal_cache("warm", os.devnull, "--url", "ftp://x", home=tmp_path)
    assert "'--url': write http://host:port or https://host:port." in result.stderr


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
