"""`shoal up`: puts the mesh together and runs it until it is told to stop."""

import asyncio
import dataclasses
import signal
import time
from collections.abc import Mapping

from envoyconf.bootstrap import render
from envoyconf.topology import Topology
from launcher import binaries
from launcher.check import find_binaries
from launcher.console import Console
from launcher.home import Home, write_private
from launcher.plan import make_plan
from launcher.settings import UpSettings
from launcher.supervisor import Supervisor
from launcher.welcome import welcome
from meshkit.identity import IdentitySigner, unchecked
from meshkit.settings import load

_UNCHECKED_LIFETIME_SECONDS = 10 * 365 * 24 * 3600
"""It is signed once, when Envoy starts."""


class UncheckedError(Exception):
    """The check before the start found faults, and has listed them."""


async def up(environ: Mapping[str, str]) -> None:
    """Runs the mesh until SIGINT, SIGTERM or SIGHUP; a second one kills what is left.

    Raises UncheckedError, HomeError if the home cannot be used, and GaveUpError if a process does not get ready.
    """
    began = time.monotonic()
    console = Console()
    console.say("Shoal is starting ...")
    await _check(environ)
    settings = load(UpSettings, environ)
    home, topology = Home.at(settings.home), settings.topology()
    home.prepare()
    with home.claimed():
        write_private(home.envoy_file, render(envoy_topology(settings, home)))
        plan = make_plan(settings, home=home, binaries=find_binaries())
        supervisor = Supervisor(plan, environ=environ, home=home, console=console)

        def greet() -> None:
            console.say(welcome(topology, home, api_key=home.demo_key(), seconds=time.monotonic() - began))

        await supervisor.run(until=_stop_signal(console, supervisor), when_ready=greet)
        console.say("Everything has stopped.")


def envoy_topology(settings: UpSettings, home: Home) -> Topology:
    """The topology with the identity of callers on routes that fail open, signed for this mesh."""
    signer = IdentitySigner.from_file(settings.mesh_secret_file or str(home.secret_file))
    identity = signer.sign(unchecked(expires=time.time() + _UNCHECKED_LIFETIME_SECONDS))
    return dataclasses.replace(settings.topology(), fail_open=settings.fail_open(identity))


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
