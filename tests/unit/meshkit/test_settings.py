"""Settings: read once, bounded, and every fault told at once."""

from pathlib import Path
from typing import Annotated, Literal

import msgspec
import pytest

from meshkit.settings import (
    Description,
    GrpcServiceSettings,
    Port,
    ServiceSettings,
    Settings,
    SettingsError,
    describe,
    load,
    unknown_variables,
)

Meta = msgspec.Meta


class KitchenSettings(Settings, frozen=True, kw_only=True):
    """Settings of every type that the services use."""

    name: Annotated[str, Meta(min_length=1, description="What it is called.")]
    port: Annotated[Port, Meta(description="Where it serves.")]
    ovens: Annotated[int, Meta(ge=1, le=8, description="How many ovens.")] = 2
    heat: Annotated[float, Meta(gt=0, description="How hot.")] = 1.5
    open: Annotated[bool, Meta(description="Whether guests may come.")] = False
    style: Annotated[Literal["plain", "fine"], Meta(description="How it is served.")] = "plain"

    def faults(self) -> list[str]:
        return ["SHOAL_OPEN needs two ovens"] if self.open and self.ovens < 2 else []


GIVEN = {"SHOAL_NAME": "north", "SHOAL_PORT": "8080"}


def faults(environ: dict[str, str]) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as raised:
        load(KitchenSettings, environ)
    assert str(raised.value) == "\n".join(raised.value.faults)
    return raised.value.faults


def test_what_is_not_set_has_its_default() -> None:
    assert load(KitchenSettings, GIVEN) == KitchenSettings(name="north", port=8080)


def test_every_type_is_read() -> None:
    environ = GIVEN | {"SHOAL_OVENS": "8", "SHOAL_HEAT": "2", "SHOAL_OPEN": "true", "SHOAL_STYLE": "fine"}
    expected = KitchenSettings(name="north", port=8080, ovens=8, heat=2.0, open=True, style="fine")
    assert load(KitchenSettings, environ) == expected


def test_a_variable_of_somebody_else_is_not_read() -> None:
    assert load(KitchenSettings, GIVEN | {"OVENS": "3", "SHOAL_OVENS_MAX": "4", "shoal_ovens": "5"}).ovens == 2


@pytest.mark.parametrize("variable", ["SHOAL_OVENS", "SHOAL_HEAT", "SHOAL_OPEN", "SHOAL_STYLE"])
def test_an_empty_variable_counts_as_unset(variable: str) -> None:
    assert load(KitchenSettings, GIVEN | {variable: ""}) == KitchenSettings(name="north", port=8080)


def test_a_required_variable_that_is_empty_is_missing() -> None:
    (fault,) = faults({"SHOAL_NAME": "", "SHOAL_PORT": "8080"})
    assert fault == "SHOAL_NAME must be set: What it is called."


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("SHOAL_PORT", "0"),
        ("SHOAL_PORT", "65536"),
        ("SHOAL_PORT", "http"),
        ("SHOAL_OVENS", "0"),
        ("SHOAL_OVENS", "9"),
        ("SHOAL_OVENS", "1.5"),
        ("SHOAL_OVENS", "٣x"),
        ("SHOAL_HEAT", "0"),
        ("SHOAL_HEAT", "nan"),
        ("SHOAL_HEAT", "inf"),
        ("SHOAL_HEAT", "hot"),
        ("SHOAL_OPEN", "perhaps"),
        ("SHOAL_STYLE", "Fine"),
    ],
)
def test_a_value_out_of_bounds_is_refused_by_name(variable: str, text: str) -> None:
    (fault,) = faults(GIVEN | {variable: text})
    assert fault.startswith(f"{variable}: Expected")
    assert fault.endswith(f"got {text!r}")


def test_every_fault_is_told_at_once() -> None:
    environ = {"SHOAL_PORT": "0", "SHOAL_OVENS": "nine", "SHOAL_STYLE": "loud"}
    assert [fault.split()[0].rstrip(":") for fault in faults(environ)] == [
        "SHOAL_NAME",
        "SHOAL_PORT",
        "SHOAL_OVENS",
        "SHOAL_STYLE",
    ]


def test_what_single_values_cannot_say_is_told_beside_them() -> None:
    told = faults(GIVEN | {"SHOAL_OPEN": "true", "SHOAL_OVENS": "1", "SHOAL_HEAT": "hot"})
    assert [fault.partition(":")[0] for fault in told] == ["SHOAL_HEAT", "SHOAL_OPEN needs two ovens"]


def test_a_secret_that_cannot_be_read_is_a_fault_of_every_service() -> None:
    environ = {
        "SHOAL_REPLICA": "one",
        "SHOAL_PORT": "9000",
        "SHOAL_METRICS_PORT": "9001",
        "SHOAL_MESH_SECRET_FILE": "no/such/file",
    }
    with pytest.raises(SettingsError) as raised:
        load(ServiceSettings, environ)
    assert raised.value.faults == ("SHOAL_MESH_SECRET_FILE: cannot read the file 'no/such/file'",)


def service(folder: Path, port: str) -> dict[str, str]:
    """What every service has to be told."""
    secret_file = folder / "mesh-secret"
    secret_file.write_bytes(b"s" * 32)
    return {
        "SHOAL_REPLICA": "one",
        "SHOAL_PORT": port,
        "SHOAL_METRICS_PORT": "9001",
        "SHOAL_MESH_SECRET_FILE": str(secret_file),
    }


@pytest.mark.parametrize(
    ("told", "port"), [({}, 8629), ({"SHOAL_HTTP1_PORT": "0"}, 8629), ({"SHOAL_HTTP1_PORT": "9"}, 9)]
)
def test_envoy_asks_500_above_a_services_port_unless_another_is_named(
    told: dict[str, str], port: int, tmp_path: Path
) -> None:
    assert load(GrpcServiceSettings, service(tmp_path, "8129") | told).envoys_port == port


def test_where_there_is_no_port_500_above_one_has_to_be_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as refused:
        load(GrpcServiceSettings, service(tmp_path, "65100"))
    assert refused.value.faults == ("SHOAL_HTTP1_PORT must be set: 500 above 65100 there is no port",)
    assert load(GrpcServiceSettings, service(tmp_path, "65100") | {"SHOAL_HTTP1_PORT": "9"}).envoys_port == 9


def test_settings_are_frozen() -> None:
    with pytest.raises(AttributeError):
        load(KitchenSettings, GIVEN).ovens = 3  # type: ignore[misc]


def test_a_description_says_what_can_be_set() -> None:
    assert describe(KitchenSettings) == [
        Description("SHOAL_NAME", "str", "required", "What it is called."),
        Description("SHOAL_PORT", "int", "required", "Where it serves."),
        Description("SHOAL_OVENS", "int", "2", "How many ovens."),
        Description("SHOAL_HEAT", "float", "1.5", "How hot."),
        Description("SHOAL_OPEN", "bool", "false", "Whether guests may come."),
        Description("SHOAL_STYLE", "plain or fine", "plain", "How it is served."),
    ]


def test_a_slip_of_the_pen_is_noticed_and_the_right_name_suggested() -> None:
    environ = GIVEN | {"SHOAL_OVEN": "3", "SHOAL_QQQQ": "1", "PATH": "/bin"}
    assert unknown_variables([KitchenSettings], environ) == [
        "SHOAL_OVEN is not a setting of Shoal; did you mean SHOAL_OVENS?",
        "SHOAL_QQQQ is not a setting of Shoal",
    ]


def test_what_examples_keep_a_clients_address_and_key_in_is_no_slip_of_the_pen() -> None:
    assert unknown_variables([KitchenSettings], {"SHOAL_URL": "http://there", "SHOAL_KEY": "sk-shoal-"}) == []
    assert unknown_variables([KitchenSettings], {"SHOAL_URLS": "http://there"}) != []


def test_a_variable_that_any_kind_knows_is_known() -> None:
    assert unknown_variables([KitchenSettings, ServiceSettings], GIVEN | {"SHOAL_REPLICA": "one"}) == []
