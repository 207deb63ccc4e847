"""The command `shoal` as a user meets it, as far as that needs no running mesh."""

import os
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from launcher.cli import main
from launcher.processes import binaries
from launcher.up import UncheckedError, up
from load.measuring.ports import free_port
from tests.mesh import free_shift

COMMANDS = [
    ["up"], ["run"], ["check"], ["migrate"], ["settings"], ["ps"], ["scale"], ["restart"],
    ["keys"], ["keys", "create"], ["keys", "list"], ["keys", "update"], ["keys", "revoke"],
    ["certs"],
    ["cache"], ["cache", "stats"], ["cache", "get"], ["cache", "invalidate"], ["cache", "warm"],
]  # fmt: skip


def shoal(*arguments: str, **variables: str) -> Result:
    """Runs a command in this process, with no other SHOAL_* variables than these."""
    unset = dict.fromkeys((name for name in os.environ if name.startswith("SHOAL_")), None)
    return CliRunner().invoke(main, arguments, env={**unset, **variables}, catch_exceptions=False)


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_says_what_it_does(command: list[str]) -> None:
    result = shoal(*command, "--help")
    assert result.exit_code == 0
    assert len(result.stdout.split()) > 15


def test_good_settings_are_counted(tmp_path: Path) -> None:
    result = shoal("check", SHOAL_HOME=str(tmp_path / "home"))
    assert result.exit_code == 0, result.output
    assert result.stdout.endswith("settings, all good\n")
    assert not (tmp_path / "home").exists()


def test_a_clients_own_address_and_key_are_no_faults(tmp_path: Path) -> None:
    result = shoal("check", SHOAL_HOME=str(tmp_path), SHOAL_URL="http://127.0.0.1:8080", SHOAL_KEY="sk-shoal-")
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    "arguments",
    [["\udcff"], ["run", "\udcff"], ["keys", "create", "--tenant", "acme", "--tier", "free", "--name", "a\udcff"],
     ["keys", "revoke", "\udcff"], ["cache", "invalidate", "--all", "--tenant", "\udcff"], ["cache", "warm", "\udcff"]],
    ids=lambda arguments: " ".join(map(ascii, arguments)),
)  # fmt: skip
def test_an_argument_that_is_not_utf_8_is_refused(arguments: list[str]) -> None:
    result = shoal(*arguments)
    assert result.exit_code == 2
    assert "\\xff' is not UTF-8" in result.stderr


def test_a_quiet_check_says_nothing_when_all_is_good(tmp_path: Path) -> None:
    assert shoal("check", "--quiet", SHOAL_HOME=str(tmp_path)).output == ""


def test_every_fault_of_every_program_is_listed_at_once() -> None:
    result = shoal(
        "check",
        SHOAL_AGENT_REPLICAS="many",
        SHOAL_TIERS="free",
        SHOAL_DATABASE_URL="mysql://somewhere",
        SHOAL_AGENT="no_such_package:factory",
        SHOAL_REQUEST_MAX_BYTES="-1",
        SHOAL_MODEL_SLOTS="0",
        SHOAL_AGENT_REPLICA="3",
        SHOAL_STATE_REDIS_URL="http://somewhere",
    )
    assert result.exit_code == 2
    for variable in (
        "SHOAL_AGENT_REPLICAS", "SHOAL_TIERS", "SHOAL_STATE_REDIS_URL", "SHOAL_DATABASE_URL", "SHOAL_AGENT:",
        "SHOAL_REQUEST_MAX_BYTES",
        "SHOAL_MODEL_SLOTS", "SHOAL_AGENT_REPLICA is not a setting of Shoal; did you mean SHOAL_AGENT_REPLICAS?",
    ):  # fmt: skip
        assert variable in result.stderr


def test_a_fault_of_the_mesh_hides_none_of_what_it_hands_on() -> None:
    result = shoal("check", SHOAL_AGENT_REPLICAS="many", SHOAL_MODEL_BASE_URL="ftp://somewhere")
    assert "SHOAL_AGENT_REPLICAS" in result.stderr
    assert "SHOAL_MODEL_BASE_URL" in result.stderr


def test_a_short_secret_and_a_key_of_another_certificate_are_faults(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("short")
    secret.chmod(0o600)
    result = shoal(
        "check",
        SHOAL_MESH_SECRET_FILE=str(secret),
        SHOAL_TLS_CERT_FILE=str(secret),
        SHOAL_TLS_KEY_FILE=str(secret),
        SHOAL_MODEL_API_KEY_FILE=str(tmp_path),
    )
    for variable in (
        "SHOAL_MESH_SECRET_FILE: must hold",
        "SHOAL_TLS_KEY_FILE: the key is not",
        "SHOAL_MODEL_API_KEY_FILE: cannot",
    ):
        assert variable in result.stderr


def test_check_refuses_a_route_that_would_fail_open_and_closed(tmp_path: Path) -> None:
    file = tmp_path / "limits.yaml"
    file.write_text("routes:\n  task: {fail_closed: true}\n")
    result = shoal("check", SHOAL_HOME=str(tmp_path), SHOAL_LIMITS_FILE=str(file), SHOAL_FAIL_OPEN_ROUTES="models,task")
    assert result.exit_code == 2
    assert f"SHOAL_LIMITS_FILE: {file}: line 2: the route 'task' fails open" in result.stderr


def test_faults_of_the_mesh_as_a_whole_are_listed() -> None:
    result = shoal("check", SHOAL_TLS_CERT_FILE="/no/such/file")
    assert result.exit_code == 2
    assert "SHOAL_TLS_KEY_FILE" in result.stderr


def test_a_fault_that_several_programs_have_is_listed_once() -> None:
    result = shoal("check", SHOAL_LOG_LEVEL="loud")
    assert result.exit_code == 2
    assert result.stderr.count("SHOAL_LOG_LEVEL") == 1


def test_a_secret_that_was_named_must_be_there() -> None:
    assert "SHOAL_MESH_SECRET_FILE" in shoal("check", SHOAL_MESH_SECRET_FILE="/no/such/secret").stderr


def test_a_busy_port_is_named_with_what_it_is_for_and_what_moves_it(tmp_path: Path, busy_port: int) -> None:
    result = shoal("check", "--ports", SHOAL_HOME=str(tmp_path), SHOAL_FRONT_PORT=str(busy_port))
    assert result.exit_code == 2
    [sentence] = [line for line in result.stderr.splitlines() if f"port {busy_port} " in line]
    assert "envoy" in sentence
    assert "SHOAL_FRONT_PORT" in sentence
    assert "SHOAL_PORT_SHIFT" in sentence


def test_up_refuses_a_busy_port_before_it_starts_anything(tmp_path: Path, busy_port: int) -> None:
    variables = {"SHOAL_HOME": str(tmp_path / "home"), "SHOAL_ADMIN_PORT": str(busy_port)}
    result = subprocess.run([binaries.shoal(), "up"], env={**os.environ, **variables}, capture_output=True, text=True)
    assert result.returncode == 2
    assert f"port {busy_port} (envoy) is in use by another program" in result.stderr
    assert "SHOAL_ADMIN_PORT" in result.stderr
    assert not (tmp_path / "home").exists()


def test_up_says_what_is_wrong_with_its_home(tmp_path: Path) -> None:
    (tmp_path / "logs").touch()
    variables = {"SHOAL_HOME": str(tmp_path), "SHOAL_PORT_SHIFT": str(free_shift())}
    result = subprocess.run([binaries.shoal(), "up"], env={**os.environ, **variables}, capture_output=True, text=True)
    assert result.returncode == 1
    assert f"{tmp_path} cannot be the home" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("bounds", "sentence"),
    [("2..8", "does not read like agent=2..8"), ("", "does not read like agent=2..8"),
     ("gateway=1..2", "only agent can be autoscaled"), ("agent=0..8", "from 1 at the least to 20 at the most")],
)  # fmt: skip
def test_up_refuses_bounds_that_are_wrong_with_what_is_right(bounds: str, sentence: str) -> None:
    result = shoal("up", "--autoscale", bounds)
    assert result.exit_code == 2
    assert sentence in result.stderr


async def test_the_check_before_the_start_sees_what_the_mesh_is_told() -> None:
    with pytest.raises(UncheckedError):
        await up({**os.environ, "SHOAL_PORT_SHIFT": "far"})


def test_a_service_by_itself_lists_what_it_must_be_told() -> None:
    result = shoal("run", "cache")
    assert result.exit_code == 2
    for variable in ("SHOAL_REPLICA", "SHOAL_PORT", "SHOAL_METRICS_PORT", "SHOAL_MESH_SECRET_FILE"):
        assert f"{variable} must be set" in result.stderr


def test_the_tables_of_all_owners_are_made_and_made_once(tmp_path: Path) -> None:
    for _ in range(2):
        assert shoal("migrate", SHOAL_HOME=str(tmp_path)).exit_code == 0
    for owner, table in {"agent": "preferences", "ratelimit": "api_keys"}.items():
        database = sqlite3.connect(tmp_path / f"{owner}.db")
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        database.close()
        assert table in tables


def test_keys_say_when_the_mesh_is_not_running(tmp_path: Path) -> None:
    (tmp_path / "mesh-secret").write_text("s" * 43)
    address = f"127.0.0.1:{free_port()}"
    result = shoal("keys", "list", SHOAL_HOME=str(tmp_path), SHOAL_MESH_ADDRESS=address)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"The mesh does not answer at {address}; start it with `make run` or `shoal up`, ")


def test_keys_say_when_the_secret_is_no_good(tmp_path: Path) -> None:
    (tmp_path / "mesh-secret").write_text("short")
    result = shoal("keys", "list", SHOAL_HOME=str(tmp_path))
    assert result.exit_code == 2
    assert "32 bytes" in result.stderr


def test_the_settings_are_shown_as_a_table() -> None:
    assert "| `SHOAL_AGENT_REPLICAS` |" in shoal("settings").stdout
