"""The file that is logged into: whole lines, whoever else writes, renames, removes it or fills the disk."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnlog.daemon import log_file
from turnlog.daemon.log_file import LogFile
from turnlog.daemon.log_lines import encode
from turnlog.testing.clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "daemon.log"


@pytest.fixture
def make(path: Path, clock: FakeClock) -> Callable[..., LogFile]:
    """Makes log files on one path; by default they are never turned over."""

    def make(**settings: Any) -> LogFile:
        return LogFile(path, **{"bytes_max": 0, "seconds_max": 0.0, "backups": 3, "clock": clock, **settings})

    return make


def _lines(*paths: Path) -> list[bytes]:
    return [line for path in paths for line in path.read_bytes().splitlines()]


def _line(clock: FakeClock, number: int) -> bytes:
    return encode({"at": clock.now().isoformat(), "number": number})


def test_it_is_made_for_its_owner_alone_when_there_is_something_to_write(
    path: Path, make: Callable[..., LogFile]
) -> None:
    """0600, and so are those that follow it."""
    file = make(bytes_max=10)
    assert not path.exists()
    for _ in range(3):
        file.write(b"0123456789")
    file.close()
    for each in (path, path.with_name("daemon.log.1"), path.with_name("daemon.log.lock")):
        assert oct(each.stat().st_mode & 0o777) == "0o600"


@given(st.lists(st.binary(min_size=1, max_size=30).filter(lambda b: b"\n" not in b), max_size=40), st.integers(0, 4))
def test_by_size_only_the_oldest_lines_go(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], backups: int
) -> None:
    """What is kept is the end of what was written, in order, in files that are no longer than they may be."""
    path = tmp_path_factory.mktemp("logs") / "daemon.log"
    file = LogFile(path, bytes_max=64, seconds_max=0, backups=backups, clock=FakeClock())
    for line in lines:
        file.write(line)
    file.close()
    numbered = [path.with_name(f"daemon.log.{n}") for n in range(backups, 0, -1)]
    files = [each for each in (*numbered, path) if each.exists()]
    kept = b"".join(each.read_bytes() for each in files)
    assert b"".join(line + b"\n" for line in lines).endswith(kept)
    assert all(each.stat().st_size <= 64 for each in files)
    assert not path.with_name(f"daemon.log.{backups + 1}").exists()
    whole = sum(len(line) + 1 for line in lines)
    assert len(kept) == whole or len(files) == backups + 1


def test_by_age_it_is_turned_over_however_short_it_is(
    path: Path, make: Callable[..., LogFile], clock: FakeClock
) -> None:
    """The age is that of its first line, also of one that another process wrote."""
    make(seconds_max=60.0).write(_line(clock, 1))
    clock.advance(59)
    file = make(seconds_max=60.0)
    file.write(_line(clock, 2))
    clock.advance(2)
    file.write(_line(clock, 3))
    older = path.with_name("daemon.log.1")
    assert [len(_lines(each)) for each in (older, path)] == [2, 1]


def test_one_longer_line_is_written_whole(path: Path, make: Callable[..., LogFile]) -> None:
    """An empty file is not turned over for it."""
    file = make(bytes_max=5)
    file.write(b"x" * 100)
    assert _lines(path) == [b"x" * 100]
    assert not path.with_name("daemon.log.1").exists()


@pytest.mark.parametrize("how", ["renamed", "removed", "replaced"])
def test_a_file_that_others_move_is_opened_anew(path: Path, make: Callable[..., LogFile], how: str) -> None:
    """As logrotate does it, with or without `create`; no signal is needed."""
    file = make()
    file.write(b"one")
    if how == "removed":
        path.unlink()
    else:
        path.rename(path.with_name("moved"))
    if how == "replaced":
        path.touch()
    file.write(b"two")
    file.write(b"three")
    assert _lines(path) == [b"two", b"three"]
    if how != "removed":
        assert _lines(path.with_name("moved")) == [b"one"]


def test_a_file_that_was_cut_off_is_gone_on_with(path: Path, make: Callable[..., LogFile]) -> None:
    """As by copytruncate: there is no hole before the next line."""
    file = make()
    file.write(b"one")
    os.truncate(path, 0)
    file.write(b"two")
    assert path.read_bytes() == b"two\n"


_WRITER = """
import sys
from pathlib import Path
from turnlog.clock import SystemClock
from turnlog.daemon.log_file import LogFile
file = LogFile(Path(sys.argv[1]), bytes_max=2000, seconds_max=0, backups=40, clock=SystemClock())
for number in range(400):
    file.write(f"{sys.argv[2]} {number:04} {'x' * 50}".encode())
"""


def test_several_processes_corrupt_and_lose_nothing(path: Path) -> None:
    """While each turns the file over again and again: every line is there once, whole, each writer's in order."""
    writers = [subprocess.Popen([sys.executable, "-c", _WRITER, str(path), name]) for name in "abc"]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0, 0]
    numbered = sorted(path.parent.glob("daemon.log.[0-9]*"), key=lambda p: -int(p.suffix[1:]))
    assert len(numbered) > 1, "how often depends on how long a writer is kept waiting in the middle of it"
    lines = list(filter(None, _lines(*numbered, path)))  # who sees half a line of another begins with an empty one
    assert sorted(lines) == sorted(f"{name} {n:04} {'x' * 50}".encode() for name in "abc" for n in range(400))


def test_who_cannot_turn_over_writes_on(
    path: Path, make: Callable[..., LogFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else may be at it, or the folder may not be written."""
    one, other = make(bytes_max=20), make(bytes_max=20)
    one.write(b"x" * 15)
    assert other._lock.acquire()
    one.write(b"y" * 15)
    other._lock.release()

    def refuse(*_: Any) -> None:
        raise PermissionError(errno.EACCES, "no")

    monkeypatch.setattr(Path, "replace", refuse)
    one.write(b"z" * 15)
    assert [line[:1] for line in _lines(path)] == [b"x", b"y", b"z"]


def test_who_comes_second_does_not_turn_over_again(
    path: Path, make: Callable[..., LogFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it waited for its turn somebody else had done it: the new file stays."""
    one, other = make(bytes_max=20), make(bytes_max=20)
    one.write(b"x" * 15)
    acquire = one._lock.acquire

    def late(*, blocking: bool) -> bool:
        monkeypatch.undo()
        other.write(b"y" * 15)
        return acquire(blocking=blocking)

    monkeypatch.setattr(one._lock, "acquire", late)
    one.write(b"zzzz")
    assert [line[:1] for line in _lines(path)] == [b"y", b"z"]
    assert not path.with_name("daemon.log.2").exists()


def test_a_line_that_was_cut_short_stands_alone(
    path: Path, make: Callable[..., LogFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk was full in the middle of it; the next one begins a line of its own, whoever writes it."""
    file = make()
    file.write(b"whole")
    with monkeypatch.context() as disk:
        write, calls = os.write, iter((3, None))

        def some(descriptor: int, data: bytes) -> int:
            taken = next(calls)
            if taken is None:
                raise OSError(errno.ENOSPC, "full")
            return write(descriptor, data[:taken])

        disk.setattr(log_file.os, "write", some)
        with pytest.raises(OSError, match="full"):
            file.write(b"unfinished")
    file.write(b"after")
    assert _lines(path) == [b"whole", b"unf", b"after"]
    with path.open("ab") as raw:
        raw.write(b"crash")
    make().write(b"other")
    assert _lines(path)[-2:] == [b"crash", b"other"]


def test_a_full_disk_is_an_error_and_then_it_goes_on(path: Path, make: Callable[..., LogFile]) -> None:
    """/dev/full is one that always is."""
    path.symlink_to("/dev/full")
    file = make()
    with pytest.raises(OSError, match="No space left"):
        file.write(b"lost")
    path.unlink()
    file.write(b"found")
    assert _lines(path) == [b"found"]


def test_a_folder_that_has_vanished_is_an_error_and_then_it_goes_on(tmp_path: Path) -> None:
    """It is not made again: whoever took it away may bring it back."""
    folder = tmp_path / "there"
    folder.mkdir()
    file = LogFile(folder / "daemon.log", bytes_max=0, seconds_max=0, backups=1, clock=FakeClock())
    file.write(b"one")
    folder.rename(tmp_path / "away")
    with pytest.raises(FileNotFoundError):
        file.write(b"lost")
    (tmp_path / "away").rename(folder)
    file.write(b"two")
    assert _lines(folder / "daemon.log") == [b"one", b"two"]
