"""The journal of a warming run as a file."""

import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.cache.warming.journal import JournalError, open_journal


def test_what_is_finished_is_known_to_the_next_run_until_its_time_is_over(tmp_path: Path) -> None:
    path = tmp_path / "tasks.jsonl.warmed"
    with open_journal(path, restart=False, clock=lambda: 1000.0) as journal:
        journal.add("digest", for_seconds=10)
        assert path.read_text() == "digest 1010\n"
    with open_journal(path, restart=False, clock=lambda: 1009.0) as journal:
        assert journal.holds("digest")
    with open_journal(path, restart=False, clock=lambda: 1010.0) as journal:
        assert not journal.holds("digest")


def test_a_restart_forgets(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with open_journal(path, restart=False, clock=lambda: 1000.0) as journal:
        journal.add("before", for_seconds=10)
    with open_journal(path, restart=True, clock=lambda: 1000.0) as journal:
        assert not journal.holds("before")
        journal.add("after", for_seconds=10)
    assert path.read_text() == "after 1010\n"


def test_it_is_for_one_run_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with open_journal(path, restart=False) as journal:
        journal.add("kept", for_seconds=1000)
        with pytest.raises(JournalError, match="Another run"), open_journal(path, restart=True):
            pass
        assert "kept" in path.read_text()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    path = tmp_path / "no-such-folder" / "journal"
    with pytest.raises(JournalError, match="no-such-folder"), open_journal(path, restart=False):
        pass


@contextlib.contextmanager
def no_room() -> Iterator[None]:
    """Meanwhile this process can write to no file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_where_there_is_no_room_that_is_said_once(tmp_path: Path) -> None:
    journal_open = open_journal(tmp_path / "journal", restart=False)
    with no_room(), journal_open as journal, pytest.raises(JournalError, match="make room"):
        journal.add("digest", for_seconds=10)


def test_a_file_of_any_bytes_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_bytes(b"\xff\xfe 12\n\x00\x00 nan")
    with open_journal(path, restart=False, clock=lambda: 1000.0) as journal:
        journal.add("digest", for_seconds=10)
    with open_journal(path, restart=False, clock=lambda: 1000.0) as journal:
        assert journal.holds("digest")
