"""`shoal cache ...` against a running mesh with two cache processes: what is warmed, shown and invalidated."""

import json
import os
import secrets
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from launcher.processes import binaries
from tests.backends import wait_until
from tests.mesh import Mesh, running_mesh
from tests.simulated_model import ModelProcess, model_process

TIERS = "anonymous=1000/2000,premium=1000/2000,slow=10/1"
DAY = 86_400
LONG_AGO_KEY = "0" * 64


@pytest.fixture(scope="module")
def model() -> Iterator[ModelProcess]:
    """It answers one call at a time."""
    with model_process("--slots", "1") as model:
        yield model


@pytest.fixture(scope="module")
def mesh(model: ModelProcess) -> Iterator[Mesh]:
    with running_mesh(
        SHOAL_MODEL_BASE_URL=f"{model.url}/v1",
        SHOAL_AGENT_REPLICAS="1",
        SHOAL_CACHE_REPLICAS="2",
        # On a busy machine a level that is late shall not be passed over.
        SHOAL_L2_TIMEOUT_SECONDS="1",
        SHOAL_L3_TIMEOUT_SECONDS="1",
        SHOAL_TIERS=TIERS,
        # What the cache processes count is to be seen, each time.
        SHOAL_NEAR_CACHE_SECONDS="0",
    ) as started:
        yield started


class Tenant:
    """A tenant of its own for each test, whose cache is empty at first."""

    def __init__(self, mesh: Mesh, name: str, folder: Path) -> None:
        self.name = name
        self._mesh = mesh
        self._key_file = folder / "key"
        self._key_file.write_text(mesh.create_key(tenant=name, tier="premium"))
        self.file = folder / "tasks.jsonl"

    def write(self, *lines: Any) -> None:
        self.file.write_text("".join(json.dumps(line) + "\n" for line in lines))

    def warm_command(self, *options: str) -> list[str]:
        return ["cache", "warm", str(self.file), "--api-key-file", str(self._key_file), *options]

    def warmed(self, *options: str, code: int = 0) -> str:
        """The report of a run that ends with this code."""
        done = self._mesh.shoal(*self.warm_command(*options), check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def ask(self, task: str, **body: Any) -> dict[str, Any]:
        headers = {"X-API-Key": self._key_file.read_text().strip()}
        answer = httpx.post(f"{self._mesh.url}/api/v1/task", json={"task": task, **body}, headers=headers, timeout=60)
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told

    def cached(self, task: str) -> dict[str, Any]:
        """How the cache was used for an answer."""
        cache: dict[str, Any] = self.ask(task)["cache"]
        return cache

    def get(self, key: str, *options: str) -> "subprocess.CompletedProcess[str]":
        return self._mesh.shoal("cache", "get", key, "--tenant", self.name, *options, check=False)

    def invalidate(self, *what: str) -> str:
        done = self._mesh.shoal("cache", "invalidate", "--tenant", self.name, *what)
        assert not done.stderr
        return done.stdout

    def entries(self, key: str) -> list[dict[str, Any]]:
        """The answer at each level of the cache process that the calls about this key go to; at one at least."""
        shown = self.get(key, "--json")
        assert shown.stdout, shown.stderr
        entries: list[dict[str, Any]] = json.loads(shown.stdout)["entries"]
        return entries

    def tags(self, key: str) -> list[list[str]]:
        return [entry["tags"] for entry in self.entries(key)]

    def is_invalidated(self, key: str) -> bool:
        """Whether no level gives the answer out, though it is there."""
        return all(entry["invalidated"] for entry in self.entries(key))

    def revoke_keys(self) -> None:
        for key in json.loads(self._mesh.shoal("keys", "list", "--tenant", self.name, "--json").stdout):
            self._mesh.shoal("keys", "revoke", key["id"])


@pytest.fixture
def tenant(mesh: Mesh, tmp_path: Path) -> Tenant:
    return Tenant(mesh, f"tenant-{secrets.token_hex(4)}", tmp_path)


def test_what_was_warmed_is_there_for_a_day_and_a_second_run_finds_it(tenant: Tenant) -> None:
    tenant.write("Name a fish.", {"task": "Name a tree.", "max_tokens": 500}, "Name a fish.")
    report = tenant.warmed("--tags", "faq")
    assert "computed                     2" in report
    assert "the same as an earlier line  1" in report
    assert " 0 tokens in" not in report
    found = tenant.cached("Name a fish.")
    assert found["status"] == "hit"
    assert 0.5 * DAY < found["ttl_seconds"] <= DAY
    assert "already there, with the tags it had  2" in tenant.warmed("--tags", "faq")


def test_what_is_there_already_keeps_its_tags_unless_all_is_computed_anew(tenant: Tenant) -> None:
    key = tenant.cached("Name a flower.")["key"]
    tenant.write("Name a flower.")
    assert "already there, with the tags it had  1" in tenant.warmed("--ttl", "1800", "--tags", "faq")
    assert tenant.tags(key) == [[], []]
    assert "computed  1" in tenant.warmed("--ttl", "1800", "--tags", "faq", "--refresh")
    assert tenant.tags(key) == [["faq"], ["faq"]]


def test_what_was_there_before_a_tag_was_invalidated_is_computed_anew_with_that_tag(tenant: Tenant) -> None:
    key = tenant.cached("Name a beetle.")["key"]
    tenant.invalidate("--tag", "faq")
    tenant.write("Name a beetle.")
    wait_until(lambda: "computed  1" in tenant.warmed("--tags", "faq"), "the invalidation", timeout_seconds=20)
    assert tenant.tags(key) == [["faq"], ["faq"]]


def test_what_has_less_than_half_of_the_time_left_is_computed_anew(tenant: Tenant) -> None:
    before = tenant.cached("Name a bird.")
    assert before["ttl_seconds"] <= 3600
    tenant.write("Name a bird.")
    assert "computed  1" in tenant.warmed()
    fresh_for = {entry["level"]: entry["fresh_for_seconds"] for entry in tenant.entries(before["key"])}
    assert fresh_for.keys() == {"l1", "l2"}
    assert min(fresh_for.values()) > DAY / 2


def test_lines_that_cannot_be_cached_or_are_refused_are_reported_and_stop_nothing(tenant: Tenant) -> None:
    tenant.write("What is the news today?", {"task": "x", "model": "none"}, {"task": 7}, 7, "Name a stone.")
    report = tenant.warmed(code=1)
    assert "computed       1" in report
    assert "not cacheable:\n  line 1: " in report
    assert "A run that begins anew asks what is not cacheable again" in report
    assert "line 2: 400 MODEL_UNKNOWN" in report
    assert "line 3: 400 FIELD_INVALID" in report
    assert "line 4: is neither a JSON string" in report
    assert tenant.cached("Name a stone.")["status"] == "hit"


def test_a_limit_is_kept_and_waited_for(mesh: Mesh, tenant: Tenant, tmp_path: Path) -> None:
    slow = tmp_path / "slow-key"
    slow.write_text(mesh.create_key(tenant=tenant.name, tier="slow"))
    tenant.write(*(f"Task {number}" for number in range(8)))
    report = tenant.warmed("--api-key-file", str(slow), "--concurrency", "8")
    assert "computed  8" in report


def test_a_key_that_is_refused_ends_the_run(tenant: Tenant, tmp_path: Path) -> None:
    unknown = tmp_path / "unknown-key"
    unknown.write_text("sk-shoal-" + "a" * 43)
    tenant.write(*(f"Task {number}" for number in range(50)))
    report = tenant.warmed("--api-key-file", str(unknown), "--concurrency", "1", code=1)
    assert report.startswith("0 of 50 lines")
    assert "The API key was refused: 401 API_KEY_INVALID" in report


def test_why_an_answer_was_cut_off_is_said(tenant: Tenant) -> None:
    tenant.write({"task": "Name a cloud.", "max_tokens": 1})
    assert "line 1: was answered, and the answer not kept: it was cut off" in tenant.warmed()


def test_a_run_that_is_interrupted_is_gone_on_with(mesh: Mesh, model: ModelProcess, tenant: Tenant) -> None:
    tasks = [f"Interrupted {number}" for number in range(6)]
    tenant.write(*tasks)
    with httpx.Client(base_url=model.url, timeout=60) as client:
        begun: Callable[[], int] = lambda: int(client.get("/calls").json()["begun"])  # noqa: E731 - typed
        before = begun()
        with client.stream("POST", "/v1/chat/completions", json=hanging()):
            process = started(mesh, tenant.warm_command("--concurrency", "2"))
            wait_until(lambda: begun() == before + 3, "two tasks behind the one that hangs")
            process.send_signal(signal.SIGINT)
            assert process.stderr is not None
            assert "Stopping" in process.stderr.readline() + process.stderr.readline()
    report, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert report.startswith("2 of 6 lines")
    rest = tenant.warmed()
    assert "computed                    4" in rest
    assert "finished by an earlier run  2" in rest
    assert {tenant.cached(task)["status"] for task in tasks} == {"hit"}


def hanging() -> dict[str, Any]:
    """A call that takes the model's only place from the first token on until it is closed."""
    return {"model": "simulated", "stream": True, "messages": [{"role": "user", "content": "[[hang_after=1]]"}]}


def started(mesh: Mesh, arguments: list[str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [str(binaries.shoal()), *arguments],
        env={**os.environ, **mesh.environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_an_entry_is_shown_with_its_levels_tags_worth_and_events(tenant: Tenant) -> None:
    answer = tenant.ask("Name a river.", cache={"tags": ["rivers", "water"]})
    key = answer["cache"]["key"]
    shown = tenant.get(key)
    assert shown.returncode == 0, shown.stderr
    assert "l2: fresh" in shown.stdout
    assert "rivers, water" in shown.stdout
    assert f"{answer['usage']['output_tokens']} out" in shown.stdout
    told = json.loads(tenant.get(key, "--json", "--events").stdout)
    [in_redis] = [entry for entry in told["entries"] if entry["level"] == "l2"]
    assert not in_redis["invalidated"]
    assert "".join(event.get("text", "") for event in in_redis["events"]) == answer["output"]
    lines = tenant.get(key, "--events").stdout.split("\n\n")[-1].splitlines()
    assert [json.loads(line) for line in lines] == told["entries"][0]["events"]


def test_a_key_that_is_not_cached_is_said_to_be_that(tenant: Tenant, mesh: Mesh) -> None:
    key = tenant.ask("Name a lake.")["cache"]["key"]
    missing = tenant.get(LONG_AGO_KEY)
    assert (missing.returncode, missing.stdout) == (1, "")
    assert missing.stderr.startswith("Not cached: no level has a response of the tenant")
    assert mesh.shoal("cache", "get", key, "--tenant", "somebody-else", check=False).returncode == 1
    assert tenant.get(key, "--policy", "tool_result").returncode == 1


@pytest.mark.parametrize("by", ["key", "tag", "all"])
def test_what_is_invalidated_is_computed_anew_by_whichever_process(by: str, tenant: Tenant) -> None:
    asked = {"cache": {"tags": ["news"]}}
    key = tenant.ask("Name a hill.", **asked)["cache"]["key"]
    other = tenant.ask("Name a rock.")["cache"]["key"]
    what = {"key": ["--key", key], "tag": ["--tag", "news"], "all": ["--all"]}[by]
    said = tenant.invalidate(*what)
    assert f"of the tenant {tenant.name}. Within 1 s" in said
    wait_until(lambda: tenant.is_invalidated(key), "the invalidation", timeout_seconds=20)
    assert tenant.ask("Name a hill.", **asked)["cache"]["status"] == "miss"
    assert tenant.is_invalidated(other) is (by == "all")


def test_an_entry_that_is_invalidated_at_every_level_is_said_to_be_that(tenant: Tenant) -> None:
    key = tenant.cached("Name a cave.")["key"]
    tenant.invalidate("--all")
    wait_until(lambda: tenant.get(key).returncode == 1, "the invalidation", timeout_seconds=20)
    shown = tenant.get(key)
    assert "l2: invalidated, no look-up finds it" in shown.stdout
    assert "fresh for" not in shown.stdout
    assert shown.stderr.startswith("Invalidated: no look-up finds this response of the tenant")


def test_a_tenant_that_never_had_a_key_is_warned_of(mesh: Mesh, tenant: Tenant) -> None:
    done = mesh.shoal("cache", "invalidate", "--tenant", "nosuch", "--all")
    assert done.stderr == "Warning: no API key of the tenant 'nosuch' exists; check the name.\n"
    assert done.stdout.startswith("Invalidated all answers of the tenant nosuch.")
    assert not mesh.shoal("cache", "invalidate", "--tenant", "anonymous-0123456789abcdef", "--all").stderr
    tenant.revoke_keys()
    assert "Invalidated" in tenant.invalidate("--all")


def response_counts(mesh: Mesh) -> dict[str, tuple[int, int]]:
    """Hits and misses of whole answers in each cache process, by its name."""
    counts: dict[str, tuple[int, int]] = {}

    def both_were_chosen() -> bool:
        told = json.loads(mesh.shoal("cache", "stats", "--json").stdout)
        [response] = [policy for policy in told["policies"] if policy["policy"] == "response"]
        counts[told["replica"]] = (response["hits"], response["misses"])
        return counts.keys() == {"cache-1", "cache-2"}

    wait_until(both_were_chosen, "numbers of both processes", timeout_seconds=60)
    return counts


def test_the_numbers_are_of_a_process_that_is_named(tenant: Tenant, mesh: Mesh) -> None:
    before = response_counts(mesh)
    assert [tenant.cached("Name a star.")["status"] for _ in range(4)] == ["miss", "hit", "hit", "hit"]
    after = response_counts(mesh)
    # Calls about one key go to one process.
    grown = {name: (after[name][0] - hits, after[name][1] - misses) for name, (hits, misses) in before.items()}
    assert sorted(grown.values()) == [(0, 0), (3, 1)]
    shown = mesh.shoal("cache", "stats").stdout
    assert shown.splitlines()[0] in ("cache-1, since it started", "cache-2, since it started")
    assert "model_output" in shown
