"""Which version would start now, read from what is installed and what is checked out."""

from pathlib import Path

from launcher.processes import versions

REVISION = "1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d"
OTHER = "f" * 40


def checkout(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        file = folder / ".git" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder


def test_the_commit_of_a_branch_is_read_from_its_own_file(tmp_path: Path) -> None:
    files = {"HEAD": "ref: refs/heads/main\n", "refs/heads/main": f"{REVISION}\n"}
    assert versions.commit(checkout(tmp_path, files)) == REVISION


def test_a_branch_without_a_file_is_found_among_the_packed_ones(tmp_path: Path) -> None:
    packed = f"# pack-refs with: peeled\n{OTHER} refs/heads/main-2\n{REVISION} refs/heads/main\n^{OTHER}\n"
    assert versions.commit(checkout(tmp_path, {"HEAD": "ref: refs/heads/main\n", "packed-refs": packed})) == REVISION


def test_the_file_of_a_branch_is_newer_than_the_packed_one(tmp_path: Path) -> None:
    files = {
        "HEAD": "ref: refs/heads/main\n",
        "refs/heads/main": f"{REVISION}\n",
        "packed-refs": f"{OTHER} refs/heads/main\n",
    }
    assert versions.commit(checkout(tmp_path, files)) == REVISION


def test_a_commit_without_a_branch_is_in_the_head_itself(tmp_path: Path) -> None:
    assert versions.commit(checkout(tmp_path, {"HEAD": f"{REVISION}\n"})) == REVISION


def test_a_branch_without_commits_and_a_folder_without_a_checkout_have_no_commit(tmp_path: Path) -> None:
    assert versions.commit(tmp_path) == ""
    assert versions.commit(checkout(tmp_path, {"HEAD": "ref: refs/heads/main\n"})) == ""


def test_a_linked_worktree_has_no_commit_to_show(tmp_path: Path) -> None:
    (tmp_path / ".git").write_text("gitdir: elsewhere\n")
    assert versions.commit(tmp_path) == ""


def test_what_is_not_installed_has_no_version() -> None:
    assert versions.installed("a-package-that-nobody-has") == ""
    assert versions.installed("") == ""
    assert versions.installed("shoal")


def test_our_own_version_begins_with_that_of_the_package() -> None:
    number, _, revision = versions.shoal().partition("+")
    assert number == versions.installed("shoal")
    assert len(revision) in (0, 7)
