"""Files that are read again when they change."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from services.ratelimit.watched_files import WatchedFiles, naming, read_file, read_files


def number(path: Path) -> list[int]:
    """The number in a file."""
    text = read_file(path)
    with naming(str(path)):
        return [int(text)]


def numbers(path: Path) -> list[int]:
    """The numbers in a file or in those of a folder."""
    found = []
    for file, text in read_files(path).items():
        with naming(file):
            found.append(int(text))
    return found


@dataclass
class Watch:
    """Watched files with what was counted."""

    path: Path
    read: Callable[[Path], list[int]] = numbers
    counted: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.files = WatchedFiles(self.path, read=lambda: self.read(self.path), count=self.counted.append)

    def check(self) -> list[int]:
        self.files.check()
        return self.files.current


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "numbers.yaml"
    path.write_text("1")
    return path


def renamed_over(path: Path, text: str) -> None:
    """As editors save, with the time and the size of what was there."""
    before = path.stat()
    new = path.with_name("new")
    new.write_text(text)
    os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
    new.rename(path)


def test_a_file_is_read_at_once(file: Path) -> None:
    watch = Watch(file)
    assert watch.files.current == [1]
    assert watch.check() == [1]
    assert watch.counted == []


def test_a_file_that_was_written_or_replaced_is_read_again(file: Path) -> None:
    watch = Watch(file)
    file.write_text("22")
    assert watch.check() == [22]
    renamed_over(file, "33")
    assert watch.check() == [33]
    assert watch.counted == ["read", "read"]


def test_a_file_whose_mode_changes_is_read_again_for_it_may_have_been_unreadable(file: Path) -> None:
    watch = Watch(file)
    file.chmod(0o600)
    assert watch.check() == [1]
    assert watch.counted == ["read"]


def test_a_faulty_version_changes_nothing_and_is_told_once(file: Path) -> None:
    watch = Watch(file)
    file.write_text("one")
    with capture_logs() as lines:
        assert watch.check() == watch.check() == [1]
    (line,) = lines
    assert line["log_level"] == "error"
    assert str(file) in line["fault"]
    assert "one" in line["fault"]
    assert watch.counted == ["refused"]
    file.write_text("4444")
    with capture_logs() as lines:
        assert watch.check() == watch.check() == [4444]
    assert [line["log_level"] for line in lines] == ["info"]
    assert watch.counted == ["refused", "read"]


def becomes_a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()
    (file / "inside.yaml").write_text("7")


def becomes_a_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def becomes_a_link_to_itself(file: Path) -> None:
    file.unlink()
    file.symlink_to(file)


def becomes_bytes(file: Path) -> None:
    file.write_bytes(b"\xff")


def is_gone(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (is_gone, "cannot be read: No such file"),
        (becomes_a_folder, "must be a file"),
        (becomes_a_pipe, "must be a file"),
        (becomes_a_link_to_itself, "cannot be read: "),
        (becomes_bytes, "line 1: this is not UTF-8"),
    ],
)
def test_a_file_that_cannot_be_used_any_more_changes_nothing_until_it_is_mended(
    file: Path, break_it: Callable[[Path], None], said: str
) -> None:
    watch = Watch(file, number)
    break_it(file)
    fault = refused_once(watch, [1])
    assert fault.startswith(f"{file}: {said}")
    is_gone(file)
    file.write_text("2")
    assert watch.check() == [2]
    assert watch.counted[-1] == "read"


def empty(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


def turn_into_a_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("no number")


def break_a_link(folder: Path) -> None:
    (folder / "b.yaml").unlink()
    (folder / "b.yaml").symlink_to("nowhere")


def replace_a_file_by_a_pipe(folder: Path) -> None:
    (folder / "b.yaml").unlink()
    os.mkfifo(folder / "b.yaml")


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (is_gone, ": cannot be read: No such file"),
        (empty, ": the folder holds no file"),
        (turn_into_a_file, ": invalid literal"),
        (break_a_link, "/b.yaml: cannot be read: No such file"),
        (replace_a_file_by_a_pipe, "/b.yaml: must be a file"),
    ],
)
def test_a_folder_that_cannot_be_used_any_more_changes_nothing_until_it_is_mended(
    tmp_path: Path, break_it: Callable[[Path], None], said: str
) -> None:
    folder = tmp_path / "numbers"
    folder.mkdir()
    for name, text in {"a.yaml": "1", "b.yaml": "2"}.items():
        (folder / name).write_text(text)
    watch = Watch(folder)
    break_it(folder)
    fault = refused_once(watch, [1, 2])
    assert fault.startswith(f"{folder}{said}")
    is_gone(folder)
    folder.mkdir()
    (folder / "a.yaml").write_text("3")
    assert watch.check() == [3]
    assert watch.counted == ["refused", "read"]


def refused_once(watch: Watch, before: list[int]) -> str:
    """What is said of a change that leaves everything as it was before."""
    with capture_logs() as lines:
        assert watch.check() == watch.check() == before
    (line,) = lines
    assert (line["log_level"], watch.counted) == ("error", ["refused"])
    return str(line["fault"])


def test_a_reader_that_breaks_does_not_end_the_watch(file: Path) -> None:
    def divided(path: Path) -> list[int]:
        return [12 // int(path.read_text())]

    watch = Watch(file, divided)
    file.write_text("00")
    assert "ZeroDivisionError" in refused_once(watch, [12])
    file.write_text("4")
    assert watch.check() == [3]


def test_the_files_of_a_folder_are_read_together(tmp_path: Path) -> None:
    for name, text in {"b.yml": "2", "a.yaml": "1", "notes.txt": "x", ".hidden": "x"}.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / ".#a.yaml").symlink_to("somebody@somewhere")
    watch = Watch(tmp_path)
    assert watch.files.current == [1, 2]
    (tmp_path / "c.yaml").write_text("3")
    assert watch.check() == [1, 2, 3]
    (tmp_path / "b.yml").unlink()
    assert watch.check() == [1, 3]


def test_a_mounted_config_map_is_seen_to_change(tmp_path: Path) -> None:
    """Kubernetes turns one link, `..data`, to a new folder."""
    for version in ("1", "2"):
        (tmp_path / f"..{version}").mkdir()
        (tmp_path / f"..{version}" / "numbers.yaml").write_text(version)
        os.utime(tmp_path / f"..{version}" / "numbers.yaml", ns=(0, 0))
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "numbers.yaml").symlink_to("..data/numbers.yaml")
    watch = Watch(tmp_path)
    (tmp_path / "..next").symlink_to("..2")
    (tmp_path / "..next").rename(tmp_path / "..data")
    assert watch.check() == [2]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [("bad.yaml", b"x", "bad.yaml: invalid literal"), ("bad.yaml", b"1\n\xff", "line 2"), ("other", b"1", "holds no")],
)
def test_what_cannot_be_used_at_the_start_is_an_error(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=said):
        Watch(tmp_path)


def test_a_file_that_is_not_there_at_the_start_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"missing\.yaml: cannot be read"):
        Watch(tmp_path / "missing.yaml")
