"""Files that are read again when they change."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from services.ratelimit.watched_file import WatchedFiles, naming


def numbers(texts: Mapping[str, str]) -> list[int]:
    """The numbers in all files."""
    found = []
    for file, text in texts.items():
        with naming(file):
            found.append(int(text))
    return found


@dataclass
class Watch:
    """Watched files with what was counted."""

    path: Path
    counted: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.files = WatchedFiles(self.path, parse=numbers, count=self.counted.append)

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


def test_a_file_that_is_gone_changes_nothing_until_it_is_back(file: Path) -> None:
    watch = Watch(file)
    file.unlink()
    assert watch.check() == watch.check() == [1]
    assert watch.counted == ["refused"]
    file.write_text("2")
    assert watch.check() == [2]


def test_the_files_of_a_folder_are_read_together(tmp_path: Path) -> None:
    for name, text in {"b.yml": "2", "a.yaml": "1", "notes.txt": "x", ".hidden": "x"}.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "folder.yaml").mkdir()
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
