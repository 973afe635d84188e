"""Payloads beside the log, named by what is in them."""

import errno
import os
import stat
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventlog import Blobs, LogUnavailable
from turnlog.testing.disks import RefusingFiles


@settings(max_examples=25)
@given(contents=st.lists(st.binary(max_size=300), max_size=6))
def test_what_is_put_is_got(tmp_path_factory: pytest.TempPathFactory, contents: list[bytes]) -> None:
    """Any bytes are got back by the SHA-256 of them, and the same content is stored once."""
    blobs = Blobs(tmp_path_factory.mktemp("blobs"))
    digests = [blobs.put(data) for data in contents]
    assert digests == [sha256(data).hexdigest() for data in contents]
    assert [blobs.get(digest) for digest in digests] == contents
    files = [path for path in blobs.directory.rglob("*") if path.is_file()]
    assert sorted(path.name for path in files) == sorted(set(digests))


def test_a_blob_stands_under_its_digest(tmp_path: Path) -> None:
    """A blob's place is told by its digest alone, two digits for the folder; modes are private."""
    blobs = Blobs(tmp_path / "blobs")
    digest = blobs.put(b"x")
    path = tmp_path / "blobs" / digest[:2] / digest
    assert blobs.path(digest) == path
    assert path.read_bytes() == b"x"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == stat.S_IMODE(blobs.directory.stat().st_mode) == 0o700


def test_putting_again_writes_nothing(tmp_path: Path) -> None:
    """What is there already is not written a second time; its names are made durable, should nobody have done it."""
    files = RefusingFiles()
    blobs = Blobs(tmp_path, files)
    digest = blobs.put(b"x")
    before = blobs.path(digest).stat()
    files.calls = []
    assert blobs.put(b"x") == digest
    assert set(files.calls) == {"sync_folder"}
    assert blobs.path(digest).stat() == before


@pytest.mark.parametrize("damage", [b"", b"y", b"xx"])
def test_a_damaged_blob_is_not_handed_out(tmp_path: Path, damage: bytes) -> None:
    """A blob that is not what it was is as good as not there; putting its content again mends it."""
    blobs = Blobs(tmp_path)
    digest = blobs.put(b"x")
    blobs.path(digest).write_bytes(damage)
    with pytest.raises(KeyError, match=digest):
        blobs.get(digest)
    assert blobs.put(b"x") == digest
    assert blobs.get(digest) == b"x"


@pytest.mark.parametrize("digest", ["", "ab", "0" * 64, "../../../etc/passwd"])
def test_a_blob_that_is_not_there(tmp_path: Path, digest: str) -> None:
    """A digest that nothing has, or that is none, is a KeyError."""
    with pytest.raises(KeyError):
        Blobs(tmp_path / "blobs").get(digest)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("call", ["make_folder", "write", "sync"])
def test_a_refused_blob_leaves_nothing(tmp_path: Path, call: str) -> None:
    """When the system refuses, the caller is told and no unfinished file stays; afterwards it works."""
    files = RefusingFiles()
    blobs = Blobs(tmp_path / "blobs", files)
    files.refuse = {call: errno.ENOSPC}
    with pytest.raises(LogUnavailable, match="No space left"):
        blobs.put(b"x" * 1000)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    files.refuse, files.chunk = {}, 10
    assert blobs.get(blobs.put(b"x" * 1000)) == b"x" * 1000


def test_a_blob_is_durable_before_it_has_its_name(tmp_path: Path) -> None:
    """The content is synced before the name appears, and the name before the digest is returned."""
    files = RefusingFiles()
    seen: list[tuple[str, list[str]]] = []

    class Watching(RefusingFiles):
        def _called(self, name: str) -> None:
            names = [path.suffix for path in tmp_path.rglob("*") if path.is_file()]
            seen.append((name, names))

    before = len(os.listdir("/proc/self/fd"))
    Blobs(tmp_path, files).put(b"a")
    assert len(os.listdir("/proc/self/fd")) == before
    Blobs(tmp_path / "second", Watching()).put(b"b")
    synced = seen.index(("sync", ["", ".tmp"]))
    assert ("sync_folder", ["", ""]) in seen[synced:]
