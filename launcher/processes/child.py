"""One life of a process that we start: its beginning, its log, its end."""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_LINUX_SET_DEATH_SIGNAL = 1
_TAIL_BYTES = 64 * 1024


class Child:
    """A running process in a session of its own, so that Ctrl-C on the terminal does not reach it."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path, log_offset: int) -> None:
        self._process = process
        self._log = log
        self._log_offset = log_offset

    @classmethod
    async def start(cls, command: Sequence[str], *, environment: Mapping[str, str], log: Path) -> "Child":
        """Starts the command, both its outputs appended to `log`. Raises OSError if it cannot be started.

        Where the system can do that (Linux), the process is killed when this one dies, however that happens.
        """
        with log.open("ab") as output:
            offset = output.tell()
            process = await asyncio.create_subprocess_exec(
                *command,
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=_dying_with(os.getpid()),
            )
        return cls(process, log, offset)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def wait(self) -> int:
        """The exit code, or the negative number of the signal that ended it. What it started itself is killed then."""
        code = await self._process.wait()
        self._kill_group()
        return code

    def terminate(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()

    def hurry(self) -> None:
        """The second signal, on which a service ends without waiting for its calls."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        if self._process.returncode is None:
            self._kill_group()

    def last_lines(self, count: int = 15) -> list[str]:
        """The end of what this life wrote to the log."""
        return tail(self._log, since=self._log_offset, count=count)

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)


def tail(log: Path, *, since: int, count: int) -> list[str]:
    """The last lines of a file, of what comes after the byte `since`; bytes that are no text are replaced."""
    with log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(since, size - _TAIL_BYTES))
        return file.read().decode(errors="replace").splitlines()[-count:]


def describe_exit(code: int) -> str:
    """How a process ended, completing the sentence "it ended with ..."."""
    return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"


def _dying_with(parent: int) -> Callable[[], None] | None:
    """What a child runs before its program: asks for SIGKILL on its parent's death, even if that was just now."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def ask() -> None:
        prctl(_LINUX_SET_DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return ask
