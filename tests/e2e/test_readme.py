"""The README's examples do what the README says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mesh import Mesh

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = re.compile(r"^\*\*(\d+)\. .*?(?=^\*\*\d+\. |^Errors say|\Z)", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)
# A refusal of the server is a failure of the example.
PRELUDE = 'set -euo pipefail\ncurl() { command curl --silent --show-error --fail-with-body "$@"; }\n'

SHOWS = {
    1: r"x-shoal-replica: agent-\d.*\"output\":\"",
    2: r"\"type\":\"started\".*\"type\":\"delta\".*\"type\":\"completed\".*data: \[DONE\]",
    3: r"x-shoal-cache: miss.*x-shoal-cache: hit; level=l1",
    4: r"\"status\":\"bypass\"",
    5: r"\"role\":\"user\",\"content\":\"What is my name\?\".*\"existed\":true",
    6: r"\"version\":1.*\"output\":\"",
    7: r"\w+",
    8: r"\w+",
    9: r"\w+.*started.*delta.*completed",
    10: r"sk-shoal-[\w-]{43}.*acme",
    11: r"agent-4: takes calls.*gateway-1: stopped.*agent: 4 ready",
}
CHANGES_THE_MESH = 11


def examples() -> dict[int, list[tuple[str, str]]]:
    text = (ROOT / "README.md").read_text()
    return {int(found[1]): BLOCK.findall(found[0]) for found in EXAMPLE.finditer(text)}


def test_every_example_is_checked() -> None:
    assert list(examples()) == list(SHOWS) == list(range(1, len(SHOWS) + 1))


@pytest.mark.parametrize("number", set(SHOWS) - {CHANGES_THE_MESH})
def test_the_example_works(number: int, mesh: Mesh) -> None:
    assert_works(number, mesh)


def test_the_example_that_changes_the_mesh_works(simulated_mesh: Mesh) -> None:
    assert_works(CHANGES_THE_MESH, simulated_mesh)


def assert_works(number: int, mesh: Mesh) -> None:
    [(language, code)] = examples()[number]
    programs = Path(sys.executable).parent
    command = [sys.executable, "-c", code]
    if language == "bash":
        command = ["bash", "-c", PRELUDE + code.replace(".venv/bin/", f"{programs}/")]
    environment = {**os.environ, **mesh.environment, "SHOAL_URL": mesh.url, "SHOAL_KEY": mesh.api_key}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(SHOWS[number], result.stdout + result.stderr, re.DOTALL), result.stdout + result.stderr
