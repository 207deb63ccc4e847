"""Which processes make up the mesh, in which order they start and stop, and what each of them is told."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from envoyconf.topology import Pool, Topology
from launcher.home import Home
from launcher.readiness import HttpOk, Probe, RedisPong
from launcher.settings import UpSettings

LOOPBACK = "127.0.0.1"


class StopStage(Enum):
    """The stages of an orderly stop in their order, with the seconds that each may take before it is cut short.

    Their sum stays below the 10 s in which the whole mesh must be gone.
    """

    DOOR = 1, 1.0
    SERVICES = 2, 7.0
    BACKING = 3, 1.0

    @property
    def patience_seconds(self) -> float:
        return self.value[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A program that runs once and to its end before what needs it can start."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    """What is added to our own environment."""
    needs: Sequence[str] = ()
    dispensable: bool = False
    """Whether the mesh is of use even if this fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A program that is kept running."""

    name: str
    command: Sequence[str]
    probes: Sequence[Probe]
    """It is ready when all of them pass."""
    ports: Mapping[str, int]
    """The ports it listens on, by the name of the setting that places them."""
    stage: StopStage
    environment: Mapping[str, str] = field(default_factory=dict)
    """What is added to our own environment."""
    needs: Sequence[str] = ()
    service: str = ""
    """The service that it is a replica of; empty for programs that are not ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The whole mesh."""

    steps: Sequence[Step]
    processes: Sequence[Process]

    def names(self) -> list[str]:
        return [step.name for step in self.steps] + [process.name for process in self.processes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Binaries:
    """The programs that processes run."""

    shoal: Path
    envoy: Path
    valkey: Path


def make_plan(settings: UpSettings, *, home: Home, binaries: Binaries) -> Plan:
    """The plan of a mesh. It touches nothing."""
    planner = _Planner(settings, home, binaries)
    return Plan(steps=list(planner.steps()), processes=list(planner.processes()))


class _Planner:
    def __init__(self, settings: UpSettings, home: Home, binaries: Binaries) -> None:
        self._settings = settings
        self._topology: Topology = settings.topology()
        self._home = home
        self._binaries = binaries
        self._shared = self._shared_environment()

    def steps(self) -> Iterator[Step]:
        yield Step(name="migrate", command=self._shoal("migrate"), environment=self._shared)
        # Straight to the limiter, for Envoy starts last.
        limiter = {"SHOAL_MESH_ADDRESS": f"{LOOPBACK}:{self._topology.ratelimit.ports[0]}"}
        yield Step(
            name="demo-key",
            command=self._shoal("keys", "ensure-demo"),
            environment=self._shared | limiter,
            needs=_names(self._topology.ratelimit),
            dispensable=True,
        )

    def processes(self) -> Iterator[Process]:
        table, backing = self._topology, self._backing()
        stores = [name for name in backing if name != "model"]
        yield from backing.values()
        yield from self._limiters(needs=[*stores, "migrate"])
        yield from self._replicas(table.cache, needs=[*stores, "migrate"])
        yield from self._replicas(table.agent, needs=[*backing, "migrate"])
        yield from self._replicas(table.gateway, needs=_names(table.agent))
        yield self._envoy(needs=_names(table.ratelimit, table.cache, table.agent, table.gateway))

    def _backing(self) -> dict[str, Process]:
        """The servers that no address was given for, by their names."""
        settings, ports = self._settings, self._topology.backing
        lasting = ("--maxmemory-policy", "noeviction")
        passing = ("--maxmemory-policy", "allkeys-lfu", "--maxmemory", "256mb")
        local = []
        if not settings.limits_redis_url:
            local.append(self._valkey("limits", ports.valkey_limits, lasting))
        if not settings.state_redis_url:
            local.append(self._valkey("state", ports.valkey_state, lasting))
        if not settings.cache_redis_url:
            local.append(self._valkey("cache", ports.valkey_cache, passing))
        if not settings.model_base_url:
            local.append(self._model(ports.model))
        return {process.name: process for process in local}

    def _valkey(self, role: str, port: int, memory: Sequence[str]) -> Process:
        listen = ("--bind", LOOPBACK, "--port", str(port))
        nothing_on_disk = ("--save", "", "--appendonly", "no", "--dir", str(self._home.valkey_folder))
        return Process(
            name=f"valkey-{role}",
            command=(str(self._binaries.valkey), *listen, *nothing_on_disk, *memory),
            probes=[RedisPong(port)],
            ports={"port": port},
            stage=StopStage.BACKING,
        )

    def _model(self, port: int) -> Process:
        return Process(
            name="model",
            service="model",
            command=self._shoal("run", "model"),
            environment={"SHOAL_PORT": str(port)},
            probes=[HttpOk(port, "/health")],
            ports={"port": port},
            stage=StopStage.BACKING,
        )

    def _limiters(self, *, needs: Sequence[str]) -> Iterator[Process]:
        """Replicas with a second port, for Envoy, that know how many they are."""
        table = self._topology
        count = {"SHOAL_LIMITERS": str(len(table.ratelimit.ports))}
        replicas = self._replicas(table.ratelimit, needs=needs)
        for replica, rls_port in zip(replicas, table.ratelimit_rls.ports, strict=True):
            told = {**replica.environment, **count, **_variables({"envoy_port": rls_port})}
            yield dataclasses.replace(replica, environment=told, ports={**replica.ports, "envoy_port": rls_port})

    def _replicas(self, pool: Pool, *, needs: Sequence[str]) -> Iterator[Process]:
        for name, port, metrics_port in zip(_names(pool), pool.ports, pool.metrics_ports, strict=True):
            ports = {"port": port, "metrics_port": metrics_port}
            yield Process(
                name=name,
                service=pool.name,
                command=self._shoal("run", pool.name),
                environment=self._shared | {"SHOAL_REPLICA": name} | _variables(ports),
                needs=needs,
                probes=[HttpOk(metrics_port, "/ready")],
                ports=ports,
                stage=StopStage.SERVICES,
            )

    def _envoy(self, *, needs: Sequence[str]) -> Process:
        envoy = self._topology.envoy
        secure = self._topology.tls is not None
        ports = {"front_port": envoy.front, "inner_port": envoy.inner, "admin_port": envoy.admin}
        # Two threads are enough for a machine of its own; info would log each change of its configuration.
        options = ("--use-dynamic-base-id", "--concurrency", "2", "--log-level", "warning")
        return Process(
            name="envoy",
            command=(str(self._binaries.envoy), "-c", str(self._home.envoy_file), *options),
            needs=needs,
            probes=[
                HttpOk(envoy.admin, "/ready"),
                HttpOk(envoy.tls if secure else envoy.front, "/health/ready", tls=secure),
            ],
            ports=ports | ({"tls_port": envoy.tls} if secure else {}),
            stage=StopStage.DOOR,
        )

    def _shared_environment(self) -> dict[str, str]:
        settings, backing = self._settings, self._topology.backing
        return {
            "SHOAL_HOME": str(self._home.folder),
            "SHOAL_MESH_SECRET_FILE": settings.mesh_secret_file or str(self._home.secret_file),
            "SHOAL_MESH_ADDRESS": f"{LOOPBACK}:{self._topology.envoy.inner}",
            "SHOAL_LIMITS_REDIS_URL": settings.limits_redis_url or f"redis://{LOOPBACK}:{backing.valkey_limits}/0",
            "SHOAL_STATE_REDIS_URL": settings.state_redis_url or f"redis://{LOOPBACK}:{backing.valkey_state}/0",
            "SHOAL_CACHE_REDIS_URL": settings.cache_redis_url or f"redis://{LOOPBACK}:{backing.valkey_cache}/0",
            "SHOAL_MODEL_BASE_URL": settings.model_base_url or f"http://{LOOPBACK}:{backing.model}/v1",
            "SHOAL_DRAIN_SECONDS": f"{settings.drain_seconds:g}",
        }

    def _shoal(self, *arguments: str) -> tuple[str, ...]:
        return (str(self._binaries.shoal), *arguments)


def _names(*pools: Pool) -> list[str]:
    return [f"{pool.name}-{number}" for pool in pools for number, _ in enumerate(pool.ports, start=1)]


def _variables(ports: Mapping[str, int]) -> dict[str, str]:
    return {f"SHOAL_{setting.upper()}": str(port) for setting, port in ports.items()}
