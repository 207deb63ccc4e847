"""Settings of the limiter."""

from pathlib import Path

import pytest

from meshkit.settings import SettingsError, load
from services.ratelimit.settings import RatelimitSettings

THIS_FILE = __file__
REQUIRED = {
    "SHOAL_REPLICA": "ratelimit-1",
    "SHOAL_PORT": "8101",
    "SHOAL_METRICS_PORT": "9101",
    "SHOAL_MESH_SECRET_FILE": THIS_FILE,
}


def test_the_defaults_hold_the_published_tiers() -> None:
    settings = load(RatelimitSettings, REQUIRED)
    tiers = settings.parsed_tiers()
    sizes = {name: (tiers.of(name).limit.rate_per_second, tiers.of(name).limit.capacity) for name in tiers}
    assert sizes == {
        "anonymous": (1, 10),
        "free": (1, 10),
        "basic": (10, 50),
        "premium": (100, 200),
        "bench": (100_000, 200_000),
    }
    assert settings.envoy_port == 8102
    assert not settings.require_api_key


def test_without_a_database_url_the_keys_are_in_the_home() -> None:
    settings = load(RatelimitSettings, REQUIRED | {"SHOAL_HOME": "data"})
    assert settings.database().database == str(Path("data") / "ratelimit.db")


def test_all_faults_are_told_at_once() -> None:
    environ = REQUIRED | {"SHOAL_TIERS": "free", "SHOAL_DATABASE_URL": "mysql://somewhere/keys"}
    with pytest.raises(SettingsError) as refused:
        load(RatelimitSettings, environ)
    tiers, database = refused.value.faults
    assert tiers.startswith("SHOAL_TIERS: 'free' is no tier")
    assert database.startswith("SHOAL_DATABASE_URL: names 'mysql'")
