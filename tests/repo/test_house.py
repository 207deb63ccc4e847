"""The rules of the house, as far as a program can check them."""

import ast
import re
from pathlib import Path

import pytest

from tests.repo.tree import holding, imports, named, parsed, sources

OURS = ("services", "meshkit", "launcher", "load", "envoy/envoyconf")
SERVICES = ("agent", "cache", "gateway", "ratelimit")

ADAPTERS = {
    "agent": {
        "main", "servicer", "translate", "cache_client", "openai_model", "quota_client", "redis_session_store",
        "sql_preference_store", "metrics", "settings",
    },
    "cache": {
        "main", "servicer", "translate", "redis_level", "sql_level", "sql_table", "redis_generation_log",
        "redis_leases", "cache_metrics", "settings",
    },
    "ratelimit": {
        "main", "servicer", "envoy_servicer", "envoy_questions", "envoy_request", "envoy_reply",
        "redis_bucket_store", "sql_key_store", "redis_reservation_store", "redis_fleet", "translate",
        "durations", "domain_questions", "metrics", "outage", "settings",
    },
}  # fmt: skip
"""What may touch the outside. Every other module of these services is core."""

FORBIDDEN_IN_CORE = {"grpc", "redis", "sqlalchemy", "aiohttp", "shoal", "os", "time", "socket", "prometheus_client"}

LONGEST_FUNCTION = 60
LONGEST_FILE = 350


@pytest.mark.parametrize("service", SERVICES)
def test_services_know_each_other_only_by_their_protos(service: str) -> None:
    others = tuple(f"services.{name}" for name in SERVICES if name != service)
    offences = [
        f"{named(path)} imports {name}"
        for path in sources(f"services/{service}")
        for name in imports(path)
        if name.startswith(others)
    ]
    assert not offences


def test_what_services_share_imports_no_service() -> None:
    offences = [
        f"{named(path)} imports {name}"
        for path in sources("meshkit")
        for name in imports(path)
        if name.startswith(("services", "launcher"))
    ]
    assert not offences


@pytest.mark.parametrize("service", ADAPTERS)
def test_the_core_of_a_service_is_pure(service: str) -> None:
    rooms = [path for path in sources(f"services/{service}") if "migrations" not in path.parts]
    core = [path for path in rooms if path.stem not in ADAPTERS[service]]
    assert core
    offences = [
        f"{named(path)} imports {name}"
        for path in core
        for name in imports(path)
        if name.partition(".")[0] in FORBIDDEN_IN_CORE
    ]
    assert not offences


def test_the_environment_is_read_by_the_command_line_alone() -> None:
    readers = holding(
        re.compile(r"\bos\.(environ|getenv)\b"), sources("services", "meshkit", "launcher", "envoy/envoyconf")
    )
    assert [named(path) for path in readers] == ["launcher/cli.py"]


def test_there_are_no_drawers() -> None:
    drawers = {"utils", "util", "helpers", "helper", "common", "misc"}
    assert not [named(path) for path in sources(*OURS, "tests") if drawers & {path.stem, path.parent.name}]


def test_functions_fit_on_a_screen_and_files_have_one_topic() -> None:
    offences = []
    for path in sources(*OURS):
        if (lines := path.read_text().count("\n")) > LONGEST_FILE:
            offences.append(f"{named(path)} has {lines} lines")
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
                length = node.end_lineno - node.lineno + 1
                if length > LONGEST_FUNCTION:
                    offences.append(f"{named(path)}: {node.name} has {length} lines")
    assert not offences


def test_every_module_says_what_it_is_about() -> None:
    modules = [path for path in sources(*OURS, "tests") if path.read_text().strip()]
    assert not [named(path) for path in modules if not ast.get_docstring(parsed(path))]


def test_tests_replace_nothing_of_ours() -> None:
    replacing = re.compile(r"\b(monkeypatch\.setattr|mock\.patch|MagicMock|AsyncMock)\b")
    here = Path(__file__)
    assert not [named(path) for path in holding(replacing, sources("tests")) if path != here]
