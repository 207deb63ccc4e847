"""What `shoal up` shows when it is ready."""

import ast
import json
import shlex
from pathlib import Path

import pytest

from launcher.home import Home
from launcher.settings import UpSettings
from launcher.welcome import welcome

HOME = Home(Path("/home-of-the-mesh"))
KEY = "sk-shoal-of-the-test"


def text_of(settings: UpSettings, api_key: str = KEY) -> str:
    return welcome(settings.topology(), HOME, api_key=api_key, seconds=3.21)


def commands(text: str) -> list[list[str]]:
    """The paragraphs that are commands, split as a shell would."""
    return [shlex.split(part) for part in text.split("\n\n") if part.startswith("curl") or " -c " in part]


def test_it_names_the_address_the_key_the_time_and_the_logs() -> None:
    text = text_of(UpSettings(port_shift=1))
    assert "ready after 3.2 s: http://127.0.0.1:8081" in text
    assert KEY in text
    assert str(HOME.logs) in text
    assert "Ctrl-C" in text


def test_its_three_commands_are_what_a_shell_would_understand() -> None:
    plain, streamed, by_grpc = commands(text_of(UpSettings()))
    assert plain[0] == streamed[0] == "curl"
    assert f"X-API-Key: {KEY}" in plain
    assert "stream" not in json.loads(plain[-1])
    assert json.loads(streamed[-1])["stream"] is True
    assert by_grpc[1] == "-c"
    assert KEY in ast.unparse(ast.parse(by_grpc[2]))


def test_with_tls_they_trust_the_certificate_and_use_the_tls_port() -> None:
    plain, _, by_grpc = commands(text_of(UpSettings(tls_cert_file="cert.pem", tls_key_file="key.pem")))
    assert plain[plain.index("--cacert") + 1] == "cert.pem"
    assert "https://localhost:8443/api/v1/task" in plain
    assert "secure_channel('localhost:8443'" in by_grpc[2]


@pytest.mark.parametrize("command", [0, 1, 2])
def test_without_a_demo_key_they_ask_without_one(command: int) -> None:
    assert "api-key" not in " ".join(commands(text_of(UpSettings(), api_key=""))[command]).lower()
