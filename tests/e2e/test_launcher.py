"""The launcher with the real mesh: what it shows works, what dies comes back, what stops is gone."""

import json
import os
import re
import signal
import stat
import subprocess
from dataclasses import replace
from pathlib import Path

import httpx
import psutil
import pytest

from load.measuring.memory import pss_bytes
from tests.backends import wait_until
from tests.certificates import localhost
from tests.mesh import Mesh, free_shift, running_mesh
from tests.simulated_model import model_process

MOST_MEMORY_BYTES = 400 * 1024 * 1024
OTHERS = ("envoy", "model", "valkey-limits", "valkey-state", "valkey-cache")


def shown_commands(mesh: Mesh) -> list[str]:
    paragraphs = mesh.output().split("\n\n")
    return [part for part in paragraphs if part.startswith("curl") or " -c " in part]


def bash(command: str) -> str:
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=100, check=True).stdout


def status_with(mesh: Mesh, api_key: str) -> int:
    return httpx.get(f"{mesh.url}/v1/models", headers={"X-API-Key": api_key}).status_code


def serving_replica(mesh: Mesh) -> str | None:
    """The replica that answered one request; None if it failed, as it may while something restarts."""
    body = {"task": "Say yes.", "max_tokens": 1}
    try:
        answer = httpx.post(f"{mesh.url}/api/v1/task", json=body, headers={"X-API-Key": mesh.api_key}, timeout=30)
    except httpx.TransportError:
        return None
    return answer.headers["x-shoal-replica"] if answer.status_code == 200 else None


def test_every_process_is_announced_when_it_is_ready(mesh: Mesh) -> None:
    for name in mesh.pids():
        assert re.search(rf"^  {name} +ready after \d+\.\d s$", mesh.output(), re.MULTILINE)


def test_the_commands_that_it_shows_work_as_they_are(mesh: Mesh) -> None:
    plain, streamed, by_grpc = map(bash, shown_commands(mesh))
    assert json.loads(plain)["output"]
    assert streamed.rstrip().endswith("data: [DONE]")
    assert by_grpc.strip()


def test_the_demo_key_is_for_its_owner_alone_and_in_no_log(mesh: Mesh) -> None:
    assert stat.S_IMODE((mesh.home / "demo-api-key").stat().st_mode) == 0o600
    assert mesh.api_key in mesh.output()
    assert not [log for log in (mesh.home / "logs").iterdir() if mesh.api_key in log.read_text(errors="replace")]


def test_a_key_can_be_made_listed_used_and_revoked(mesh: Mesh) -> None:
    made = mesh.shoal("keys", "create", "--tenant", "acme", "--tier", "basic", "--name", "of the test")
    key = made.stdout.strip()
    assert re.fullmatch(r"sk-shoal-[\w-]{43}", key), made.stderr
    assert key not in made.stderr
    assert status_with(mesh, key) == 200

    listed = json.loads(mesh.shoal("keys", "list", "--tenant", "acme", "--json").stdout)
    [row] = [row for row in listed if row["name"] == "of the test"]
    assert (row["tier"], row["revoked"]) == ("basic", None)

    assert mesh.shoal("keys", "revoke", row["id"]).returncode == 0
    wait_until(lambda: status_with(mesh, key) == 401, "the revocation")
    assert row["id"] not in mesh.shoal("keys", "list").stdout
    assert row["id"] in mesh.shoal("keys", "list", "--all").stdout


def test_a_refusal_of_the_limiter_is_shown_as_its_sentence(mesh: Mesh) -> None:
    refused = mesh.shoal("keys", "create", "--tenant", "acme", "--tier", "golden", check=False)
    assert refused.returncode == 1
    assert "'tier'" in refused.stderr
    assert "premium" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_second_mesh_in_the_same_home_is_refused(mesh: Mesh) -> None:
    other_ports = replace(mesh, environment=mesh.environment | {"SHOAL_PORT_SHIFT": str(free_shift())})
    second = other_ports.shoal("up", check=False)
    assert second.returncode == 1
    assert "SHOAL_HOME" in second.stderr


def test_our_processes_together_stay_small(mesh: Mesh) -> None:
    ours = [pid for name, pid in mesh.pids().items() if name not in OTHERS]
    assert sum(pss_bytes(pid) for pid in [mesh.process.pid, *ours]) < MOST_MEMORY_BYTES


def test_a_killed_agent_is_named_and_comes_back_into_the_pool(mesh: Mesh) -> None:
    before = mesh.pids()
    os.kill(before["agent-2"], signal.SIGKILL)
    wait_until(lambda: re.search(r"agent-2 +ready again", mesh.output()) is not None, "the restart")
    assert re.search(r"agent-2 +ended with signal SIGKILL; starting again in 0\.2 s", mesh.output())
    wait_until(lambda: serving_replica(mesh) == "agent-2", "its return into the pool")
    after = mesh.pids()
    assert {name for name in before if before[name] != after[name]} == {"agent-2"}


@pytest.mark.parametrize("victim", ["ratelimit-1", "cache-1", "gateway-1", "envoy"])
def test_any_other_process_that_is_killed_comes_back_too(mesh: Mesh, victim: str) -> None:
    os.kill(mesh.pids()[victim], signal.SIGKILL)
    wait_until(lambda: re.search(rf"{victim} +ready again", mesh.output()) is not None, "the restart")
    wait_until(lambda: serving_replica(mesh) is not None, "service")


def test_the_next_run_has_the_same_key_and_a_kill_leaves_nothing(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with (
        model_process() as model,
        running_mesh(home, SHOAL_AGENT_REPLICAS="1", SHOAL_MODEL_BASE_URL=f"{model.url}/v1") as first,
    ):
        key = first.api_key
    certificate, private_key = localhost(tmp_path)
    tls = {"SHOAL_TLS_CERT_FILE": str(certificate), "SHOAL_TLS_KEY_FILE": str(private_key)}
    with running_mesh(home, SHOAL_AGENT_REPLICAS="1", **tls) as second:
        assert second.api_key == key
        plain, streamed, by_grpc = map(bash, shown_commands(second))
        assert json.loads(plain)["output"]
        assert streamed.rstrip().endswith("data: [DONE]")
        assert by_grpc.strip()
        started = second.descendants()
        second.process.kill()
        second.process.wait()
        gone, alive = psutil.wait_procs(started, timeout=10)
        assert gone
        assert not alive
