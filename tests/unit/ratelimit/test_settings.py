"""Settings of the limiter."""

from pathlib import Path

import pytest

from meshkit.settings import SettingsError, load
from services.ratelimit.buckets.bucket import Limit
from services.ratelimit.limits import CallerLimits, ConcurrencyLimit, RateLimit
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
    assert {name: tiers.of(name).limit for name in tiers} == {
        "anonymous": Limit(1, 10),
        "free": Limit(1, 10),
        "basic": Limit(10, 50),
        "premium": Limit(100, 200),
        "bench": Limit(100_000, 200_000),
    }
    assert settings.envoy_port == 8102
    assert not settings.require_api_key
    assert settings.parsed_domains() == {}


def test_look_ups_have_a_limit_of_their_own() -> None:
    assert load(RatelimitSettings, REQUIRED).parsed_look_ups() == Limit(10, 100)
    assert load(RatelimitSettings, REQUIRED | {"SHOAL_LOOK_UPS": "0.5/3"}).parsed_look_ups() == Limit(0.5, 3)


@pytest.mark.parametrize("text", ["10", "10/", "/10", "ten/100", "10/1.5", "0/10", "10/0", "inf/10", "1/2/3"])
def test_look_ups_without_a_limit_are_a_fault(text: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load(RatelimitSettings, REQUIRED | {"SHOAL_LOOK_UPS": text})
    (fault,) = refused.value.faults
    assert fault == "SHOAL_LOOK_UPS: is no limit; write it as rate/burst, both above 0, such as 10/100"


def test_all_faults_are_told_at_once() -> None:
    environ = REQUIRED | {"SHOAL_TIERS": "free", "SHOAL_DATABASE_URL": "mysql://somewhere/keys"}
    with pytest.raises(SettingsError) as refused:
        load(RatelimitSettings, environ)
    tiers, database = refused.value.faults
    assert tiers.startswith("SHOAL_TIERS: 'free' is no tier")
    assert database.startswith("SHOAL_DATABASE_URL: names 'mysql'")


def test_without_a_limits_file_the_tiers_are_all_there_is() -> None:
    limits = load(RatelimitSettings, REQUIRED).parsed_limits()
    assert limits.of(tier="basic", tenant="acme") == CallerLimits(RateLimit("basic", Limit(10, 50)))


def test_the_limits_file_stands_on_top_of_the_tiers(tmp_path: Path) -> None:
    file = tmp_path / "limits.yaml"
    file.write_text("tiers: {basic: {concurrent: {calls: 2}}}")
    limits = load(RatelimitSettings, REQUIRED | {"SHOAL_LIMITS_FILE": str(file)}).parsed_limits()
    assert limits.of(tier="basic", tenant="acme").concurrent == ConcurrencyLimit("basic", 2)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (None, "cannot be read"),
        ("tiers:\n  basci: {}\n", "line 2: there is no tier 'basci'"),
        ("", "line 1: the file is empty"),
    ],
)
def test_a_limits_file_that_cannot_be_used_is_a_fault(tmp_path: Path, text: str | None, fault: str) -> None:
    file = tmp_path / "limits.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(SettingsError) as refused:
        load(RatelimitSettings, REQUIRED | {"SHOAL_LIMITS_FILE": str(file)})
    (told,) = refused.value.faults
    assert told.startswith(f"SHOAL_LIMITS_FILE: {file}: {fault}")


def test_a_route_cannot_fail_open_and_closed(tmp_path: Path) -> None:
    file = tmp_path / "limits.yaml"
    file.write_text("routes:\n  models: {fail_closed: true}\n")
    environ = REQUIRED | {"SHOAL_LIMITS_FILE": str(file), "SHOAL_FAIL_OPEN_ROUTES": "task, models"}
    with pytest.raises(SettingsError) as refused:
        load(RatelimitSettings, environ)
    (told,) = refused.value.faults
    assert told.startswith(f"SHOAL_LIMITS_FILE: {file}: line 2: the route 'models' fails open")
    limits = load(RatelimitSettings, environ | {"SHOAL_FAIL_OPEN_ROUTES": "task"}).parsed_limits()
    assert limits.request(tier="free", tenant="acme", route="models").fail_closed


def test_a_folder_is_no_limits_file_even_with_one_file_in_it(tmp_path: Path) -> None:
    (tmp_path / "limits.yaml").write_text("tiers: {}")
    with pytest.raises(SettingsError) as refused:
        load(RatelimitSettings, REQUIRED | {"SHOAL_LIMITS_FILE": str(tmp_path)})
    assert refused.value.faults == (f"SHOAL_LIMITS_FILE: {tmp_path}: must be a file",)


def test_a_faulty_tier_is_no_fault_of_the_limits_file(tmp_path: Path) -> None:
    file = tmp_path / "limits.yaml"
    file.write_text("tiers: {}")
    with pytest.raises(SettingsError) as refused:
        load(RatelimitSettings, REQUIRED | {"SHOAL_TIERS": "free", "SHOAL_LIMITS_FILE": str(file)})
    (told,) = refused.value.faults
    assert told.startswith("SHOAL_TIERS: ")
