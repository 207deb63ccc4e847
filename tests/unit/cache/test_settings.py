"""The cache's settings."""

import pytest

from meshkit.settings import SettingsError, load
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
        ("SHOAL_RESPONSE_TTL_SECONDS", "inf"),
        ("SHOAL_RESPONSE_TTL_SECONDS", "nan"),
        ("SHOAL_ENTRY_MAX_BYTES", "100000000"),
    ],
)
def test_a_value_out_of_bounds_is_named(environ: dict[str, str], variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=variable):
        load(CacheSettings, {**environ, variable: value})
