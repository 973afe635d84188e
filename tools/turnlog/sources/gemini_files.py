"""What the sources of Google's formats do with files: find theirs in folders, look at how one begins, fill chunks."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from eventlog import ConversationNoted, TurnRecorded
from turnlog.errors import WrongUsage
from turnlog.sources.base import CHUNK_BYTES, CHUNK_TURNS_MAX, Chunk, Stream, Unreadable
from turnlog.sources.files import open_regular, path_text

HEAD_BYTES = 64 * 1024
"""How much of a file is looked at to tell what it is."""


def head_of(path: Path, size_bytes: int = HEAD_BYTES) -> bytes:
    """How the regular file begins; empty if it cannot be read."""
    try:
        with open_regular(path) as file:
            return file.read(size_bytes)
    except (WrongUsage, OSError):
        return b""


def stream_of(path: Path) -> Stream:
    """A file as a stream, named by its absolute path. Raises WrongUsage."""
    path = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() follows links; the user named the link
    with open_regular(path) as file:
        size_bytes = os.fstat(file.fileno()).st_size
    return Stream(name=path_text(path), path=path, size_bytes=size_bytes)


def find_streams(
    paths: Sequence[Path], recognises: Callable[[Path], bool], may_be: Callable[[Path, bytes], bool], what: str
) -> list[Stream]:
    """The named files, and those in named folders that are recognised, in order, each once.

    Links in folders are not followed. Raises WrongUsage for a folder without any, for a file that cannot be read, and
    for one that `may_be` refuses by its path and beginning; `what` names in the sentence what is looked for.
    """
    streams: dict[str, Stream] = {}
    for named in paths:
        if named.is_dir():
            found = [stream_of(path) for path in _files_in(named) if recognises(path)]
            if not found:
                raise WrongUsage(f"{path_text(named)} is a folder without {what}; name one that holds some")
        else:
            found = [stream_of(named)]
            if found[0].size_bytes and not may_be(named, head_of(named)):
                raise WrongUsage(f"{path_text(named)} holds no {what}; name a file or a folder that does")
        for stream in found:
            streams.setdefault(stream.name, stream)
    return list(streams.values())


def _files_in(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):  # which does not follow links
        folders.sort()
        for name in sorted(names):
            path = Path(parent, name)
            if not path.is_symlink() and path.is_file():
                yield path


class Filling:
    """The chunk that is being filled: turns and what could not be read, up to so many and so many bytes."""

    def __init__(self) -> None:
        self.turns: list[TurnRecorded] = []
        self.unreadable: list[Unreadable] = []
        self._bytes = 0

    def add(self, item: TurnRecorded | Unreadable, size_bytes: int) -> bool:
        """Put in a turn or a piece that took so many bytes; whether the chunk is full now."""
        if isinstance(item, TurnRecorded):
            self.turns.append(item)
        else:
            self.unreadable.append(item)
        self._bytes += size_bytes
        return len(self.turns) + len(self.unreadable) >= CHUNK_TURNS_MAX or self._bytes >= CHUNK_BYTES

    def end(self, cursor: object, fingerprint: str, offset: int, notes: Iterable[ConversationNoted] = ()) -> Chunk:
        """The chunk; what is put in from now on is for the next one."""
        chunk = Chunk(tuple(self.turns), tuple(self.unreadable), cursor, fingerprint, offset, tuple(notes))
        self.turns, self.unreadable, self._bytes = [], [], 0
        return chunk
