"""The local model server as a process of its own."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator

import httpx
import pytest

from launcher.processes import binaries
from launcher.settings import MODEL_NAME
from load.measuring.ports import free_port
from tests.backends import wait_until

LONG_STORY = {"stream": True, "ignore_eos": True, "messages": [{"role": "user", "content": "Tell a long story."}]}


def is_healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health").status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture
def server() -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    port = free_port()
    environment = {**os.environ, "SHOAL_PORT": str(port), "SHOAL_MODEL_CONTEXT_TOKENS": "512"}
    with subprocess.Popen([binaries.shoal(), "run", "model"], env=environment) as process:
        url = f"http://127.0.0.1:{port}"
        try:
            wait_until(lambda: is_healthy(url), "health of the model")
            yield process, url
        finally:
            process.kill()


def test_it_speaks_the_protocol_and_stops_in_the_middle_of_an_answer(
    server: tuple[subprocess.Popen[bytes], str],
) -> None:
    process, url = server
    assert [model["id"] for model in httpx.get(f"{url}/v1/models").json()["data"]] == [MODEL_NAME]
    question = {"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 8}
    answer = httpx.post(f"{url}/v1/chat/completions", json=question, timeout=30).json()
    assert answer["choices"][0]["message"]["content"]
    assert answer["usage"]["completion_tokens"] <= 8

    with httpx.stream(
        "POST", f"{url}/v1/chat/completions", json=LONG_STORY | {"ignore_eos": True}, timeout=30
    ) as story:
        first = next(line for line in story.iter_lines() if line.startswith("data: "))
        assert json.loads(first.removeprefix("data: "))["object"] == "chat.completion.chunk"
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_it_tells_nobody_what_others_ask(server: tuple[subprocess.Popen[bytes], str]) -> None:
    _, url = server
    assert httpx.get(f"{url}/slots").status_code == 501
    origin = {"Origin": "http://somewhere.example"}
    assert not httpx.get(f"{url}/v1/models", headers=origin).headers.get("access-control-allow-origin")
