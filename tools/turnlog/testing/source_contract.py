# ruff: noqa: S101 - these are tests, whoever runs them
"""What every source must do, as one test class that the tests of each source subclass.

::

    class TestMySource(SourceContract):
        def make_source(self) -> Source:
            return MySource()

        def write_sample(self, folder: Path) -> list[Path]:
            path = folder / "sample.jsonl"
            path.write_text(...)
            return [path]

The sample holds at least two turns, and the same ones each time. Nothing here knows a format; where a source differs
from a file that grows by lines, it says so in `reads_files` and `cuts`.
"""

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

import msgspec
import pytest

from eventlog import TurnRecorded
from turnlog.errors import WrongUsage
from turnlog.sources.base import Chunk, Source, Stream


def read_all(source: Source, paths: Sequence[Path]) -> list[Chunk]:
    """All chunks of all streams in what the paths name, from the beginning."""
    return [chunk for stream in source.discover(paths) for chunk in source.read(stream)]


def turns_of(chunks: Iterable[Chunk]) -> list[TurnRecorded]:
    """The chunks' turns in order."""
    return [turn for chunk in chunks for turn in chunk.turns]


def ids_of(chunks: Iterable[Chunk]) -> list[str]:
    """The turn ids in order."""
    return [turn.turn_id for turn in turns_of(chunks)]


class SourceContract(ABC):
    """The tests that every source passes; see the module for how to use it."""

    reads_files: ClassVar[bool] = True
    """Whether a stream is a file that the user names; False where the user names folders."""

    @abstractmethod
    def make_source(self) -> Source:
        """A new source; those of two calls are configured alike."""

    @abstractmethod
    def write_sample(self, folder: Path) -> list[Path]:
        """Write a sample into the empty folder; returns what a user would name to have it read."""

    def cuts(self, content: bytes) -> list[int]:
        """Lengths at which a sample file that is still growing may be found; by default each end of a line."""
        return [position + 1 for position, byte in enumerate(content) if byte == ord("\n")]

    def test_name_is_an_identifier(self) -> None:
        """The name stands in events and on the command line: lower case, digits and underscores."""
        name = self.make_source().name
        assert name.isidentifier()
        assert name == name.lower()

    def test_discover_lists_streams(self, tmp_path: Path) -> None:
        """A stream has a name of its own that is valid Unicode, a path that is there, and that path's size."""
        streams = self._sample_streams(tmp_path)
        assert streams
        assert len({stream.name for stream in streams}) == len(streams)
        for stream in streams:
            assert stream.name.encode()
            assert stream.size_bytes == stream.path.stat().st_size

    def test_discover_lists_a_stream_once(self, tmp_path: Path) -> None:
        """What is named twice is listed once, and always in the same order."""
        paths = self.write_sample(tmp_path)
        source = self.make_source()
        assert source.discover([*paths, *paths]) == source.discover(paths) == source.discover(paths)

    def test_a_missing_file_is_wrong_usage(self, tmp_path: Path) -> None:
        """What is not there is refused with a sentence that names it."""
        missing = tmp_path / "nobody-wrote-this.jsonl"
        with pytest.raises(WrongUsage, match=missing.name):
            self.make_source().discover([missing])

    def test_a_folder_is_wrong_usage(self, tmp_path: Path) -> None:
        """A folder in place of a file is refused with a sentence that names it."""
        if not self.reads_files:
            pytest.skip("this source reads folders")
        folder = tmp_path / "a-folder"
        folder.mkdir()
        with pytest.raises(WrongUsage, match=folder.name):
            self.make_source().discover([folder])

    def test_a_stream_that_is_gone_is_wrong_usage(self, tmp_path: Path) -> None:
        """A stream that went away between discovering and reading is refused when it is read."""
        stream = self._sample_streams(tmp_path)[0]
        stream.path.rename(stream.path.with_name("elsewhere"))
        with pytest.raises(WrongUsage, match=stream.path.name):
            list(self.make_source().read(stream))

    def test_reading_twice_gives_the_same_turns(self, tmp_path: Path) -> None:
        """The same content gives the same turns in the same order, also to another instance; no id comes twice."""
        paths = self.write_sample(tmp_path)
        source = self.make_source()
        first = read_all(source, paths)
        assert len(ids_of(first)) >= 2
        assert len(set(ids_of(first))) == len(ids_of(first))
        assert read_all(source, paths) == first
        assert read_all(self.make_source(), paths) == first

    def test_reading_touches_nothing(self, tmp_path: Path) -> None:
        """Neither content nor times of what is read change, and nothing appears beside it."""
        paths = self.write_sample(tmp_path)
        for path in _files(tmp_path):
            os.utime(path, ns=(10**18, 10**18))
        before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in _files(tmp_path)}
        read_all(self.make_source(), paths)
        assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in _files(tmp_path)} == before

    def test_turns_can_be_recorded(self, tmp_path: Path) -> None:
        """A turn survives the log's encoding unchanged, bears the source's name, and is nobody's revision yet."""
        source = self.make_source()
        for turn in turns_of(read_all(source, self.write_sample(tmp_path))):
            assert msgspec.json.decode(msgspec.json.encode(turn), type=TurnRecorded) == turn
            assert turn.source == source.name
            assert (turn.revision, turn.supersedes) == (1, None)

    def test_chunks_can_be_recorded(self, tmp_path: Path) -> None:
        """A cursor is plain JSON, offsets rise to at most the stream's size, what is unreadable says where and why."""
        source = self.make_source()
        for stream in source.discover(self.write_sample(tmp_path)):
            chunks = list(source.read(stream))
            for chunk in chunks:
                assert json.loads(json.dumps(chunk.cursor, allow_nan=False)) == chunk.cursor
                assert chunk.fingerprint.encode()
                assert all(piece.position.encode() and piece.reason.encode() for piece in chunk.unreadable)
            offsets = [chunk.offset for chunk in chunks]
            assert offsets == sorted(offsets)
            assert all(0 <= offset <= stream.size_bytes for offset in offsets)

    def test_reading_on_from_a_cursor_misses_nothing(self, tmp_path: Path) -> None:
        """The turns up to a chunk and those read from its cursor, which went through JSON, are all the turns."""
        source = self.make_source()
        for stream in source.discover(self.write_sample(tmp_path)):
            chunks = list(source.read(stream))
            for taken, chunk in enumerate(chunks, 1):
                cursor = json.loads(json.dumps(chunk.cursor))
                rest = ids_of(source.read(stream, cursor))
                assert {*ids_of(chunks[:taken]), *rest} == set(ids_of(chunks))

    def test_growth_keeps_the_turns_that_were_there(self, tmp_path: Path) -> None:
        """Whatever is appended, the turns read before come again, with their ids, in their order."""
        paths = self.write_sample(tmp_path)
        source = self.make_source()
        for path in [stream.path for stream in source.discover(paths)]:
            content = path.read_bytes()
            cuts = self.cuts(content)
            for cut in cuts[:: max(1, len(cuts) // 20)]:
                path.write_bytes(content[:cut])
                before = ids_of(read_all(source, paths))
                with path.open("ab") as file:
                    file.write(content[cut:])
                after = ids_of(read_all(source, paths))
                assert before == [turn_id for turn_id in after if turn_id in set(before)]

    def test_an_empty_file_has_no_turns(self, tmp_path: Path) -> None:
        """A file in which nothing stands yet is read without complaint."""
        for stream in self._sample_streams(tmp_path):
            stream.path.write_bytes(b"")
            empty = Stream(name=stream.name, path=stream.path, size_bytes=0)
            chunks = list(self.make_source().read(empty))
            assert not turns_of(chunks)
            assert not any(chunk.unreadable for chunk in chunks)

    def _sample_streams(self, folder: Path) -> list[Stream]:
        return self.make_source().discover(self.write_sample(folder))


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
