"""The one table of the mesh: who listens on which ports of 127.0.0.1."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Self
from urllib.parse import urlsplit

from envoyconf.load_balancing import LEAST_REQUEST, LoadBalancing
from envoyconf.route_names import ROUTE_NAMES

LOOPBACK = "127.0.0.1"
METRICS_OFFSET = 1000  # a process shows its metrics this far above its port
ENVOY_OFFSET = 500  # and, if it speaks gRPC, is asked by Envoy this far above it
OTHER_CALLS = 32  # calls to an agent that are no turns, such as those about sessions
CACHE_KEY_HEADER = "x-shoal-cache-key"  # the key of the answer that a call to the cache is about


class Protocol(StrEnum):
    """What a pool speaks."""

    GRPC = "grpc"
    """Over HTTP/1.1, on a port of its own; see docs/adr/0017."""
    HTTP = "http"


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Identical processes behind Envoy, one place in the row of ports each."""

    name: str
    protocol: Protocol
    row: Sequence[int]
    """The ports of all processes that there may ever be, in their order."""
    replicas: int
    """How many processes there are at the start."""
    has_metrics: bool = True
    """Whether each process shows its metrics, METRICS_OFFSET above its port."""
    calls_per_replica: int = 1000
    """How many calls Envoy lets one process have at once; it refuses more without asking."""
    retries_at_once: int = 3
    """How many calls Envoy may be making again at the same time, even with little traffic."""
    hash_header: str | None = None
    """Calls with the same value of this header go to the same replica, as long as it is healthy."""

    def __post_init__(self) -> None:
        if not 1 <= self.replicas <= self.most:
            raise ValueError(f"The table has room for 1 to {self.most} of {self.name}, not {self.replicas}.")

    @property
    def most(self) -> int:
        """How many processes there is room for."""
        return len(self.row)

    @property
    def ports(self) -> tuple[int, ...]:
        """The ports of the processes at the start."""
        return tuple(self.row[: self.replicas])

    @property
    def metrics_ports(self) -> tuple[int, ...]:
        """Where those processes show their Prometheus metrics and their status, in the order of `ports`."""
        return tuple(port + METRICS_OFFSET for port in self.ports) if self.has_metrics else ()

    def port_of(self, number: int) -> int:
        """The port of a process by its place in the row, counted from 1 to `most`."""
        return self.row[number - 1]

    def envoy_port_of(self, number: int) -> int:
        """Where Envoy asks that process: a port besides the one where it speaks gRPC over HTTP/2 to anybody else."""
        return self.port_of(number) + (ENVOY_OFFSET if self.protocol is Protocol.GRPC else 0)

    def metrics_port_of(self, number: int) -> int:
        """Where that process shows its metrics and its status."""
        return self.port_of(number) + METRICS_OFFSET


@dataclass(frozen=True, kw_only=True)
class EnvoyPorts:
    """Where Envoy listens: plain and TLS for the world, the inner listener for our services, admin for operators."""

    front: int = 8080
    tls: int = 8443
    inner: int = 8090
    admin: int = 9901


@dataclass(frozen=True, kw_only=True)
class BackingPorts:
    """Servers that our services call without Envoy."""

    valkey_limits: int = 8151
    valkey_state: int = 8152
    valkey_cache: int = 8153
    model: int = 8161


@dataclass(frozen=True, kw_only=True)
class TlsFiles:
    """The operator's files with the front door's certificate chain and key (PEM). Envoy gets copies, see `secrets`."""

    cert_file: str
    key_file: str


@dataclass(frozen=True, kw_only=True)
class FloodGuard:
    """Requests that one address (IPv4, or IPv6 /64) may make before anybody is asked about limits."""

    per_second: int = 1000
    burst: int = 2000


@dataclass(frozen=True, kw_only=True)
class FailOpen:
    """Routes that stay open when the limiter does not answer."""

    routes: frozenset[str]
    """Some of `ROUTE_NAMES`."""
    identity: str
    """The signed identity that their requests have then: a caller about whom nothing was checked."""

    def __post_init__(self) -> None:
        if unknown := sorted(self.routes - ROUTE_NAMES):
            raise ValueError(f"There is no route {', '.join(unknown)}. Routes are: {', '.join(sorted(ROUTE_NAMES))}.")


@dataclass(frozen=True, kw_only=True)
class Topology:
    """The whole mesh on one machine. Vary it with the arguments of `default` and with `dataclasses.replace`.

    Raises ValueError when two users share a port, or when an option makes no sense.
    """

    envoy: EnvoyPorts
    backing: BackingPorts
    ratelimit: Pool
    ratelimit_rls: Pool
    """The limiters once more, as Envoy asks them itself."""
    ratelimit_grpc: Sequence[int]
    """The ports where limiters answer the Envoys of others, in the order of the limiters' own ports."""
    cache: Pool
    agent: Pool
    gateway: Pool
    flood_guard: FloodGuard = FloodGuard()
    trusted_hops: int = 0
    """Proxies of ours in front of Envoy whose X-Forwarded-For is believed."""
    fail_open: FailOpen | None = None
    """None: without the limiter, nothing passes."""
    tls: TlsFiles | None = None
    mesh_tls: bool = False
    """Whether Envoy and our services show each other certificates."""
    files: str = "envoy/rendered"
    """The folder of the files that Envoy watches."""
    load_balancing: LoadBalancing = LEAST_REQUEST
    """How calls are spread over the agents."""
    stream_max_seconds: float = 900
    """The longest that a call or stream may take. Services see to it; Envoy ends it a little later if they do not."""
    idle_seconds: float = 150
    """How long a call may be silent in both directions."""
    slow_client_seconds: float = 30
    """How long a client may take to read what waits for it."""
    max_heap_bytes: int = 1 << 30
    """What Envoy's memory may grow to. It sheds load before that."""
    otlp_endpoint: str | None = None
    """The http://host:port of an OTLP/HTTP collector; None: no tracing."""

    @classmethod
    def default(
        cls,
        *,
        agent_replicas: int = 3,
        gateways: int = 1,
        limiters: int = 1,
        caches: int = 1,
        agent_turns: int = 192,
        envoy: EnvoyPorts = EnvoyPorts(),
        shift: int = 0,
    ) -> Self:
        """The usual mesh. `shift` is added to every port, those of `envoy` too.

        `agent_turns` is how many turns one agent works on or lets wait.
        """
        grpc, http = Protocol.GRPC, Protocol.HTTP
        return cls(
            envoy=EnvoyPorts(**_shifted(envoy, shift)),
            backing=BackingPorts(**_shifted(BackingPorts(), shift)),
            ratelimit=Pool(
                name="ratelimit",
                protocol=grpc,
                row=_row(8101 + shift, 4, step=2),
                replicas=limiters,
            ),
            ratelimit_rls=Pool(
                name="ratelimit-rls",
                protocol=grpc,
                row=_row(8101 + shift, 4, step=2),
                replicas=limiters,
                has_metrics=False,
                # Whatever Envoy asks again, no limiter has seen.
                retries_at_once=1000,
            ),
            ratelimit_grpc=_row(8102 + shift, 4, step=2),
            cache=Pool(
                name="cache",
                protocol=grpc,
                row=_row(8111 + shift, 4),
                replicas=caches,
                # Every turn may keep a stream to it, and there may be many more agents than caches.
                calls_per_replica=4000,
                # Each answer lies in the memory of one cache process, so one that is refreshed is replaced everywhere.
                hash_header=CACHE_KEY_HEADER,
            ),
            agent=Pool(
                name="agent",
                protocol=grpc,
                row=_row(8121 + shift, 20),
                replicas=agent_replicas,
                calls_per_replica=agent_turns + OTHER_CALLS,
            ),
            gateway=Pool(name="gateway", protocol=http, row=_row(8141 + shift, 10), replicas=gateways),
        )

    def __post_init__(self) -> None:
        self._check_ports()
        if self.trusted_hops < 0:
            raise ValueError(f"trusted_hops counts proxies, so it is 0 or more, not {self.trusted_hops}.")
        if self.otlp_endpoint is not None:
            otlp_address(self.otlp_endpoint)

    def pools(self) -> tuple[Pool, ...]:
        """The pools behind Envoy, in the order in which they depend on each other."""
        return (self.ratelimit, self.ratelimit_rls, self.cache, self.agent, self.gateway)

    def weight_of(self, pool: Pool, number: int) -> int:
        """The weight of a process of the pool, counted from 1."""
        return self.load_balancing.weight_of(number) if pool == self.agent else 1

    def named_ports(self) -> Iterator[tuple[str, int]]:
        """Every port in use with the name of its user, for messages about busy ports."""
        for name, port in vars(self.backing).items():
            yield name.replace("_", " "), port
        for pool in (self.ratelimit, self.cache, self.agent, self.gateway):
            for replica, port in enumerate(pool.ports, start=1):
                yield f"{pool.name} {replica}", port
                if pool.envoy_port_of(replica) != port:
                    yield f"{pool.name} {replica} for Envoy", pool.envoy_port_of(replica)
            for replica, port in enumerate(pool.metrics_ports, start=1):
                yield f"{pool.name} {replica} metrics", port
        for replica, port in enumerate(self.ratelimit_grpc[: self.ratelimit.replicas], start=1):
            yield f"ratelimit {replica} for other Envoys", port
        for name, port in vars(self.envoy).items():
            if name != "tls" or self.tls is not None:
                yield f"envoy {name}", port

    def _check_ports(self) -> None:
        users = list(self.named_ports())
        count = Counter(port for _, port in users)
        for name, port in users:
            if not 0 < port < 65536:
                raise ValueError(f"{port} of {name} is not a port: choose one from 1 to 65535.")
            if count[port] > 1:
                sharing = ", ".join(other for other, its in users if its == port)
                raise ValueError(f"Port {port} is given to several: {sharing}. Choose different ones.")


def otlp_address(endpoint: str) -> tuple[str, int]:
    """Host and port of an OTLP endpoint. Raises ValueError unless it reads http://host:port."""
    parts = urlsplit(endpoint)
    if parts.scheme != "http" or not parts.hostname or parts.port is None or parts.path not in ("", "/"):
        raise ValueError(
            f"The OTLP endpoint must read http://host:port, for example http://127.0.0.1:4318, not {endpoint}."
        )
    return parts.hostname, parts.port


def _shifted(ports: EnvoyPorts | BackingPorts, shift: int) -> dict[str, int]:
    return {name: port + shift for name, port in vars(ports).items()}


def _row(first: int, most: int, *, step: int = 1) -> Sequence[int]:
    return range(first, first + most * step, step)
