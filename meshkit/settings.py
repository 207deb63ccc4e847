"""Settings: one frozen struct per service, read once from the environment, all faults reported together."""

import difflib
import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from meshkit.identity import SECRET_MIN_BYTES
from meshkit.mesh_tls import MeshTls

PREFIX = "SHOAL_"
CLIENTS_OWN = ("SHOAL_URL", "SHOAL_KEY")
"""What examples keep the address and the key of a client in: no settings, and no slips of the pen."""

HIGHEST_PORT = 65535
HTTP1_OFFSET = 500
"""Envoy asks a service so far above its port, as the table of ports in docs/architecture.md has it."""

Port = Annotated[int, msgspec.Meta(ge=1, le=HIGHEST_PORT)]


class SettingsError(Exception):
    """Settings cannot be used. `faults` has one sentence for each thing to mend.

    `usable` is what there is, with defaults in place of what cannot be read, for whoever looks for more faults; None
    if something without a default is missing.
    """

    def __init__(self, faults: Iterable[str], usable: "Settings | None") -> None:
        self.faults = tuple(faults)
        self.usable = usable
        super().__init__("\n".join(self.faults))


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Base of every service's settings.

    The field `redis_url` is read from SHOAL_REDIS_URL. A field is annotated with `msgspec.Meta`: its description is the
    help text, its bounds are checked. A subclass overrides `faults` for what a single field cannot say.
    """

    def faults(self) -> list[str]:
        """Names what is wrong with the settings as a whole; empty if nothing is."""
        return []


class MeshTlsSettings(Settings, frozen=True, kw_only=True):
    """Base of the settings of whoever speaks inside the mesh: services, Envoy, the operator's command line."""

    mesh_cert_file: Annotated[
        str,
        msgspec.Meta(
            description="Certificate of Envoy and the services, for mutual TLS between them (PEM). Empty: no TLS there."
        ),
    ] = ""
    mesh_key_file: Annotated[str, msgspec.Meta(description="Key of that certificate (PEM).")] = ""
    mesh_ca_file: Annotated[str, msgspec.Meta(description="The authority that signed that certificate (PEM).")] = ""

    def faults(self) -> list[str]:
        files = {name: getattr(self, name) for name in ("mesh_cert_file", "mesh_key_file", "mesh_ca_file")}
        if faults := files_faults(files, purpose="mutual TLS takes a certificate, its key and the authority"):
            return faults
        tls = self.mesh_tls()
        if tls is None:
            return []
        # One that is no good makes the next ones fail as well, so the first says it all.
        return failed_checks(
            {
                "mesh_key_file": tls.check_key,
                "mesh_ca_file": tls.check_authority,
                "mesh_cert_file": tls.check_certificate,
            }
        )[:1]

    def mesh_tls(self) -> MeshTls | None:
        """None if it is not switched on."""
        if not self.mesh_cert_file:
            return None
        return MeshTls(cert_file=self.mesh_cert_file, key_file=self.mesh_key_file, ca_file=self.mesh_ca_file)


class ServiceSettings(MeshTlsSettings, frozen=True, kw_only=True):
    """What every service of the mesh is told."""

    replica: Annotated[str, msgspec.Meta(min_length=1, description="The name of this process, shown to callers.")]
    port: Annotated[Port, msgspec.Meta(description="The port on 127.0.0.1 where this process serves.")]
    metrics_port: Annotated[
        Port,
        msgspec.Meta(description="The port on 127.0.0.1 for Prometheus (/metrics), /status and readiness (/ready)."),
    ]
    mesh_secret_file: Annotated[
        str, msgspec.Meta(min_length=1, description="File with the secret that signs identities; 32 bytes or more.")
    ]
    mesh_address: Annotated[
        str,
        msgspec.Meta(description="Host and port of Envoy's inner listener, through which services call each other."),
    ] = "127.0.0.1:8090"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], msgspec.Meta(description="The least level that is logged.")
    ] = "info"
    log_format: Annotated[
        Literal["auto", "json", "console"],
        msgspec.Meta(description="Form of the log lines; auto is console on a terminal and json elsewhere."),
    ] = "auto"
    otlp_endpoint: Annotated[
        str,
        msgspec.Meta(description="Base address for OTLP over HTTP, such as http://127.0.0.1:4318. Empty: no spans."),
    ] = ""
    drain_notice_seconds: Annotated[
        float,
        msgspec.Meta(
            ge=0, le=86_400, description="On SIGTERM: how long to go on serving while Envoy learns of NOT_SERVING."
        ),
    ] = 1.5
    drain_seconds: Annotated[
        float,
        msgspec.Meta(
            ge=0, le=86_400, description="On SIGTERM, after the notice: how long running calls may take to end."
        ),
    ] = 900.0
    stream_max_seconds: Annotated[
        float,
        msgspec.Meta(
            ge=0.1,
            le=86_400,
            description="How long any call or stream may take; then it ends with DEADLINE_EXCEEDED.",
        ),
    ] = 900.0
    slow_client_seconds: Annotated[
        float,
        msgspec.Meta(
            ge=0.1,
            le=3_600,
            description="How long a message of a stream may wait for its caller to read; then the call ends with "
            "DEADLINE_EXCEEDED.",
        ),
    ] = 30.0

    def faults(self) -> list[str]:
        return [*super().faults(), *secret_fault("mesh_secret_file", self.mesh_secret_file)]


class GrpcServiceSettings(ServiceSettings, frozen=True, kw_only=True):
    """What a service is told that speaks gRPC."""

    http1_port: Annotated[
        int,
        msgspec.Meta(
            ge=0,
            le=HIGHEST_PORT,
            description="The port on 127.0.0.1 where Envoy asks this process, in gRPC over HTTP/1.1. 0: 500 above "
            "SHOAL_PORT, as in the table of ports.",
        ),
    ] = 0

    @property
    def envoys_port(self) -> int:
        """Where Envoy asks this process."""
        return self.http1_port or self.port + HTTP1_OFFSET

    def faults(self) -> list[str]:
        too_high = [f"{variable_of('http1_port')} must be set: {HTTP1_OFFSET} above {self.port} there is no port"]
        return [*super().faults(), *(too_high if self.envoys_port > HIGHEST_PORT else [])]


S = TypeVar("S", bound=Settings)


@dataclass(frozen=True, slots=True)
class Description:
    """One row of the settings table."""

    variable: str
    type: str
    default: str
    help: str


def load(kind: type[S], environ: Mapping[str, str]) -> S:
    """Reads settings of the given kind. Raises SettingsError with every fault; an empty variable counts as unset."""
    hints = get_type_hints(kind, include_extras=True)
    fields = msgspec.structs.fields(kind)
    values: dict[str, Any] = {}
    faults: list[str] = []
    for field in fields:
        variable = variable_of(field.name)
        text = environ.get(variable, "")
        if text:
            try:
                values[field.name] = _converted(text, hints[field.name])
            except ValueError as error:
                faults.append(f"{variable}: {error}, got {text!r}")
        elif field.required:
            faults.append(f"{variable} must be set: {_help(hints[field.name])}")
    if not all(field.name in values for field in fields if field.required):
        raise SettingsError(faults, usable=None)
    settings = kind(**values)
    faults += settings.faults()
    if faults:
        raise SettingsError(faults, usable=settings)
    return settings


def failed_checks(checks: Mapping[str, Callable[[], object]]) -> list[str]:
    """One fault for each field whose check raises ValueError; the error completes the sentence."""
    faults = []
    for field, check in checks.items():
        try:
            check()
        except ValueError as error:
            faults.append(f"{variable_of(field)}: {error}")
    return faults


def file_fault(field: str, path: str) -> list[str]:
    """One fault if the file of a setting cannot be read, else none."""
    is_readable = Path(path).is_file() and os.access(path, os.R_OK)
    return [] if is_readable else [f"{variable_of(field)}: cannot read the file {path!r}"]


def files_faults(files: Mapping[str, str], *, purpose: str) -> list[str]:
    """What is wrong with settings that name files, of which there must be all or none. `purpose` says why."""
    if not any(files.values()):
        return []
    if missing := [variable_of(field) for field, path in files.items() if not path]:
        return [f"{' and '.join(missing)} must be set too: {purpose}"]
    return [fault for field, path in files.items() for fault in file_fault(field, path)]


def secret_fault(field: str, path: str) -> list[str]:
    """One fault if the file of a setting cannot be read or holds too short a secret, else none."""
    if fault := file_fault(field, path):
        return fault
    is_long_enough = len(Path(path).read_bytes().strip()) >= SECRET_MIN_BYTES
    return [] if is_long_enough else [f"{variable_of(field)}: must hold at least {SECRET_MIN_BYTES} bytes"]


def variable_of(field: str) -> str:
    return PREFIX + field.upper()


def describe(kind: type[Settings]) -> list[Description]:
    """The rows of the settings table for one kind, in the order of its fields."""
    hints = get_type_hints(kind, include_extras=True)
    return [
        Description(
            variable=variable_of(field.name),
            type=_type_name(hints[field.name]),
            default="required" if field.required else _default_text(field.default),
            help=_help(hints[field.name]),
        )
        for field in msgspec.structs.fields(kind)
    ]


def unknown_variables(kinds: Iterable[type[Settings]], environ: Mapping[str, str]) -> list[str]:
    """One sentence for each SHOAL_* variable that no kind of settings has: most likely a slip of the pen."""
    known = {row.variable for kind in kinds for row in describe(kind)}
    return [
        f"{variable} is not a setting of Shoal{_suggestion(variable, known)}"
        for variable in sorted(environ)
        if variable.startswith(PREFIX) and variable not in known and variable not in CLIENTS_OWN
    ]


def _converted(text: str, hint: Any) -> Any:
    """Raises ValueError that says what is expected."""
    choices = _choices(hint)
    if choices and text not in choices:
        raise ValueError(f"Expected {' or '.join(choices)}")
    value = msgspec.convert(text, hint, strict=False)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("Expected a finite number")
    return value


def _suggestion(variable: str, known: set[str]) -> str:
    names = sorted(name.removeprefix(PREFIX) for name in known)
    close = difflib.get_close_matches(variable.removeprefix(PREFIX), names, n=1)
    return f"; did you mean {PREFIX}{close[0]}?" if close else ""


def _default_text(default: object) -> str:
    return str(default).lower() if isinstance(default, bool) else str(default)


def _type_name(hint: Any) -> str:
    return " or ".join(_choices(hint)) or str(_base(hint).__name__)


def _choices(hint: Any) -> tuple[str, ...]:
    """The words that a setting may be; none if it is free."""
    base = _base(hint)
    return get_args(base) if get_origin(base) is Literal else ()


def _base(hint: Any) -> Any:
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def _help(hint: Any) -> str:
    notes = [note for note in getattr(hint, "__metadata__", ()) if isinstance(note, msgspec.Meta)]
    return next((note.description for note in notes if note.description), "")
