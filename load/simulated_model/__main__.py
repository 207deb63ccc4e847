"""The command `python -m load.simulated_model`."""

import asyncio
import signal
from random import Random

import click
from aiohttp import web

from load.simulated_model.distributions import Distribution, parse_distribution
from load.simulated_model.faults import FaultRates
from load.simulated_model.plan import Profile
from load.simulated_model.server import SimulatedModel

STOP_SECONDS = 0.05  # aiohttp waits this long, twice, for calls that will not end; 0 would mean for ever

EPILOG = """\b
Distributions (DIST), seconds or tokens per second:
  fixed:V  uniform:LOW,HIGH  lognormal:MEDIAN,SIGMA  exponential:MEAN

\b
Directives in the last user message overrule the options for that call:
  [[status=500]]            answer with this HTTP error (400 to 599)
  [[hang]]                  accept the call, never answer
  [[hang_after=3]]          stall after 3 streamed tokens
  [[break_after=3]]         close the connection after 3 streamed tokens
  [[garbage]]               broken JSON, or a broken event in the stream
  [[empty]]                 an answer without text
  [[first_token=0.3]]       seconds until the first token
  [[tokens_per_second=50]]  the pace after it
  [[tokens=50]]             the length of the answer
  [[tool=NAME {"a": 1}]]    call this tool (several: in parallel); when the
                            results are there, answer with their words

\b
GET /calls counts the calls (begun, completed, cancelled by the client, waiting,
concurrent, max_concurrent) and shows the last request; DELETE /calls resets it.
"""


class DistributionType(click.ParamType[Distribution]):
    name = "dist"

    def convert(
        self, value: str | Distribution, param: click.Parameter | None, ctx: click.Context | None
    ) -> Distribution:
        if not isinstance(value, str):
            return value
        try:
            return parse_distribution(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


PROBABILITY = click.FloatRange(0, 1)


@click.command(epilog=EPILOG, context_settings={"show_default": True})
@click.option("--host", default="127.0.0.1", help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port to listen on; 0 picks a free one.")
@click.option("--model", "models", multiple=True, default=("simulated",), help="Name in /v1/models; may be repeated.")
@click.option("--first-token", type=DistributionType(), default="fixed:0", help="Seconds until the first token.")
@click.option("--tokens-per-second", type=DistributionType(), help="Pace of a call, at least 0.1.  [default: at once]")
@click.option("--output-tokens", type=click.IntRange(0, 100_000), default=20, help="Length of an answer, in words.")
@click.option("--slots", type=click.IntRange(1), help="Calls that run at once; others queue.  [default: no bound]")
@click.option("--error-rate", type=PROBABILITY, default=0.0, help="Share of calls that get an HTTP error.")
@click.option("--error-status", type=click.IntRange(400, 599), default=500, help="The status of those errors.")
@click.option("--hang-rate", type=PROBABILITY, default=0.0, help="Share of calls that are never answered.")
@click.option("--break-rate", type=PROBABILITY, default=0.0, help="Share of calls whose connection is cut.")
@click.option("--seed", type=int, default=0, help="Seed of all that is random; the same calls then meet the same luck.")
def main(
    host: str,
    port: int,
    models: tuple[str, ...],
    first_token: Distribution,
    tokens_per_second: Distribution | None,
    output_tokens: int,
    slots: int | None,
    error_rate: float,
    error_status: int,
    hang_rate: float,
    break_rate: float,
    seed: int,
) -> None:
    """Serve a simulated language model that speaks OpenAI's chat API, plain and streamed.

    An answer repeats the words of the last user message, one word a token. Any model name is accepted. When the
    server is ready it prints `listening on http://HOST:PORT`; SIGTERM and SIGINT stop it at once.
    """
    try:
        rates = FaultRates(refuse=error_rate, hang=hang_rate, cut=break_rate, status=error_status)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    profile = Profile(first_token, tokens_per_second, output_tokens, rates)
    asyncio.run(serve(host, port, profile, models, slots, seed))


async def serve(host: str, port: int, profile: Profile, models: tuple[str, ...], slots: int | None, seed: int) -> None:
    """Serve until SIGTERM or SIGINT. Raises click.ClickException if the address cannot be had."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    model = SimulatedModel(profile=profile, models=models, slots=slots, random=Random(seed))
    runner = web.AppRunner(
        model.application(), access_log=None, handler_cancellation=True, shutdown_timeout=STOP_SECONDS
    )
    await runner.setup()
    try:
        await _listen(runner, host, port)
        await stop.wait()
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, host: str, port: int) -> None:
    try:
        await web.TCPSite(runner, host, port, backlog=1024).start()
    except OSError as error:
        raise click.ClickException(f"cannot listen on {host}:{port} ({error.strerror}); try --port 0") from error
    print(f"listening on http://{host}:{runner.addresses[0][1]}", flush=True)


if __name__ == "__main__":
    main()
