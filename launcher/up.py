"""`shoal up`: puts the mesh together and runs it until it is told to stop."""

import asyncio
import resource
import signal
import time
from collections.abc import Coroutine, Mapping
from functools import partial

from launcher.check import find_binaries
from launcher.console import Console
from launcher.control.server import listening
from launcher.edge.admin import EnvoyAdmin
from launcher.edge.files import EnvoyFiles
from launcher.edge.hot_restart import HotRestart
from launcher.edge.succession import ENVOY, EnvoySuccession
from launcher.edge.tls_watch import watch_certificate
from launcher.edge.view import EnvoyView
from launcher.fleet.autoscale_loop import autoscale as autoscale_by
from launcher.fleet.autoscaling import Bounds
from launcher.fleet.mesh_fleet import MeshFleet
from launcher.fleet.pools import Pools
from launcher.fleet.view import FleetView
from launcher.home import Home
from launcher.planner import Planner
from launcher.processes import binaries
from launcher.processes.keeper import Keeper
from launcher.processes.supervisor import Supervisor
from launcher.settings import UpSettings
from launcher.welcome import welcome
from meshkit.settings import load


class UncheckedError(Exception):
    """The check before the start found faults, and has listed them."""


async def up(environ: Mapping[str, str], *, autoscale: Bounds | None = None) -> None:
    """Runs the mesh until SIGINT, SIGTERM or SIGHUP; a second one kills what is left. With bounds for `autoscale`, it
    chooses the number of agents itself.

    Raises UncheckedError, HomeError if the home cannot be used, and GaveUpError if a process does not get ready.
    """
    began = time.monotonic()
    console = Console()
    console.say("Shoal is starting ...")
    _allow_files()
    await _check(environ)
    settings = load(UpSettings, environ)
    home, topology = Home.at(settings.home), settings.topology()
    home.prepare()
    with home.claimed():
        files, pools = EnvoyFiles(settings, home), Pools(topology)
        files.write()
        pools.prepare()
        planner = Planner(settings, home=home, binaries=find_binaries())
        supervisor = Supervisor(planner.plan(), environ=environ, home=home, console=console)
        supervisor.listeners += [pools.changed, partial(_clean_up_after, planner.hot_restart)]
        envoy = EnvoyAdmin(topology.envoy.admin)
        seen = EnvoyView(envoy)
        view = FleetView(supervisor=supervisor, pools=pools, envoy=seen)
        envoys = EnvoySuccession(supervisor=supervisor, hot_restart=planner.hot_restart, admin=envoy)
        fleet = MeshFleet(
            supervisor=supervisor,
            planner=planner,
            pools=pools,
            envoy=seen,
            envoys=envoys,
            drain_seconds=settings.stream_max_seconds,
        )

        def greet() -> None:
            console.say(welcome(topology, home, api_key=home.demo_key(), seconds=time.monotonic() - began))

        beside = [_controlled(home, fleet, view), *_watches(settings, files, console)]
        if autoscale:
            beside.append(_autoscaled(autoscale, fleet, view, console, since=supervisor.was_ready))
        with planner.hot_restart.cleaned_up():
            await supervisor.run(
                until=_stop_signal(console, supervisor),
                when_ready=greet,
                beside=beside,
                before_stop=partial(envoys.shut, patience_seconds=settings.drain_seconds),
            )
        console.say("Everything has stopped.")


def _watches(settings: UpSettings, files: EnvoyFiles, console: Console) -> list[Coroutine[None, None, None]]:
    """What hands certificates on to Envoy that the operator replaces."""
    pairs = [
        (settings.tls_cert_file, settings.tls_key_file, files.publish_certificate),
        (settings.mesh_cert_file, settings.mesh_key_file, files.publish_mesh),
    ]
    return [
        watch_certificate(cert, key, publish=publish, complain=partial(console.trouble, "certificates"))
        for cert, key, publish in pairs
        if cert
    ]


async def _controlled(home: Home, fleet: MeshFleet, view: FleetView) -> None:
    """Hears commands as long as the mesh runs: once it stops, none may start a process any more."""
    async with listening(home.control_socket, fleet=fleet, view=view):
        await asyncio.Event().wait()


def _clean_up_after(envoys: HotRestart, keeper: Keeper) -> None:
    """When the Envoy has died: the next one is a fresh one. One that finishes its streams needs no files any more."""
    if keeper.process.name == ENVOY and keeper.child is None:
        envoys.clean_up()


async def _autoscaled(
    bounds: Bounds, fleet: MeshFleet, view: FleetView, console: Console, *, since: asyncio.Event
) -> None:
    await since.wait()
    await autoscale_by(bounds, fleet=fleet, view=view, say=console.say)


def _allow_files() -> None:
    """Every connection is a file, and shells often allow 1024 where the system allows more. Children inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _check(environ: Mapping[str, str]) -> None:
    """In a process of its own: importing every service for its settings takes more memory than all the rest here."""
    check = await asyncio.create_subprocess_exec(binaries.shoal(), "check", "--ports", "--quiet", env=environ)
    if await check.wait() != 0:
        raise UncheckedError


def _stop_signal(console: Console, supervisor: Supervisor) -> asyncio.Event:
    stop = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            supervisor.kill()
        else:
            console.say("\nStopping; once more kills what is left ...")
            stop.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    return stop
