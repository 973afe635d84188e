"""The sink `jsonl`: the contract, whatever a crash or the system does to the file, and stdout."""

import errno
import io
import json
import os
import stat
import tracemalloc
from collections.abc import Iterator
from contextlib import closing, contextmanager, redirect_stdout
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventlog import TurnRecorded
from turnlog.config import Config, SinkConfig
from turnlog.errors import ConfigError
from turnlog.sinks.base import Delivered, FindingSink, Outcome, OutgoingTurn, Refused, Sink, Unknown
from turnlog.sinks.jsonl import JsonlSink, StdoutSink, to_line
from turnlog.sinks.registry import open_sink
from turnlog.sinks.webhook import render
from turnlog.testing import outgoing, turns
from turnlog.testing.disks import Disk, Killed, Life, MortalFiles, RefusingFiles
from turnlog.testing.sink_contract import SinkContract, deliver, said

from .hooks import texts_of

TURNS = outgoing([said("c", f"{i} 世界") for i in range(6)])
LINES = [to_line(turn) for turn in TURNS]


def configured(folder: Path, **options: Any) -> Sink:
    return open_sink(Config(path=folder / "turnlog.toml"), SinkConfig("file", "jsonl", options=options))


def texts_in(content: bytes) -> dict[str, list[str]]:
    return texts_of([json.loads(line) for line in content.splitlines()])


class TestJsonl(SinkContract):
    @pytest.fixture(autouse=True)
    def _a_folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def make_sink(self) -> Sink:
        return configured(self.folder, path="turns.jsonl")

    def received(self, sink: Sink) -> dict[str, list[str]]:
        return texts_in((self.folder / "turns.jsonl").read_bytes())


class TestStdout(SinkContract):
    @pytest.fixture(autouse=True)
    def _a_stdout(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.out, self.monkeypatch = io.BytesIO(), monkeypatch

    def make_sink(self) -> Sink:
        self.monkeypatch.setattr("sys.stdout", io.TextIOWrapper(self.out))  # here: pytest changes it before the call
        return configured(Path(), path="-")

    def received(self, sink: Sink) -> dict[str, list[str]]:
        return texts_in(self.out.getvalue())


# Lines.


@given(turns())
def test_a_line_is_what_a_webhook_gets(turn: TurnRecorded) -> None:
    """The same object; one line without breaks, no longer than its size says."""
    (sent,) = outgoing([turn])
    line = to_line(sent)
    assert [json.loads(line)] == json.loads(render([sent]))["data"]["turns"]
    assert (line.count(b"\n"), line[-1:]) == (1, b"\n")
    assert line.isascii() or line.decode()
    assert len(line) <= JsonlSink(Path()).size(sent)


def test_a_new_file_is_its_owner_s(tmp_path: Path) -> None:
    """0600, in the configuration's folder, and its name is as durable as its content."""
    files = RefusingFiles()
    with closing(JsonlSink(tmp_path / "f", files=files)) as sink:
        assert sink.deliver(TURNS[:2]) == [Delivered({"offset": 0, "bytes": len(LINES[0] + LINES[1])})] * 2
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o600
    assert files.calls == ["open", "sync_folder", "write", "sync"]


def test_without_fsync_nothing_is_synced(tmp_path: Path) -> None:
    """Neither the file nor its folder."""
    files = RefusingFiles()
    with closing(JsonlSink(tmp_path / "f", fsync=False, files=files)) as sink:
        deliver(sink, TURNS)
        assert isinstance(sink.find(TURNS[0]), Delivered)
    assert files.calls == ["open", "write"]


# What a crash leaves.


@given(st.integers(0, len(b"".join(LINES))))
def test_a_torn_line_is_cut_and_its_turn_is_missing(length: int) -> None:
    """Wherever a write broke off: whole lines are found, the others are not, and sent again make the file whole."""
    whole = b"".join(LINES)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "f"
        path.write_bytes(whole[:length])
        with closing(JsonlSink(path, fsync=False)) as sink:
            missing = [turn for turn in TURNS if sink.find(turn) is None]
            ends = [len(b"".join(LINES[: i + 1])) for i in range(len(LINES))]
            assert missing == [turn for turn, end in zip(TURNS, ends, strict=True) if end - 1 > length]
            assert path.read_bytes().endswith(b"\n") or length < ends[0] - 1
            if missing:
                deliver(sink, missing)
        assert path.read_bytes() == whole


@pytest.mark.parametrize("left", [b"", b"\0" * 70_000, LINES[5][:40] + b"\0" * 5000, b"{", b'{"vers'])
def test_what_a_power_cut_leaves_at_the_end_is_cut(tmp_path: Path, left: bytes) -> None:
    """Blocks that were not written are NULs."""
    path = tmp_path / "f"
    path.write_bytes(b"".join(LINES[:5]) + left)
    with closing(JsonlSink(path)) as sink:
        assert sink.find(TURNS[5]) is None
        deliver(sink, TURNS[5:])
    assert path.read_bytes() == b"".join(LINES)


@pytest.mark.parametrize("theirs", [b'{"a":1}', b'{"a":', b"text\nmore", b"x" * 200_000, b"\0\x01", b'{"version":3}'])
def test_what_somebody_else_wrote_is_kept(tmp_path: Path, theirs: bytes) -> None:
    """An unended line that is not a beginning of ours is ended, and ours come behind it; it is no turn."""
    path = tmp_path / "f"
    path.write_bytes(theirs)
    with closing(JsonlSink(path)) as sink:
        assert sink.find(TURNS[0]) is None
        deliver(sink, TURNS)
        assert isinstance(sink.find(TURNS[0]), Delivered)
    assert path.read_bytes() == theirs + b"\n" + b"".join(LINES)


@pytest.mark.parametrize("power", [False, True], ids=["process", "power"])
@given(st.integers(0, 12), st.floats(0, 1), st.integers(0, 2**32))
def test_a_crash_at_any_call_doubles_and_loses_nothing(power: bool, dies_at: int, share: float, seed: int) -> None:
    """What was acknowledged is there; after asking for what was in doubt and sending what is missing, all is, once."""
    with TemporaryDirectory() as folder:
        path, disk = Path(folder) / "f", Disk(Random(seed), block_bytes=512)
        acknowledged: list[OutgoingTurn] = []
        sink = JsonlSink(path, files=MortalFiles(disk, Life(dies_at, share)))
        try:
            for i in range(0, 6, 2):
                deliver(sink, TURNS[i : i + 2])
                acknowledged += TURNS[i : i + 2]
        except Killed:
            pass
        sink._file._unfinished = None  # the dead take nothing back; the system closes what they had open
        sink.close()
        if power:
            disk.cut_power()
        with closing(JsonlSink(path, files=MortalFiles(disk))) as sink:
            assert all(isinstance(sink.find(turn), Delivered) for turn in acknowledged)
            missing = [turn for turn in TURNS if sink.find(turn) is None]
            if missing:
                deliver(sink, missing)
            assert all(isinstance(sink.find(turn), Delivered) for turn in TURNS)
        disk.cut_power(share=0.0)  # what was found is as durable as what was sent
        lines = path.read_bytes().splitlines(keepends=True)
        assert sorted(line for line in lines if b"\0" not in line) == LINES
        assert power or len(lines) == len(LINES)


# What it is asked.


def test_a_turn_is_known_by_what_it_is(tmp_path: Path) -> None:
    """Another delivery, another revision, and a turn of another log that has its seq are not there."""
    turn = TURNS[2]
    others = [
        msgspec.structs.replace(turn, delivery=2),
        msgspec.structs.replace(turn, event=msgspec.structs.replace(turn.event, revision=2)),
        msgspec.structs.replace(turn, event=msgspec.structs.replace(turn.event, turn_id="another")),
    ]
    with closing(JsonlSink(tmp_path / "f")) as sink:
        deliver(sink, [turn])
        assert isinstance(sink.find(msgspec.structs.replace(turn, attempt=7, tries=2)), Delivered)
        assert [sink.find(other) for other in others] == [None] * 3


def test_asking_takes_little_memory_however_long_the_file_is(tmp_path: Path) -> None:
    """Eight bytes a line, and one line at a time; a line of somebody else that never ends is passed over in pieces."""
    path = tmp_path / "f"
    line = to_line(outgoing([said("c", "x" * 2000)])[0])
    path.write_bytes(line * 5000 + b"x" * 10_000_000 + b"\n")
    with closing(JsonlSink(path, fsync=False)) as sink:
        tracemalloc.start()
        assert sink.find(TURNS[0]) is None
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 1_000_000


def test_nothing_is_said_about_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """A folder that is not mounted does not mean that the turn is missing."""
    with closing(JsonlSink(tmp_path / "none" / "f")) as sink:
        told = sink.find(TURNS[0])
    assert told == Unknown(f"{tmp_path}/none/f: No such file or directory")


# What the system refuses.


def refused(outcomes: Any) -> Refused:
    (outcome,) = set(outcomes)
    assert isinstance(outcome, Refused)
    return outcome


@pytest.mark.parametrize("chunk", [None, 7])
@given(room=st.integers(0, len(b"".join(LINES)) - 1))
def test_a_full_disk_gets_no_part_of_a_batch(chunk: int | None, room: int) -> None:
    """The file is cut back to where the batch begins, the sink is to blame, and goes on when there is room."""
    with TemporaryDirectory() as folder:
        path, files = Path(folder) / "f", RefusingFiles()
        with closing(JsonlSink(path, files=files)) as sink:
            deliver(sink, TURNS[:1])
            files.room, files.chunk = room, chunk
            outcome = refused(sink.deliver(TURNS))
            assert (outcome.kind, outcome.error) == ("unavailable", f"{path}: No space left on device")
            assert path.read_bytes() == LINES[0]
            files.room = None
            deliver(sink, TURNS[1:])
        assert path.read_bytes() == b"".join(LINES)


@pytest.mark.parametrize("call", ["open", "write", "sync", "sync_folder"])
@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS, errno.EACCES, errno.EDQUOT, errno.EFBIG, errno.EMFILE])
def test_whatever_the_system_refuses_blames_no_turn(tmp_path: Path, call: str, number: int) -> None:
    """`unavailable`, with the file and the reason; nothing of the batch is left, and the next try goes through."""
    path, files = tmp_path / "f", RefusingFiles()
    with closing(JsonlSink(path, files=files)) as sink:
        files.refuse[call] = number
        outcome = refused(sink.deliver(TURNS))
        assert (outcome.kind, outcome.error) == ("unavailable", f"{path}: {os.strerror(number)}")
        assert not path.exists() or path.read_bytes() == b""
        files.refuse.clear()
        assert sink.check() is None
        deliver(sink, TURNS)
    assert path.read_bytes() == b"".join(LINES)


def test_a_batch_that_cannot_be_taken_back_is_in_doubt(tmp_path: Path) -> None:
    """Nothing else is done before it is cut off; then the turns are missing and are sent again."""
    path, files = tmp_path / "f", RefusingFiles()
    with closing(JsonlSink(path, files=files)) as sink:
        files.refuse |= {"sync": errno.EIO, "cut": errno.EIO}
        assert refused(sink.deliver(TURNS[:3])).kind == "in_doubt"
        assert isinstance(sink.find(TURNS[0]), Unknown)
        assert refused([sink.check()]).kind == "unavailable"
        assert refused(sink.deliver(TURNS[3:])).kind == "unavailable"
        files.refuse.clear()
        assert sink.find(TURNS[0]) is None
        deliver(sink, TURNS)
    assert path.read_bytes() == b"".join(LINES)


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    """A folder that is not there, a folder instead of a file, a pipe: the sink is to blame."""
    os.mkfifo(tmp_path / "pipe")
    for path, reason in (("none/f", "No such file"), ("", "Is a directory"), ("pipe", "no regular file")):
        with closing(JsonlSink(tmp_path / path)) as sink:
            for outcome in (refused([sink.check()]), refused(sink.deliver(TURNS))):
                assert outcome.kind == "unavailable"
                assert reason in outcome.error


def test_a_full_disk_is_seen_by_the_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a turn is sent again."""
    with closing(JsonlSink(tmp_path / "f")) as sink:
        assert sink.check() is None
        full = os.statvfs_result([4096, 4096, 1000, 100, 0, 10, 10, 10, 0, 255])
        monkeypatch.setattr(os, "fstatvfs", lambda _: full)
        assert refused([sink.check()]).error == f"{tmp_path}/f: there is no space left"


# Who else is at the file.


def test_a_file_has_one_writer(tmp_path: Path) -> None:
    """A second sink that names it waits for the first one's end."""
    with closing(JsonlSink(tmp_path / "f")) as first, closing(JsonlSink(tmp_path / "f")) as second:
        deliver(first, TURNS[:1])
        assert refused(second.deliver(TURNS[1:])) == Refused(
            "unavailable", f"{tmp_path}/f: another sink or process writes to it"
        )
        first.close()
        deliver(second, TURNS[1:])
    assert (tmp_path / "f").read_bytes() == b"".join(LINES)


def test_a_file_that_was_renamed_is_begun_anew(tmp_path: Path) -> None:
    """As whoever rotates files does it, also while the sink is asked; the old one is not touched any more."""
    path = tmp_path / "f"
    with closing(JsonlSink(path)) as sink:
        deliver(sink, TURNS[:2])
        assert isinstance(sink.find(TURNS[0]), Delivered)
        path.rename(tmp_path / "f.1")
        assert sink.find(TURNS[0]) is None
        deliver(sink, TURNS[2:4])
        path.unlink()
        deliver(sink, TURNS[4:])
    assert (tmp_path / "f.1").read_bytes() == b"".join(LINES[:2])
    assert path.read_bytes() == b"".join(LINES[4:])


def test_a_file_that_was_emptied_in_place_goes_on(tmp_path: Path) -> None:
    """The other way to rotate: lines begin where the file ends now, without a hole before them."""
    path = tmp_path / "f"
    with closing(JsonlSink(path)) as sink:
        deliver(sink, TURNS[:2])
        os.truncate(path, 0)
        deliver(sink, TURNS[2:])
    assert path.read_bytes() == b"".join(LINES[2:])


# Stdout.


@contextmanager
def pipe_as_stdout() -> Iterator[io.FileIO]:
    """A pipe as stdout; its end to read from."""
    ours, theirs = os.pipe()
    with io.FileIO(ours) as end, os.fdopen(theirs, "w", encoding="ascii") as stdout, redirect_stdout(stdout):
        yield end


def test_stdout_gets_each_line_at_once() -> None:
    """Whatever encoding it has: a line is UTF-8. It cannot be asked."""
    sink = StdoutSink()
    with pipe_as_stdout() as pipe:
        assert sink.check() is None
        assert sink.deliver(TURNS[:2]) == [Delivered()] * 2
        assert pipe.read(65536) == LINES[0] + LINES[1]
    assert not isinstance(sink, FindingSink)


def test_a_reader_that_has_gone_is_an_outage() -> None:
    """A closed pipe blames no turn, and the check knows of it without writing."""
    sink = StdoutSink()
    with pipe_as_stdout() as pipe:
        pipe.close()
        assert refused([sink.check()]).error == "stdout: nobody reads it any more"
        assert refused(sink.deliver(TURNS)) == Refused("unavailable", "stdout: Broken pipe")


def test_what_was_written_before_a_reader_went_is_delivered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line has an outcome of its own: those that went through do not come again."""

    class Closing(io.RawIOBase):
        taken = 0

        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            if self.taken == 2:
                raise BrokenPipeError(errno.EPIPE, "Broken pipe")
            self.taken += 1
            return len(data)

    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BufferedWriter(Closing())))
    outcomes: list[Outcome] = list(StdoutSink().deliver(TURNS[:4]))
    assert outcomes == [Delivered()] * 2 + [Refused("unavailable", "stdout: Broken pipe")] * 2


@pytest.mark.parametrize("stdout", [None, io.StringIO()])
def test_no_stdout_at_all_is_an_outage(monkeypatch: pytest.MonkeyPatch, stdout: Any) -> None:
    """Nor is one that takes no bytes."""
    monkeypatch.setattr("sys.stdout", stdout)
    assert refused(StdoutSink().deliver(TURNS)).kind == "unavailable"


# The configuration.


def test_its_options_are_checked(tmp_path: Path) -> None:
    """Making it touches no file; a path is relative to the configuration's folder; what is wrong is told."""
    with closing(configured(tmp_path, path="a/../f", fsync=False)) as sink:
        assert not list(tmp_path.iterdir())
        assert not sink.remote
        (tmp_path / "a").mkdir()
        deliver(sink, TURNS)
    assert (tmp_path / "f").read_bytes() == b"".join(LINES)
    for wrong, sentence in (
        ({}, "missing key `path`"),
        ({"path": ""}, "must name a file"),
        ({"path": "a\0b"}, "must name a file"),
        ({"path": "f", "fsync": "yes"}, "fsync"),
        ({"path": "f", "fsnyc": True}, "did you mean 'fsync'"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            configured(tmp_path, **wrong)
