"""How commands end that cannot go on: sentences on standard error, and an exit code."""

import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn, TypeVar

import click

from meshkit.settings import Settings, SettingsError, load

FAILED = 1
BAD_SETTINGS = 2

S = TypeVar("S", bound=Settings)


def loaded(kind: type[S], environ: Mapping[str, str]) -> S:
    """Settings from the environment. Ends the command with a list of faults if there are any."""
    try:
        return load(kind, environ)
    except SettingsError as error:
        list_faults(error.faults)


def list_faults(faults: Sequence[str]) -> NoReturn:
    click.echo(f"{len(faults)} to mend before this can start:", err=True)
    for fault in faults:
        click.echo(f"  - {fault}", err=True)
    sys.exit(BAD_SETTINGS)


def fail(message: str) -> NoReturn:
    click.echo(message, err=True)
    sys.exit(FAILED)
