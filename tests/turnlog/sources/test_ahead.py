"""Reading streams in processes of their own: the same chunks in the same order, and nothing left behind."""

import errno
import io
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from turnlog.errors import WrongUsage
from turnlog.recorder import TurnRecorder
from turnlog.sources import ahead
from turnlog.sources.base import Chunk, Stream, keep_nothing
from turnlog.sources.claude_code import ClaudeCode
from turnlog.sources.importing import ImportCounts, import_streams
from turnlog.sources.prepared import PreparedChunk, prepare_chunk

PROMPT = '{"type":"user","uuid":"%032d","sessionId":"s%d","message":{"role":"user","content":"%s"}}\n'


@pytest.fixture(autouse=True)
def _eager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "BYTES_MIN", 0)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)


@pytest.fixture
def streams(tmp_path: Path) -> list[Stream]:
    for session in range(7):
        lines = [PROMPT % (session * 10_000 + turn, session, f"say {turn}") for turn in range(600 * (session % 3) + 1)]
        (tmp_path / f"{session}.jsonl").write_text("".join(lines), encoding="utf-8")
    return ClaudeCode().discover([tmp_path])


def chunks_of(streams: list[Stream], source: ClaudeCode | None = None) -> list[tuple[str, list[PreparedChunk]]]:
    with ahead.read_ahead(source or ClaudeCode(), streams, keep_nothing, None) as reading:
        return [(stream.name, list(chunks)) for stream, chunks in reading]


def started(monkeypatch: pytest.MonkeyPatch) -> "list[subprocess.Popen[bytes]]":
    """The processes that are started from here on."""
    found: list[subprocess.Popen[bytes]] = []
    start = subprocess.Popen

    def remember(*arguments: object, **options: object) -> "subprocess.Popen[bytes]":
        found.append(start(*arguments, **options))  # type: ignore[call-overload]
        return found[-1]

    monkeypatch.setattr(ahead.subprocess, "Popen", remember)
    return found


def test_workers_give_what_reading_here_gives(streams: list[Stream], monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams come in their order, each with all its chunks, equal to those that this process reads."""
    processes = started(monkeypatch)
    expected = [(stream.name, [*map(prepare_chunk, ClaudeCode().read(stream))]) for stream in streams]
    assert chunks_of(streams) == expected
    assert len(processes) == 3
    assert all(process.returncode == 0 for process in processes)


def test_one_core_reads_everything_here(streams: list[Stream], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing can be gained no process is started."""
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    processes = started(monkeypatch)
    assert [len(chunks) for _, chunks in chunks_of(streams)] == [len(list(ClaudeCode().read(s))) for s in streams]
    assert processes == []


def test_an_import_with_workers_records_the_same(tmp_path: Path, streams: list[Stream]) -> None:
    """All turns are recorded once, and another import finds them unchanged."""
    turns = sum(len(chunk.turns) for stream in streams for chunk in ClaudeCode().read(stream))
    with TurnRecorder(tmp_path / "log") as recorder:
        assert import_streams(recorder, ClaudeCode(), streams) == ImportCounts(recorded=turns)
        assert import_streams(recorder, ClaudeCode(), streams) == ImportCounts(unchanged=turns)


def test_what_a_source_raises_is_raised_here(streams: list[Stream]) -> None:
    """A file that is gone is told with the same error and sentence."""
    streams[3].path.unlink()
    with pytest.raises(WrongUsage, match=r"3\.jsonl|cannot be read"):
        chunks_of(streams)


@pytest.mark.parametrize(("ahead_bytes", "memory_bytes"), [(1, 1), (1, 1 << 20), (1 << 20, 1)])
def test_what_waits_may_lie_in_files(
    streams: list[Stream], monkeypatch: pytest.MonkeyPatch, ahead_bytes: int, memory_bytes: int
) -> None:
    """However little may wait, and however little of that in memory, all of it comes in order."""
    expected = [(stream.name, [*map(prepare_chunk, ClaudeCode().read(stream))]) for stream in streams]
    monkeypatch.setattr(ahead, "_BYTES_AHEAD", ahead_bytes)
    monkeypatch.setattr(ahead, "_MEMORY_BYTES", memory_bytes)
    assert chunks_of(streams) == expected


def test_a_stream_that_is_given_up_holds_nobody_up(streams: list[Stream], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever takes only the first chunk of each stream gets to the last one."""
    monkeypatch.setattr(ahead, "_BYTES_AHEAD", 1)
    with ahead.read_ahead(ClaudeCode(), streams, keep_nothing, None) as reading:
        assert [(stream.name, next(chunks).offset > 0) for stream, chunks in reading] == [
            (s.name, True) for s in streams
        ]


class Small(io.FileIO):
    """A file on a disk with little room: a write gives as much as fits, and the next one fails."""

    room_bytes = 0

    def write(self, data: Any, /) -> int:
        fitting = memoryview(data)[: max(0, self.room_bytes - self.tell())]
        if not fitting:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(fitting)


@pytest.mark.parametrize("room_bytes", [0, 1, 10_000, 150_000])
def test_a_full_disk_costs_only_the_reading_ahead(
    tmp_path: Path, streams: list[Stream], monkeypatch: pytest.MonkeyPatch, room_bytes: int
) -> None:
    """What cannot wait is read here; what was taken before that comes twice, and is recorded once."""
    expected = [(stream.name, [*map(prepare_chunk, ClaudeCode().read(stream))]) for stream in streams]
    numbers = count()
    monkeypatch.setattr(Small, "room_bytes", room_bytes)
    monkeypatch.setattr(ahead, "_MEMORY_BYTES", 1)
    monkeypatch.setattr(
        tempfile,
        "TemporaryFile",
        lambda *_, **__: io.BufferedRandom(Small(tmp_path / f"{next(numbers)}.waiting", "w+")),
    )
    for (name, chunks), (expected_name, expected_chunks) in zip(chunks_of(streams), expected, strict=True):
        taken = len(chunks) - len(expected_chunks)
        assert (name, chunks[taken:]) == (expected_name, expected_chunks)
        assert chunks[:taken] == expected_chunks[:taken]


class Mortal(ClaudeCode):
    """Kills the process that reads, unless it is this one."""

    def __init__(self) -> None:
        super().__init__()
        self.home = os.getpid()

    def read(self, stream: Stream, cursor: object = None, *, keep: object = keep_nothing) -> Iterator[Chunk]:
        if os.getpid() != self.home:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read(stream, cursor)


def test_a_worker_that_is_lost_is_done_without(streams: list[Stream]) -> None:
    """What it was to read is read here."""
    expected = [(stream.name, [*map(prepare_chunk, ClaudeCode().read(stream))]) for stream in streams]
    assert chunks_of(streams, Mortal()) == expected


def test_who_stops_early_leaves_no_process(streams: list[Stream], monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt in the middle ends the workers, whatever they are at."""
    processes = started(monkeypatch)
    with (
        pytest.raises(KeyboardInterrupt),
        ahead.read_ahead(ClaudeCode(), streams, keep_nothing, None) as reading,
    ):
        next(next(reading)[1])
        raise KeyboardInterrupt
    assert processes
    assert all(process.returncode is not None for process in processes)
