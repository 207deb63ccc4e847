"""The gateway's settings: how long a request may take."""

from pathlib import Path

import pytest

from meshkit.settings import SettingsError, load
from services.gateway.settings import GatewaySettings


def loaded(folder: Path, **settings: str) -> GatewaySettings:
    secret = folder / "mesh_secret"
    secret.write_bytes(b"x" * 32)
    required = {"SHOAL_REPLICA": "gateway-1", "SHOAL_PORT": "1", "SHOAL_METRICS_PORT": "2"}
    return load(GatewaySettings, {**required, "SHOAL_MESH_SECRET_FILE": str(secret), **settings})


@pytest.mark.parametrize(
    ("settings", "seconds"),
    [
        ({}, 900),
        ({"SHOAL_STREAM_MAX_SECONDS": "3600"}, 3600),
        ({"SHOAL_REQUEST_TIMEOUT_SECONDS": "30"}, 30),
        ({"SHOAL_REQUEST_TIMEOUT_SECONDS": "30", "SHOAL_STREAM_MAX_SECONDS": "20"}, 20),
        ({"SHOAL_REQUEST_TIMEOUT_SECONDS": "0", "SHOAL_STREAM_MAX_SECONDS": "20"}, 20),
    ],
)
def test_a_request_may_take_as_long_as_any_call_or_less(
    tmp_path: Path, settings: dict[str, str], seconds: float
) -> None:
    assert loaded(tmp_path, **settings).longest_seconds == seconds


@pytest.mark.parametrize("value", ["0", "-1", "86401"])
def test_there_is_a_bound_on_every_call(tmp_path: Path, value: str) -> None:
    with pytest.raises(SettingsError, match="SHOAL_STREAM_MAX_SECONDS"):
        loaded(tmp_path, SHOAL_STREAM_MAX_SECONDS=value)
