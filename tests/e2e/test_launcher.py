"""The launcher with the real mesh: what it shows works, what dies comes back, what stops is gone."""

import json
import os
import re
import signal
import ssl
import stat
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest

from tests.backends import wait_until
from tests.certificates import self_signed
from tests.mesh import Mesh, running_mesh

MOST_MEMORY_BYTES = 400 * 1024 * 1024
OTHERS = ("envoy", "model", "valkey-limits", "valkey-state", "valkey-cache")


def shown_commands(mesh: Mesh) -> list[str]:
    paragraphs = mesh.said.split("\n\n")
    return [part for part in paragraphs if part.startswith("curl") or " -c " in part]


def bash(command: str) -> str:
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=100, check=True).stdout


def status_with(mesh: Mesh, api_key: str) -> int:
    request = urllib.request.Request(f"{mesh.url}/v1/models", headers={"X-API-Key": api_key})
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


def serving_replica(mesh: Mesh) -> str | None:
    """The replica that answered one request; None if it failed, as it may when that replica has just died."""
    request = urllib.request.Request(
        f"{mesh.url}/api/v1/task",
        data=b'{"task": "Say yes.", "max_tokens": 1}',
        headers={"X-API-Key": mesh.api_key},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return str(response.headers["x-shoal-replica"])
    except urllib.error.HTTPError:
        return None


def pss_bytes(pid: int) -> int:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)
    assert found
    return int(found[1]) * 1024


def test_every_process_is_announced_when_it_is_ready(mesh: Mesh) -> None:
    for name in mesh.pids():
        assert re.search(rf"^  {name} +ready after \d+\.\d s$", mesh.said, re.MULTILINE)


def test_the_commands_that_it_shows_work_as_they_are(mesh: Mesh) -> None:
    plain, streamed, by_grpc = map(bash, shown_commands(mesh))
    assert json.loads(plain)["output"]
    assert streamed.rstrip().endswith("data: [DONE]")
    assert by_grpc.strip()


def test_the_demo_key_is_for_its_owner_alone_and_in_no_log(mesh: Mesh) -> None:
    assert stat.S_IMODE((mesh.home / "demo-api-key").stat().st_mode) == 0o600
    assert mesh.api_key in mesh.said
    assert not [log for log in (mesh.home / "logs").iterdir() if mesh.api_key in log.read_text(errors="replace")]


def test_a_key_can_be_made_listed_used_and_revoked(mesh: Mesh) -> None:
    made = mesh.run("keys", "create", "--tenant", "acme", "--tier", "basic", "--name", "of the test")
    key = made.stdout.strip()
    assert re.fullmatch(r"sk-shoal-[\w-]{43}", key), made.stderr
    assert key not in made.stderr
    assert status_with(mesh, key) == 200

    listed = json.loads(mesh.run("keys", "list", "--tenant", "acme", "--json").stdout)
    [row] = [row for row in listed if row["name"] == "of the test"]
    assert (row["tier"], row["revoked"]) == ("basic", None)

    assert mesh.run("keys", "revoke", row["id"]).returncode == 0
    wait_until(lambda: status_with(mesh, key) == 401, "the revocation")
    assert row["id"] not in mesh.run("keys", "list").stdout
    assert row["id"] in mesh.run("keys", "list", "--all").stdout


def test_a_refusal_of_the_limiter_is_shown_as_its_sentence(mesh: Mesh) -> None:
    refused = mesh.run("keys", "create", "--tenant", "acme", "--tier", "golden")
    assert refused.returncode == 1
    assert "'tier'" in refused.stderr
    assert "premium" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_second_mesh_in_the_same_home_is_refused(mesh: Mesh) -> None:
    shift = int(mesh.environment["SHOAL_PORT_SHIFT"]) + 3
    environment = {**os.environ, **mesh.environment, "SHOAL_PORT_SHIFT": str(shift)}
    shoal = Path(mesh.process.args[0])  # type: ignore[index] # it was started with a list
    second = subprocess.run([shoal, "up"], env=environment, capture_output=True, text=True, timeout=60)
    assert second.returncode == 1
    assert "SHOAL_HOME" in second.stderr


def test_our_processes_together_stay_small(mesh: Mesh) -> None:
    ours = [pid for name, pid in mesh.pids().items() if name not in OTHERS]
    assert sum(pss_bytes(pid) for pid in [mesh.process.pid, *ours]) < MOST_MEMORY_BYTES


def test_a_killed_agent_is_named_and_comes_back_into_the_pool(mesh: Mesh) -> None:
    before = mesh.pids()
    os.kill(before["agent-2"], signal.SIGKILL)
    wait_until(lambda: re.search(r"agent-2 +ready again", mesh.said) is not None, "the restart")
    assert re.search(r"agent-2 +ended with signal SIGKILL; starting again in 0\.2 s", mesh.said)
    wait_until(lambda: serving_replica(mesh) == "agent-2", "its return into the pool")
    after = mesh.pids()
    assert {name for name in before if before[name] != after[name]} == {"agent-2"}


@pytest.mark.parametrize("victim", ["ratelimit-1", "cache-1", "gateway-1", "envoy"])
def test_any_other_process_that_is_killed_comes_back_too(mesh: Mesh, victim: str) -> None:
    os.kill(mesh.pids()[victim], signal.SIGKILL)
    wait_until(lambda: re.search(rf"{victim} +ready again", mesh.said) is not None, "the restart")
    wait_until(lambda: serving_replica(mesh) is not None, "service")


def test_the_next_run_has_the_same_key_and_a_kill_leaves_nothing(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with running_mesh(home, SHOAL_AGENT_REPLICAS="1") as first:
        key = first.api_key
    certificate, private_key = self_signed(tmp_path)
    tls = {"SHOAL_TLS_CERT_FILE": str(certificate), "SHOAL_TLS_KEY_FILE": str(private_key)}
    with running_mesh(home, SHOAL_AGENT_REPLICAS="1", **tls) as second:
        assert second.api_key == key
        plain, streamed, by_grpc = map(bash, shown_commands(second))
        assert json.loads(plain)["output"]
        assert streamed.rstrip().endswith("data: [DONE]")
        assert by_grpc.strip()
        address = f"https://localhost:{second.ports('envoy')['tls_port']}/health"
        trusting = ssl.create_default_context(cafile=str(certificate))
        assert urllib.request.urlopen(address, context=trusting, timeout=10).status == 200

        started = second.descendants()
        second.process.kill()
        second.process.wait()
        gone, alive = psutil.wait_procs(started, timeout=10)
        assert gone
        assert not alive
