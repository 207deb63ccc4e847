"""Settings of the launcher's own programs: the whole mesh, the local model, the commands that use a mesh."""

import dataclasses
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from envoyconf.load_balancing import ALLOWED, LoadBalancing
from envoyconf.route_names import ROUTE_NAMES
from envoyconf.topology import LOOPBACK, EnvoyPorts, FailOpen, FloodGuard, TlsFiles, Topology
from launcher.home import home_faults
from meshkit.certificates import check_pair, server_context
from meshkit.settings import (
    MeshTlsSettings,
    Port,
    Settings,
    failed_checks,
    file_fault,
    files_faults,
    secret_fault,
)

MODEL_NAME = "smollm2-135m-instruct"

MOST_REQUESTS = 4_294_967_295
"""What Envoy counts them in: 32 bits."""

Home = Annotated[str, Meta(min_length=1, description="Folder for what is kept: keys, databases, logs.")]
SecretFile = Annotated[
    str, Meta(description="File with the secret that signs identities. Empty: <home>/mesh-secret, made when missing.")
]
FrontPort = Annotated[Port, Meta(description="The front door without TLS: REST and gRPC.")]
TlsPort = Annotated[Port, Meta(description="The front door with TLS.")]
TlsCertFile = Annotated[str, Meta(description="Certificate chain of the front door (PEM). Empty: no TLS.")]
InnerPort = Annotated[Port, Meta(description="Envoy's inner listener, through which services call each other.")]
PortShift = Annotated[
    int, Meta(description="Added to every port, default or set, so that several meshes fit on one machine.")
]


class UpSettings(MeshTlsSettings, frozen=True, kw_only=True):
    """What `shoal up` itself reads. The processes that it starts read their own from the same environment."""

    home: Home = ".shoal"
    mesh_secret_file: SecretFile = ""
    agent_replicas: Annotated[int, Meta(ge=1, le=20, description="How many agents to start.")] = 3
    gateway_replicas: Annotated[int, Meta(ge=1, le=10, description="How many gateways to start.")] = 1
    ratelimit_replicas: Annotated[int, Meta(ge=1, le=4, description="How many limiters to start.")] = 1
    cache_replicas: Annotated[int, Meta(ge=1, le=4, description="How many caches to start.")] = 1
    fail_open_routes: Annotated[
        str,
        Meta(
            description="Comma-separated routes on which requests go on as anonymous when the limiter does not answer; "
            f"out of {', '.join(sorted(ROUTE_NAMES))}."
        ),
    ] = ""
    front_port: FrontPort = 8080
    tls_port: TlsPort = 8443
    inner_port: InnerPort = 8090
    admin_port: Annotated[Port, Meta(description="Envoy's administration and metrics.")] = 9901
    port_shift: PortShift = 0
    trusted_hops: Annotated[
        int,
        Meta(
            ge=0, le=100, description="Proxies of yours in front of the front door whose X-Forwarded-For is believed."
        ),
    ] = 0
    limits_redis_url: Annotated[str, Meta(description="Redis for limits (noeviction). Empty: a local Valkey.")] = ""
    state_redis_url: Annotated[str, Meta(description="Redis for sessions (noeviction). Empty: a local Valkey.")] = ""
    cache_redis_url: Annotated[str, Meta(description="Redis for answers (allkeys-lfu). Empty: a local Valkey.")] = ""
    model_base_url: Annotated[
        str, Meta(description="Base of an OpenAI-compatible API, ending in /v1. Empty: the local model.")
    ] = ""
    tls_cert_file: TlsCertFile = ""
    tls_key_file: Annotated[str, Meta(description="Key of that certificate (PEM).")] = ""
    otlp_endpoint: Annotated[
        str, Meta(description="Base address for OTLP over HTTP, such as http://127.0.0.1:4318. Empty: no spans.")
    ] = ""
    load_balancing: Annotated[str, Meta(description=f"How calls are spread over the agents: {ALLOWED}.")] = (
        "least_request"
    )
    agent_slots: Annotated[int, Meta(ge=1, le=10_000, description="How many turns an agent works on at once.")] = 128
    agent_queue: Annotated[
        int, Meta(ge=0, le=10_000, description="How many turns wait in an agent for a slot; it refuses more at once.")
    ] = 64
    model_timeout_seconds: Annotated[
        float,
        Meta(gt=0, le=86_400, description="How long a model may be silent. Envoy's idle timeout is longer than that."),
    ] = 120.0
    stream_max_seconds: Annotated[
        float,
        Meta(ge=0.1, le=86_400, description="How long a call or a stream may take, and so how long draining may."),
    ] = 900.0
    slow_client_seconds: Annotated[
        float, Meta(ge=0.1, le=3_600, description="How long a client may take to read what waits for it.")
    ] = 30.0
    flood_per_second: Annotated[
        int,
        Meta(
            ge=1,
            le=MOST_REQUESTS,
            description="Requests per second from one address (IPv6: one /64), whoever makes them.",
        ),
    ] = 1000
    flood_burst: Annotated[int, Meta(ge=1, le=MOST_REQUESTS, description="How many of those may come at once.")] = 2000
    envoy_max_heap_bytes: Annotated[
        int, Meta(ge=128 << 20, le=1 << 50, description="What Envoy's memory may grow to; it sheds load before that.")
    ] = 1 << 30
    drain_seconds: Annotated[
        float, Meta(ge=0, le=86_400, description="On SIGTERM to a service: how long its running calls may take to end.")
    ] = 5.0

    def faults(self) -> list[str]:
        return [
            *super().faults(),
            *home_faults(self.home),
            *self._tls_faults(),
            *self._secret_faults(),
            *failed_checks({"fail_open_routes": lambda: self.fail_open(identity="")}),
            *self.topology_faults(),
        ]

    def fail_open(self, identity: str) -> FailOpen | None:
        """The routes that fail open, with the signed identity for them. Raises ValueError for routes unknown."""
        routes = frozenset(name.strip() for name in self.fail_open_routes.split(",") if name.strip())
        return FailOpen(routes=routes, identity=identity) if routes else None

    def topology(self) -> Topology:
        """The table of ports and pools. Raises ValueError if a port is out of range or has two users, or if there is no
        such way to spread calls.
        """
        envoy = EnvoyPorts(front=self.front_port, tls=self.tls_port, inner=self.inner_port, admin=self.admin_port)
        return dataclasses.replace(
            Topology.default(
                agent_replicas=self.agent_replicas,
                gateways=self.gateway_replicas,
                limiters=self.ratelimit_replicas,
                caches=self.cache_replicas,
                agent_turns=self.agent_slots + self.agent_queue,
                envoy=envoy,
                shift=self.port_shift,
            ),
            trusted_hops=self.trusted_hops,
            tls=TlsFiles(cert_file=self.tls_cert_file, key_file=self.tls_key_file) if self.tls_cert_file else None,
            mesh_tls=bool(self.mesh_cert_file),
            otlp_endpoint=self.otlp_endpoint or None,
            files=str(Path(self.home).absolute() / "envoy"),
            load_balancing=LoadBalancing.parse(self.load_balancing),
            flood_guard=FloodGuard(per_second=self.flood_per_second, burst=self.flood_burst),
            stream_max_seconds=self.stream_max_seconds,
            # A model that is silent for as long as it may be is the agent's to deal with.
            idle_seconds=max(120.0, self.model_timeout_seconds + 30.0),
            slow_client_seconds=self.slow_client_seconds,
            max_heap_bytes=self.envoy_max_heap_bytes,
        )

    def _tls_faults(self) -> list[str]:
        files = {"tls_cert_file": self.tls_cert_file, "tls_key_file": self.tls_key_file}
        if faults := files_faults(files, purpose="TLS takes a certificate and its key"):
            return faults
        if not self.tls_cert_file:
            return []
        return failed_checks(
            {
                "tls_key_file": lambda: server_context(self.tls_cert_file, self.tls_key_file),
                "tls_cert_file": lambda: check_pair(self.tls_cert_file, self.tls_key_file),
            }
        )[:1]

    def _secret_faults(self) -> list[str]:
        return secret_fault("mesh_secret_file", self.mesh_secret_file) if self.mesh_secret_file else []

    def topology_faults(self) -> list[str]:
        """One fault if calls cannot be spread as the setting says, or if the ports make no table; else none."""
        if faults := failed_checks({"load_balancing": lambda: LoadBalancing.parse(self.load_balancing)}):
            return faults
        try:
            self.topology()
        except ValueError as error:
            return [f"{error} The ports come from SHOAL_PORT_SHIFT and SHOAL_*_PORT, the rest from its own setting."]
        return []


class ModelSettings(Settings, frozen=True, kw_only=True):
    """The local model server."""

    port: Annotated[Port, Meta(description="The port on 127.0.0.1 where this process serves.")]
    model_slots: Annotated[int, Meta(ge=1, le=64, description="Answers that the local model writes at once.")] = 4
    model_context_tokens: Annotated[
        int, Meta(ge=512, le=8192, description="Tokens of question and answer together, for each slot.")
    ] = 4096
    model_threads: Annotated[
        int,
        Meta(
            ge=1, le=256, description="Threads that the local model computes with; each should have a core to itself."
        ),
    ] = 1


class MigrateSettings(Settings, frozen=True, kw_only=True):
    """Where the databases are that `shoal migrate` brings up to date."""

    home: Home = ".shoal"
    database_url: Annotated[
        str, Meta(description="SQL database, such as postgresql://user@host/name. Empty: SQLite files in the home.")
    ] = ""


class ControlSettings(Settings, frozen=True, kw_only=True):
    """Which mesh of this machine `shoal ps`, `scale` and `restart` speak to."""

    home: Home = ".shoal"


class OperatorSettings(MeshTlsSettings, frozen=True, kw_only=True):
    """How the command line reaches the services behind Envoy, as the operator of the mesh."""

    home: Home = ".shoal"
    mesh_secret_file: SecretFile = ""
    mesh_address: Annotated[
        str, Meta(description="Host and port of Envoy's inner listener. Empty: the one on this machine.")
    ] = ""
    inner_port: InnerPort = 8090
    port_shift: PortShift = 0

    def faults(self) -> list[str]:
        return [*super().faults(), *secret_fault("mesh_secret_file", str(self.secret_file()))]

    def secret_file(self) -> Path:
        return Path(self.mesh_secret_file or Path(self.home) / "mesh-secret")

    def address(self) -> str:
        return self.mesh_address or f"{LOOPBACK}:{self.inner_port + self.port_shift}"


class CertsSettings(Settings, frozen=True, kw_only=True):
    """Where `shoal certs` puts its files, and where the front door will speak TLS."""

    home: Home = ".shoal"
    tls_port: TlsPort = 8443
    port_shift: PortShift = 0

    def faults(self) -> list[str]:
        return home_faults(self.home)

    def folder(self) -> Path:
        return Path(self.home).absolute() / "certs"

    def url(self) -> str:
        return f"https://localhost:{self.tls_port + self.port_shift}"


class WarmSettings(Settings, frozen=True, kw_only=True):
    """Where the front door of this machine's mesh is, and the API key that goes with it."""

    home: Home = ".shoal"
    front_port: FrontPort = 8080
    tls_port: TlsPort = 8443
    port_shift: PortShift = 0
    tls_cert_file: TlsCertFile = ""

    def faults(self) -> list[str]:
        return file_fault("tls_cert_file", self.tls_cert_file) if self.tls_cert_file else []

    def url(self) -> str:
        if self.tls_cert_file:
            return f"https://localhost:{self.tls_port + self.port_shift}"
        return f"http://{LOOPBACK}:{self.front_port + self.port_shift}"
