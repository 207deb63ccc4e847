"""The local language model: SmolLM2-135M behind llama.cpp's OpenAI-compatible HTTP server."""

import asyncio
import os
import signal

from xllamacpp import CommonParams, Server

from launcher.processes import binaries
from launcher.settings import MODEL_NAME, ModelSettings


async def run(settings: ModelSettings) -> None:
    """Serves GET /health, /v1/models and POST /v1/chat/completions on 127.0.0.1 until SIGTERM or SIGINT.

    Raises RuntimeError if the port is busy.
    """
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    server = Server(parameters(settings))
    print(f"serving {MODEL_NAME} at {server.listening_address}", flush=True)
    await stopped.wait()
    # The server's own end waits for answers that are being written, for minutes; nothing here is worth that.
    os._exit(0)


def parameters(settings: ModelSettings) -> CommonParams:
    """How llama.cpp is set up: each slot has a context of its own, so that no answer runs out because of another."""
    params = CommonParams()
    params.model.path = str(binaries.model_file())
    params.model_alias = {MODEL_NAME}
    params.hostnames = ["127.0.0.1"]
    params.port = settings.port
    params.n_parallel = settings.model_slots
    params.n_ctx = settings.model_slots * settings.model_context_tokens
    params.n_predict = 1024  # for who does not say max_tokens: a small model may not find an end by itself
    params.cpuparams.n_threads = settings.model_threads
    # For callers that choose nothing: what the model's card advises, and a penalty that keeps it out of loops.
    params.sampling.temp = 0.2
    params.sampling.top_p = 0.9
    params.sampling.penalty_repeat = 1.1
    params.cache_ram_mib = 64  # evicted prompts; the default would be 8 GiB
    params.verbosity = 1  # errors only, for more would log prompts
    # Nothing but the API: neither the chat page, nor what other callers are asking.
    params.ui = False
    params.endpoint_slots = False
    params.cors_origins = ""
    return params
