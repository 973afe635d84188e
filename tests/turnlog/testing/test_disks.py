"""The disk that forgets: what survives a power cut and what does not, and when a process dies."""

import errno
import os
from pathlib import Path
from random import Random

import pytest

from turnlog.testing.disks import Disk, Killed, Life, MortalFiles, RefusingFiles


def open_file(path: Path, *, share: float = 0.0, block_bytes: int = 4) -> tuple[Disk, MortalFiles, int]:
    """A file on a new disk whose name is durable."""
    disk = Disk(Random(1), block_bytes=block_bytes)
    files = MortalFiles(disk)
    descriptor = files.open(path)
    files.sync_folder(path.parent)
    return disk, files, descriptor


@pytest.mark.parametrize(("share", "left"), [(0.0, b"abcdef"), (1.0, b"abXXXXghi")])
def test_what_was_not_synced_may_be_lost(tmp_path: Path, share: float, left: bytes) -> None:
    """After a sync a write is kept whatever happens; what came after it, with its length, only by chance."""
    disk, files, descriptor = open_file(tmp_path / "x")
    files.write_all(descriptor, b"abcdef", 0)
    files.sync(descriptor)
    files.write_all(descriptor, b"XXXXghi", 2)
    assert (tmp_path / "x").read_bytes() == b"abXXXXghi"
    disk.cut_power(share)
    assert (tmp_path / "x").read_bytes() == left


def test_each_block_survives_on_its_own(tmp_path: Path) -> None:
    """Of several blocks written at once any may be missing: the old bytes are there, or NULs where there were none."""
    seen = set()
    for seed in range(200):
        disk = Disk(Random(seed), block_bytes=4)
        files, path = MortalFiles(disk), tmp_path / str(seed)
        descriptor = files.open(path)
        files.sync_folder(tmp_path)
        files.write_all(descriptor, b"aaaa\n\n\n\n", 0)
        files.sync(descriptor)
        files.write_all(descriptor, b"bbbbccccdddd", 0)
        disk.cut_power(0.5)
        seen.add(path.read_bytes().ljust(12, b"."))
        files.close(descriptor)
    assert {b"bbbbccccdddd", b"aaaaccccdddd", b"bbbb\n\n\n\ndddd", b"bbbbcccc\0\0\0\0", b"aaaa\n\n\n\n...."} <= seen
    assert {data[8:] for data in seen if data.endswith(b".")} >= {b"....", b"dd.."}


def test_a_block_may_have_an_older_state(tmp_path: Path) -> None:
    """Of a block that was written twice since the last sync the disk may have the first state."""
    seen = set()
    for seed in range(100):
        disk = Disk(Random(seed))
        files, path = MortalFiles(disk), tmp_path / str(seed)
        descriptor = files.open(path)
        files.sync_folder(tmp_path)
        files.write_all(descriptor, b"one", 0)
        files.write_all(descriptor, b"two", 0)
        disk.cut_power(0.5)
        seen.add(path.read_bytes())
        files.close(descriptor)
    assert seen >= {b"one", b"two", b"", b"\0\0\0"}


@pytest.mark.parametrize(("share", "left"), [(0.0, b"abc\n\n\n"), (1.0, b"abc")])
def test_cutting_a_file_may_be_undone(tmp_path: Path, share: float, left: bytes) -> None:
    """What was cut off and not synced may be there again."""
    disk, files, descriptor = open_file(tmp_path / "x")
    files.write_all(descriptor, b"abc\n\n\n", 0)
    files.sync(descriptor)
    files.cut(descriptor, 3)
    assert (tmp_path / "x").read_bytes() == b"abc"
    disk.cut_power(share)
    assert (tmp_path / "x").read_bytes() == left


def test_names_need_their_folder_synced(tmp_path: Path) -> None:
    """A new file or folder, or another name, is lost with its content unless its folder was synced."""
    disk = Disk(Random(1))
    files = MortalFiles(disk)
    files.make_folder(tmp_path / "kept")
    files.write_file(tmp_path / "kept" / "a", b"a")
    descriptor = files.open(tmp_path / "kept" / "b")
    files.write_all(descriptor, b"b", 0)
    files.sync(descriptor)
    files.rename(tmp_path / "kept" / "a", tmp_path / "kept" / "c")
    disk.made_folder(tmp_path / "lost")
    (tmp_path / "lost").mkdir()
    files.write_file(tmp_path / "lost" / "d", b"d")
    disk.cut_power(0.0)
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")} == {"kept", "kept/a"}
    assert (tmp_path / "kept" / "a").read_bytes() == b"a"


def test_a_failed_sync_loses_what_it_was_to_write(tmp_path: Path) -> None:
    """After `drop` a later sync covers what comes later only; others who have the file open are told once."""
    disk, files, descriptor = open_file(tmp_path / "x")
    other = files.open(tmp_path / "x")
    files.write_all(descriptor, b"aaaa", 0)
    disk.drop(descriptor)
    with pytest.raises(OSError, match="Input/output error"):
        files.sync(other)
    files.write_all(descriptor, b"bbbb", 4)
    files.sync(other)
    disk.cut_power(1.0)
    assert (tmp_path / "x").read_bytes() == b"\0\0\0\0bbbb"


def test_a_machine_that_is_started_again_has_another_boot_id(tmp_path: Path) -> None:
    """So that a writer can tell a power cut from the end of a process."""
    disk = Disk(Random(1))
    before = MortalFiles(disk).boot_id()
    assert MortalFiles(disk).boot_id() == before
    disk.cut_power()
    assert MortalFiles(disk).boot_id() != before


@pytest.mark.parametrize(("share", "left"), [(0.0, b""), (0.5, b"ab"), (1.0, b"abcd")])
def test_a_process_dies_in_the_middle_of_a_write(tmp_path: Path, share: float, left: bytes) -> None:
    """Of the last call a share happens; every later one raises Killed too, but closing does not."""
    life = Life(dies_at=1, share=share)
    files = MortalFiles(Disk(Random(1)), life)
    descriptor = files.open(tmp_path / "x")
    with pytest.raises(Killed):
        files.write(descriptor, b"abcd", 0)
    with pytest.raises(Killed):
        files.sync(descriptor)
    assert (tmp_path / "x").read_bytes() == left
    files.close(descriptor)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.close(descriptor)


def test_a_process_dies_with_its_machine(tmp_path: Path) -> None:
    """Who has several lives dies with the first that is over; others on the same disk go on."""
    machine, own = Life(), Life()
    disk = Disk(Random(1))
    files, others = MortalFiles(disk, machine, own), MortalFiles(disk, machine)
    files.make_folder(tmp_path / "a")
    assert own.calls == machine.calls > 0
    own.dead = True
    with pytest.raises(Killed):
        files.open(tmp_path / "x")
    others.close(others.open(tmp_path / "x"))


def test_refusing_files_refuse_as_long_as_they_are_told_to(tmp_path: Path) -> None:
    """An error stands until it is taken away; a disk that is nearly full takes a part."""
    files = RefusingFiles()
    descriptor = files.open(tmp_path / "x")
    files.refuse = {"write": errno.EIO}
    for _ in range(2):
        with pytest.raises(OSError, match="Input/output error"):
            files.write(descriptor, b"ab", 0)
    files.refuse, files.room = {}, 3
    assert (files.write(descriptor, b"ab", 0), files.write(descriptor, b"cd", 2)) == (2, 1)
    with pytest.raises(OSError, match="No space left"):
        files.write(descriptor, b"d", 3)
    files.close(descriptor)
    assert files.calls == ["open", "write", "write", "write", "write", "write"]
