"""The watch over real certificate files, replaced in each of the ways in which operators do it."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from launcher.edge.tls_watch import Fault, look, watch_certificate
from tests import certificates

TIMEOUT_SECONDS = 20.0


@dataclass
class Watched:
    """A certificate and its key that are watched, and what the watch has said."""

    cert_file: Path
    key_file: Path
    published: "asyncio.Queue[tuple[str, str]]" = field(default_factory=asyncio.Queue)
    complaints: "asyncio.Queue[str]" = field(default_factory=asyncio.Queue)
    is_full: bool = False
    """Whether what is published cannot be written."""

    def publish(self, cert_pem: str, key_pem: str) -> None:
        if self.is_full:
            raise OSError(28, "No space left on device", "secret.yaml")
        self.published.put_nowait((cert_pem, key_pem))

    async def next_pair(self) -> tuple[str, str]:
        return await asyncio.wait_for(self.published.get(), TIMEOUT_SECONDS)

    async def next_complaint(self) -> str:
        return await asyncio.wait_for(self.complaints.get(), TIMEOUT_SECONDS)


@asynccontextmanager
async def watched(cert_file: Path, key_file: Path) -> AsyncIterator[Watched]:
    """The watch, which has published the first pair already."""
    seen = Watched(cert_file, key_file)
    watching = asyncio.create_task(
        watch_certificate(
            str(cert_file),
            str(key_file),
            publish=seen.publish,
            complain=seen.complaints.put_nowait,
            poll_seconds=0.02,
        )
    )
    try:
        assert await seen.next_pair() == texts(cert_file, key_file)
        yield seen
        assert not watching.done()
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


def texts(cert_file: Path, key_file: Path) -> tuple[str, str]:
    return cert_file.read_text(), key_file.read_text()


def by_renaming(folder: Path, other: Path) -> None:
    for name in ("front-key.pem", "front.pem"):
        new = folder / f"{name}.new"
        shutil.copy(other / name, new)
        new.replace(folder / name)


def in_place(folder: Path, other: Path) -> None:
    for name in ("front.pem", "front-key.pem"):
        shutil.copy(other / name, folder / name)


@pytest.mark.parametrize("replaced", [by_renaming, in_place])
async def test_a_pair_that_is_replaced_is_published(replaced: Callable[[Path, Path], None], tmp_path: Path) -> None:
    folder, other = tmp_path / "now", tmp_path / "next"
    files = certificates.localhost(folder)
    renewed = texts(*certificates.localhost(other))
    async with watched(*files) as seen:
        replaced(folder, other)
        assert await seen.next_pair() == renewed


async def test_a_link_that_turns_to_another_folder_is_followed(tmp_path: Path) -> None:
    certificates.localhost(tmp_path / "1")
    renewed = texts(*certificates.localhost(tmp_path / "2"))
    current = tmp_path / "current"
    current.symlink_to("1")
    async with watched(current / "front.pem", current / "front-key.pem") as seen:
        turned = tmp_path / "turned"
        turned.symlink_to("2")
        turned.replace(current)
        assert await seen.next_pair() == renewed


async def test_files_that_only_look_newer_are_not_published_again(tmp_path: Path) -> None:
    files = certificates.localhost(tmp_path)
    async with watched(*files) as seen:
        for file in files:
            file.touch()
        certificates.made(tmp_path, renew=True)
        assert await seen.next_pair() == texts(*files)
        assert seen.published.empty()


async def test_a_key_of_another_certificate_is_complained_about_and_the_next_good_pair_taken(tmp_path: Path) -> None:
    cert_file, key_file = certificates.localhost(tmp_path / "now")
    _, other_key = certificates.localhost(tmp_path / "other")
    async with watched(cert_file, key_file) as seen:
        shutil.copy(other_key, key_file)
        complaint = await seen.next_complaint()
        assert complaint == (
            f"{cert_file} with {key_file} cannot be used: the key is not that of the certificate, or is encrypted, "
            "or one of the files is no PEM; the certificate before it stays in use"
        )
        certificates.made(tmp_path / "other", renew=True)
        by_renaming(tmp_path / "now", tmp_path / "other")
        assert await seen.next_pair() == texts(cert_file, key_file)
        assert seen.complaints.empty()


async def test_an_expired_certificate_is_not_published(tmp_path: Path) -> None:
    files = certificates.localhost(tmp_path / "now")
    certificates.expired(tmp_path / "old")
    async with watched(*files) as seen:
        by_renaming(tmp_path / "now", tmp_path / "old")
        assert "certificate has expired" in await seen.next_complaint()
        assert seen.published.empty()


async def test_files_that_vanish_are_complained_about(tmp_path: Path) -> None:
    cert_file, key_file = certificates.localhost(tmp_path)
    async with watched(cert_file, key_file) as seen:
        cert_file.unlink()
        assert (await seen.next_complaint()).startswith(f"{cert_file} cannot be read: No such file")


async def test_what_cannot_be_handed_on_is_tried_again(tmp_path: Path) -> None:
    files = certificates.localhost(tmp_path)
    async with watched(*files) as seen:
        seen.is_full = True
        certificates.made(tmp_path, renew=True)
        assert "cannot be handed on: No space left" in await seen.next_complaint()
        seen.is_full = False
        assert await seen.next_pair() == texts(*files)


def a_pipe(file: Path) -> None:
    os.mkfifo(file)


def far_too_much(file: Path) -> None:
    file.write_text("x" * ((1 << 20) + 1))


@pytest.mark.parametrize(
    ("made", "fault"),
    [(Path.mkdir, "no regular file"), (a_pipe, "no regular file"), (far_too_much, "larger than 1 MiB")],
)
def test_what_is_no_file_of_a_certificates_size_is_a_fault_and_not_read(
    made: Callable[[Path], None], fault: str, tmp_path: Path
) -> None:
    cert_file, key_file = certificates.localhost(tmp_path)
    cert_file.unlink()
    made(cert_file)
    seen = look(cert_file, key_file)
    assert isinstance(seen, Fault)
    assert seen.words.startswith(f"{cert_file} cannot be read: it is ")
    assert seen.words.endswith(fault)
