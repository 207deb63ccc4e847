"""The agent's settings: every fault at once."""

from pathlib import Path

import pytest

from meshkit.settings import SettingsError, load
from services.agent.chat_agent import ChatAgent
from services.agent.settings import AgentSettings, agent_factory


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    secret_file = tmp_path / "secret"
    secret_file.write_bytes(b"s" * 32)
    return {
        "SHOAL_REPLICA": "agent-1",
        "SHOAL_PORT": "8101",
        "SHOAL_METRICS_PORT": "8111",
        "SHOAL_MESH_SECRET_FILE": str(secret_file),
    }


def faults_of(environ: dict[str, str]) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as refused:
        load(AgentSettings, environ)
    return refused.value.faults


def test_the_defaults_are_in_order(environ: dict[str, str]) -> None:
    assert agent_factory(load(AgentSettings, environ).agent) is ChatAgent


def test_all_faults_of_a_kind_are_told_at_once(environ: dict[str, str]) -> None:
    faults = faults_of(
        environ
        | {
            "SHOAL_DATABASE_URL": "mysql://somewhere/db",
            "SHOAL_MODEL_PRICES": "small=cheap",
            "SHOAL_AGENT": "services.agent.nowhere:Agent",
            "SHOAL_TIME_WORDS": "+soon,!",
            "SHOAL_MODEL_BASE_URL": "127.0.0.1:8161",
            "SHOAL_MODEL_API_KEY_FILE": "/nonexistent/key",
            "SHOAL_MESH_SECRET_FILE": "/nonexistent/secret",
        }
    )
    assert {fault.partition(":")[0] for fault in faults} == {
        "SHOAL_DATABASE_URL",
        "SHOAL_MODEL_PRICES",
        "SHOAL_AGENT",
        "SHOAL_TIME_WORDS",
        "SHOAL_MODEL_BASE_URL",
        "SHOAL_MODEL_API_KEY_FILE",
        "SHOAL_MESH_SECRET_FILE",
    }


@pytest.mark.parametrize(
    "agent", ["services.agent.chat_agent", "services.agent.chat_agent:Nobody", "nowhere:x", ":x", "."]
)
def test_an_agent_that_is_none_is_named(environ: dict[str, str], agent: str) -> None:
    (fault,) = faults_of(environ | {"SHOAL_AGENT": agent})
    assert fault.startswith("SHOAL_AGENT: ")


@pytest.mark.parametrize(
    "change",
    [
        {"SHOAL_TASK_MAX_BYTES": "0"},
        {"SHOAL_HEARTBEAT_SECONDS": "0.009"},
        {"SHOAL_HEARTBEAT_SECONDS": "60"},
        {"SHOAL_MODEL_TIMEOUT_SECONDS": "86401"},
        {"SHOAL_DRAIN_SECONDS": "86401"},
        {"SHOAL_DRAIN_NOTICE_SECONDS": "86401"},
        {"SHOAL_SLOW_CLIENT_SECONDS": "0.09"},
        {"SHOAL_STREAM_MAX_SECONDS": "0.09"},
        {"SHOAL_AGENT_SLOTS": "0"},
        {"SHOAL_AGENT_QUEUE": "-1"},
    ],
)
def test_what_is_out_of_bounds_is_named(environ: dict[str, str], change: dict[str, str]) -> None:
    (fault,) = faults_of(environ | change)
    assert fault.startswith(next(iter(change)))
