"""The cache's settings."""

import pytest

from meshkit.settings import SettingsError, load
from services.cache.eviction.choice import EvictionName
from services.cache.generations.generation_watcher import WAIT_SECONDS
from services.cache.main import LEASE_TIMEOUT_SECONDS
from services.cache.policies import DEFAULT_POLICIES, PolicyName
from services.cache.settings import CacheSettings


@pytest.fixture
def environ() -> dict[str, str]:
    return {
        "SHOAL_REPLICA": "cache-1",
        "SHOAL_PORT": "8120",
        "SHOAL_METRICS_PORT": "9120",
        "SHOAL_MESH_SECRET_FILE": __file__,
    }


@pytest.mark.parametrize(
    "url", ["redis://127.0.0.1", "rediss://:secret@cache.example:6380/1", "unix:///run/valkey.sock"]
)
def test_every_form_of_redis_url_is_accepted(environ: dict[str, str], url: str) -> None:
    assert load(CacheSettings, {**environ, "SHOAL_CACHE_REDIS_URL": url}).cache_redis_url == url


def test_the_defaults_are_the_numbers_of_the_mission(environ: dict[str, str]) -> None:
    settings = load(CacheSettings, environ)
    assert (settings.l1_max_entries, settings.l1_max_bytes) == (1000, 100_000_000)
    assert settings.response_ttl_seconds == 3600
    assert settings.entry_max_bytes == 4 * 1024 * 1024
    assert settings.ttl_target_hit_rate == 0.7
    assert settings.policies() == DEFAULT_POLICIES


def test_by_default_all_of_a_look_up_stays_below_the_second_that_an_agent_waits(environ: dict[str, str]) -> None:
    settings = load(CacheSettings, environ)
    promotion = settings.l2_timeout_seconds
    levels = settings.l2_timeout_seconds + settings.l3_timeout_seconds + promotion
    assert WAIT_SECONDS + levels + LEASE_TIMEOUT_SECONDS < 1


def test_the_older_settings_are_defaults_under_the_overrides(environ: dict[str, str]) -> None:
    older = {"SHOAL_RESPONSE_TTL_SECONDS": "90", "SHOAL_ENTRY_MAX_BYTES": "5000"}
    overrides = "tool_result.max_bytes=600, response.stale=5"
    policies = load(CacheSettings, {**environ, **older, "SHOAL_CACHE_POLICIES": overrides}).policies()
    response, tool_result = policies[PolicyName.RESPONSE], policies[PolicyName.TOOL_RESULT]
    assert (response.ttl_seconds, response.stale_seconds, response.max_bytes) == (90, 5, 5000)
    assert (tool_result.ttl_seconds, tool_result.max_bytes) == (600, 600)


def test_all_faults_of_policies_are_told_with_those_of_other_settings(environ: dict[str, str]) -> None:
    faulty = {
        "SHOAL_CACHE_POLICIES": "response.ttl=soon, answers.ttl=5",
        "SHOAL_STATE_REDIS_URL": "http://localhost",
        "SHOAL_DATABASE_URL": "mysql://localhost/cache",
    }
    with pytest.raises(SettingsError) as raised:
        load(CacheSettings, {**environ, **faulty})
    assert [fault.partition(":")[0] for fault in raised.value.faults] == [
        "SHOAL_STATE_REDIS_URL",
        "SHOAL_DATABASE_URL",
        "SHOAL_CACHE_POLICIES",
        "SHOAL_CACHE_POLICIES",
    ]


@pytest.mark.parametrize(
    "url", ["http://localhost", "127.0.0.1:6379", "redis://user:secret@host:port/0", "redis://127.0.0.1/0?no_option=1"]
)
def test_a_url_that_is_none_of_redis_is_named_without_being_repeated(environ: dict[str, str], url: str) -> None:
    with pytest.raises(SettingsError) as faults:
        load(CacheSettings, {**environ, "SHOAL_CACHE_REDIS_URL": url})
    assert faults.value.faults == ("SHOAL_CACHE_REDIS_URL: must be a URL such as redis://127.0.0.1:6379/0",)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SHOAL_L1_MAX_ENTRIES", "0"),
        ("SHOAL_L1_MAX_BYTES", "-1"),
        ("SHOAL_L2_TIMEOUT_SECONDS", "0"),
        ("SHOAL_RESPONSE_TTL_SECONDS", "0.9"),
        ("SHOAL_RESPONSE_TTL_SECONDS", "inf"),
        ("SHOAL_RESPONSE_TTL_SECONDS", "nan"),
        ("SHOAL_ENTRY_MAX_BYTES", "100000000"),
        ("SHOAL_L3_TIMEOUT_SECONDS", "0"),
        ("SHOAL_TTL_TARGET_HIT_RATE", "1"),
        ("SHOAL_TTL_TUNING_SECONDS", "0"),
        ("SHOAL_L1_EVICTION", "random"),
    ],
)
def test_a_value_out_of_bounds_is_named(environ: dict[str, str], variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=variable):
        load(CacheSettings, {**environ, variable: value})


@pytest.mark.parametrize("name", EvictionName)
def test_every_eviction_on_offer_can_be_chosen(environ: dict[str, str], name: EvictionName) -> None:
    assert load(CacheSettings, {**environ, "SHOAL_L1_EVICTION": name}).l1_eviction == name
