"""The home on a real disk."""

import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from launcher.home import Home, HomeError, home_faults, rotate, write_private
from launcher.processes.child import tail


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_home_is_for_its_owner_alone(tmp_path: Path) -> None:
    home = Home(tmp_path / "deep" / "home")
    home.prepare()
    assert mode(home.folder) == 0o700
    assert mode(home.secret_file) == 0o600


def test_the_secret_is_long_and_random_and_kept(tmp_path: Path) -> None:
    home, other = Home(tmp_path / "one"), Home(tmp_path / "two")
    home.prepare()
    other.prepare()
    secret = home.secret_file.read_text()
    assert len(secret.strip()) >= 32
    assert secret != other.secret_file.read_text()
    home.prepare()
    assert home.secret_file.read_text() == secret


def test_nothing_but_the_secret_is_left_of_making_it(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.prepare()
    home.prepare()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["logs", "mesh-secret", "valkey"]


def test_a_private_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "key"
    for text in ("first", "second"):
        write_private(path, text)
    assert path.read_text() == "second\n"
    assert mode(path) == 0o600
    assert [found.name for found in tmp_path.iterdir()] == ["key"]


def test_nothing_is_left_of_a_private_file_that_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "key"
    write_private(path, "old")
    with files_of_at_most(1024), pytest.raises(OSError, match="too large"):
        write_private(path, "new" * 1024)
    assert path.read_text() == "old\n"
    assert [found.name for found in tmp_path.iterdir()] == ["key"]


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """In place of a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(("kept", "key"), [(None, ""), (b"a key\n", "a key"), (b"\xff\n", "\N{REPLACEMENT CHARACTER}")])
def test_the_demo_key_is_whatever_is_kept(kept: bytes | None, key: str, tmp_path: Path) -> None:
    home = Home(tmp_path)
    if kept is not None:
        home.demo_key_file.write_bytes(kept)
    assert home.demo_key() == key


def test_a_second_mesh_is_kept_out_until_the_first_is_gone(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with home.claimed(), pytest.raises(HomeError, match="SHOAL_HOME"), Home(tmp_path).claimed():
        raise AssertionError("two meshes in one home")
    with home.claimed():
        pass


def test_a_folder_that_cannot_be_the_home_is_named_with_the_fault(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HomeError, match=r"file cannot be the home: File exists .* SHOAL_HOME"):
        Home(tmp_path / "file").prepare()
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "valkey").touch()
    with pytest.raises(HomeError, match=r"home cannot be the home: File exists \(.*valkey\)"):
        Home(tmp_path / "home").prepare()


def test_a_large_log_makes_room_and_one_before_is_kept(tmp_path: Path) -> None:
    log = tmp_path / "service.log"
    for content in ("a", "b"):
        log.write_text(content * 11_000_000)
        rotate(log)
    assert not log.exists()
    assert (tmp_path / "service.log.1").read_text(encoding="ascii").startswith("b")


def test_a_small_log_and_a_missing_one_stay_as_they_are(tmp_path: Path) -> None:
    log = tmp_path / "service.log"
    rotate(log)
    log.write_text("short")
    rotate(log)
    assert [path.name for path in tmp_path.iterdir()] == ["service.log"]


def test_a_home_below_a_file_is_a_fault_and_a_new_one_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert home_faults(str(tmp_path / "file" / "home"))
    assert not home_faults(str(tmp_path / "new" / "home"))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("old\n1\n2\n3\n", ["2", "3"]),
        ("old\n", []),
        ("old\nunfinished", ["unfinished"]),
        ("old\n" + "x" * 200_000 + "\nend\n", ["x" * (64 * 1024 - 5), "end"]),
    ],
)
def test_the_tail_of_a_log_is_its_last_lines_since_the_start(tmp_path: Path, content: str, expected: list[str]) -> None:
    log = tmp_path / "service.log"
    log.write_text(content)
    assert tail(log, since=len("old\n"), count=2) == expected


def test_bytes_that_are_no_text_do_not_hide_the_rest(tmp_path: Path) -> None:
    log = tmp_path / "service.log"
    log.write_bytes(b"\xff\xfe broken\nthe end\n")
    assert tail(log, since=0, count=5)[-1] == "the end"
