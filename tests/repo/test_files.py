"""What is committed: protos and stubs, lock files, nothing that belongs to one machine."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.repo.tree import ROOT, listed


def texts() -> list[tuple[Path, str]]:
    found = []
    for path in listed():
        try:
            found.append((path.relative_to(ROOT), path.read_text()))
        except UnicodeDecodeError:
            continue
    return found


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_lock_files_hold_versions_and_hashes_and_no_addresses(name: str) -> None:
    text = (ROOT / name).read_text()
    assert "://" not in text
    packages = re.split(r"\n(?=\S)", text.strip())
    assert len(packages) > 20
    assert not [
        package.splitlines()[0] for package in packages if "==" not in package or "--hash=sha256:" not in package
    ]


def test_the_development_lock_agrees_with_the_runtime_lock() -> None:
    pinned = {
        name: set(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / name).read_text(), re.MULTILINE))
        for name in ("requirements.lock", "requirements-dev.lock")
    }
    assert pinned["requirements.lock"] <= pinned["requirements-dev.lock"]


def test_the_stubs_are_what_the_protos_say() -> None:
    check = subprocess.run([sys.executable, ROOT / "protos/stubs.py", "--check"], capture_output=True, text=True)
    assert check.returncode == 0, check.stderr


def test_the_protos_break_nobody() -> None:
    buf = Path(sys.executable).parent / "buf"
    check = subprocess.run(
        [buf, "breaking", "--against", "protos/baseline.binpb"], cwd=ROOT, capture_output=True, text=True
    )
    assert check.returncode == 0, check.stdout


def test_no_file_carries_a_path_of_a_machine() -> None:
    homes = re.compile(r"(?<![\w.])/(home|root|Users|work)/\w")
    assert not [str(path) for path, text in texts() if homes.search(text)]


def test_no_file_carries_a_real_looking_key() -> None:
    key = re.compile(r"sk-shoal-[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])")
    offences = [str(path) for path, text in texts() if key.search(text) and path.parts[0] != "tests"]
    assert not offences
