"""Finds everything that would keep the mesh from starting, before anything is started."""

import errno
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from msgspec.structs import fields

from envoyconf.topology import LOOPBACK
from launcher.home import Home
from launcher.planner import Planner
from launcher.processes import binaries
from launcher.processes.binaries import MissingBinaryError
from launcher.processes.plan import Binaries, Plan, Process
from launcher.programs import all_settings, settings_of
from launcher.settings import UpSettings
from meshkit.settings import Settings, SettingsError, describe, load, unknown_variables, variable_of


@dataclass(frozen=True, slots=True)
class Findings:
    """What a check found."""

    settings: int
    """How many settings were looked at."""
    faults: list[str]
    """One sentence for each thing to mend."""


def check_mesh(environ: Mapping[str, str], *, ports: bool) -> Findings:
    """Checks the settings of every program as `shoal up` would start it and, with `ports`, that every port is free."""
    settings, faults = _up_settings(environ)
    try:
        plan = Planner(settings, home=Home.at(settings.home), binaries=find_binaries()).plan()
    except MissingBinaryError as error:
        faults.append(str(error))
    else:
        faults += _program_faults(plan, environ)
        if ports:
            faults += busy_ports(plan.processes)
    kinds = all_settings().values()
    faults += unknown_variables(kinds, environ)
    variables = {row.variable for kind in kinds for row in describe(kind)}
    return Findings(settings=len(variables), faults=list(dict.fromkeys(faults)))


def find_binaries() -> Binaries:
    """Raises MissingBinaryError."""
    return Binaries(shoal=binaries.shoal(), envoy=binaries.envoy(), valkey=binaries.valkey_server())


def busy_ports(processes: Iterable[Process]) -> list[str]:
    """One sentence for each port that somebody else listens on."""
    return [
        f"port {port} ({process.name}) is in use by another program; stop it, or {_remedy(setting)}"
        for process in processes
        for setting, port in process.ports.items()
        if is_busy(port)
    ]


def is_busy(port: int) -> bool:
    with socket.socket() as listener:
        # Connections of a mesh that was just stopped do not count.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((LOOPBACK, port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
        return False


def _remedy(setting: str) -> str:
    shift = f"move the whole mesh with {variable_of('port_shift')}"
    named = {field.name for field in fields(UpSettings)}
    return f"set {variable_of(setting)} to another one, or {shift}" if setting in named else shift


def _up_settings(environ: Mapping[str, str]) -> tuple[UpSettings, list[str]]:
    """The mesh's settings and their faults. With faults, what is usable of them, so that the rest is checked too."""
    try:
        return load(UpSettings, environ), []
    except SettingsError as error:
        if isinstance(error.usable, UpSettings) and not error.usable.topology_faults():
            return error.usable, list(error.faults)
        return UpSettings(), list(error.faults)


def _program_faults(plan: Plan, environ: Mapping[str, str]) -> list[str]:
    first_replicas = {process.service: process for process in reversed(plan.processes) if process.service}
    return [fault for process in first_replicas.values() for fault in _faults_of(process, environ)]


def _faults_of(process: Process, environ: Mapping[str, str]) -> list[str]:
    told = {**environ, **process.environment}
    if not environ.get("SHOAL_MESH_SECRET_FILE"):
        # The mesh makes the secret as it starts: that it is not there yet is no fault, and any file stands for it.
        told["SHOAL_MESH_SECRET_FILE"] = __file__
    return faults_of(settings_of(process.service), told)


def faults_of(kind: type[Settings], environ: Mapping[str, str]) -> list[str]:
    try:
        load(kind, environ)
    except SettingsError as error:
        return list(error.faults)
    return []
