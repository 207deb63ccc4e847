"""The command `shoal certs`. What it needs is imported when it runs."""

from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import click

from launcher.exits import fail, loaded
from launcher.settings import CertsSettings

if TYPE_CHECKING:
    from launcher.certs.folder import CertsFolder


@click.command()
@click.option("--folder", type=click.Path(path_type=Path), help="Where the files go. [default: <SHOAL_HOME>/certs]")
@click.option("--name", "names", multiple=True, help="A further host name or address of the front door.")
@click.option("--days", type=click.IntRange(1, 365), default=90, show_default=True, help="How long they are good for.")
@click.option("--renew", is_flag=True, help="Issue new certificates now, under the same authority.")
@click.pass_obj
def certs(environ: Mapping[str, str], folder: Path | None, names: tuple[str, ...], days: int, renew: bool) -> None:
    """Make a local authority and certificates, for trying TLS.

    Makes ca.pem (for a year), front.pem for the front door (localhost, 127.0.0.1, ::1 and every --name) and mesh.pem,
    by which Envoy and the services know each other; the keys are beside them, readable by you alone. Run again it keeps
    what is good, and makes anew what has less than a third of its time left. Give ca.pem to clients; keep ca-key.pem.

    What to export goes to standard output:

    \b
      eval "$(shoal certs)" && shoal up
      shoal certs --name shoal.example.test --days 30
    """
    from datetime import UTC, datetime

    from launcher.certs.folder import CertsError, CertsFolder

    settings = loaded(CertsSettings, environ)
    place = CertsFolder(folder.absolute() if folder else settings.folder())
    try:
        outcomes = place.fill(names, days=days, renew=renew, now=datetime.now(UTC))
    except CertsError as error:
        fail(str(error))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--name") from None
    for outcome in outcomes:
        click.echo(f"  {outcome.file.name:<10} {outcome.news}, good until {outcome.ends:%Y-%m-%d %H:%M} UTC", err=True)
    click.echo(_exports(place))
    click.echo(f"\nWith that in the environment, `shoal up` speaks TLS:\n\n  {_curl(place, settings)}", err=True)


def _exports(place: "CertsFolder") -> str:
    files = {
        "SHOAL_TLS_CERT_FILE": place.cert_file("front"),
        "SHOAL_TLS_KEY_FILE": place.key_file("front"),
        "SHOAL_MESH_CERT_FILE": place.cert_file("mesh"),
        "SHOAL_MESH_KEY_FILE": place.key_file("mesh"),
        "SHOAL_MESH_CA_FILE": place.cert_file("ca"),
    }
    return "\n".join(f"export {variable}={quote(str(path))}" for variable, path in files.items())


def _curl(place: "CertsFolder", settings: CertsSettings) -> str:
    return f"curl --cacert {quote(str(place.cert_file('ca')))} {settings.url()}/health"
