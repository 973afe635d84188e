"""What the exports of chat programs have in common, from the files to the chunks.

An export is a zip file (several, or zips in a zip, where it is large), a folder into which one was unpacked, or one
file of it. Each file that the user names, or that a named folder holds and whose structure is right, is a stream; in a
zip each entry whose structure is right is read, whatever its name. An export is a snapshot: every reading is of all of
it, and the ids of the messages tell what is known.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence, Set
from contextlib import closing, suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any, ClassVar, Self

import msgspec

from eventlog import ConversationNoted, TurnRecorded
from turnlog.config import ImportLimits
from turnlog.errors import WrongUsage
from turnlog.sources.archives import Archive, Member, Readable, is_archive
from turnlog.sources.base import (
    CHUNK_BYTES,
    CHUNK_TURNS_MAX,
    Chunk,
    Keep,
    SourceOptions,
    Stream,
    Unreadable,
    keep_nothing,
)
from turnlog.sources.documents import HEAD_BYTES, Document, Element, keys_at_head
from turnlog.sources.export_conversations import Taking
from turnlog.sources.files import open_regular, path_text, refusal
from turnlog.sources.objects import CannotRead
from turnlog.text import clean, one_line

_PEEK_BYTES = 64


class ExportSource(ABC):
    """Reads exports of one program. `limits` say what their zips may be. Raises WrongUsage for a user that is empty."""

    name: ClassVar[str]
    global_ids: ClassVar[bool] = True
    program: ClassVar[str]
    """As people call it."""

    def __init__(self, *, user: str, limits: ImportLimits = ImportLimits()) -> None:  # noqa: B008 - frozen
        if not user:
            raise WrongUsage("the user is empty; give it a name or leave it out")
        self._user: str = clean(user)[0]
        self._limits = limits
        self._places: list[Path] = []

    @classmethod
    def from_options(cls, options: SourceOptions) -> Self:
        """See `Source.from_options`; the times in these exports have zones."""
        return cls(user=options.user, limits=options.limits)

    @classmethod
    @abstractmethod
    def is_own(cls, keys: Set[str]) -> bool:
        """Whether an object with these names is one that this program exports."""

    @abstractmethod
    def taking(self, stream: Stream, keep: Keep) -> Taking:
        """What takes the objects of a stream."""

    def recognises(self, path: Path) -> bool:
        """Whether a file, or one in a zip, begins with an object of this program's."""
        try:
            with closing(_Export(path, self._limits)) as export:
                for member in export.members:
                    with suppress(CannotRead):
                        if self.holds(member):
                            return True
        except (WrongUsage, OSError):
            pass
        return False

    def discover(self, paths: Sequence[Path]) -> list[Stream]:
        """The files named and those in the folders named, in order, each once.

        Raises WrongUsage for what cannot be read, and for a folder or zips with nothing of this program's.
        """
        streams: dict[str, Stream] = {}
        named = [Path(os.path.abspath(path)) for path in paths]  # noqa: PTH100 - resolve() follows links
        zips = []
        for path in named:
            files = self._search(path) if path.is_dir() else [path]
            for file in files:
                with open_regular(file) as opened:
                    size_bytes = os.fstat(opened.fileno()).st_size
                    zips.extend([file] if is_archive(opened) else [])
                streams.setdefault(path_text(file), Stream(name=path_text(file), path=file, size_bytes=size_bytes))
        for path in zips:
            Archive(path, self._limits).close()
        if zips and len(zips) == len(streams) and not any(map(self.recognises, zips)):
            reason = self._hint(zips[0])
            raise WrongUsage(f"{path_text(zips[0])} holds no conversations of {self.program}; {reason}")
        self._places = named
        return list(streams.values())

    def read(self, stream: Stream, cursor: Any = None, *, keep: Keep = keep_nothing) -> Iterator[Chunk]:
        """Everything, whatever the cursor: an export has no beginning that stays. An empty file yields no chunk.

        A chunk's cursor is `{"bytes", "objects"}`, of the documents as they are unpacked, its fingerprint a digest of
        so many bytes. Raises WrongUsage if the file cannot be read.
        """
        del cursor
        try:
            with closing(_Export(stream.path, self._limits)) as export, closing(self.taking(stream, keep)) as taking:
                yield from _Reading(self, export, stream, taking).chunks()
        except OSError as error:
            raise refusal(stream.path, error) from error

    def _search(self, folder: Path) -> list[Path]:
        found = [
            path
            for path in sorted(folder.rglob("*"))
            if not path.is_symlink() and path.is_file() and self.recognises(path)
        ]
        if not found:
            raise WrongUsage(f"{path_text(folder)} holds no export of {self.program}; name the folder, or its zip file")
        return found

    def _hint(self, path: Path) -> str:
        """Why a zip may hold nothing."""
        with closing(_Export(path, self._limits)) as export:
            for member in export.members:
                try:
                    self.holds(member)
                except CannotRead as error:
                    return one_line(f"{member.name} in it cannot be read: {error}")
        return "name its export"

    @classmethod
    def holds(cls, member: Member) -> bool:
        """Whether the first objects of a file are of this program. Raises CannotRead if nothing of it can be read."""
        head = member.open().read(_PEEK_BYTES)
        if not head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"[", b"{")):
            return False
        return any(cls.is_own(keys) for keys in keys_at_head(member.open().read(HEAD_BYTES)))


class _Export:
    """A file that is an export or a part of it: itself, or the files in it if it is a zip."""

    def __init__(self, path: Path, limits: ImportLimits) -> None:
        file = open_regular(path)
        size_bytes = os.fstat(file.fileno()).st_size
        try:
            is_zip = is_archive(file)
        except OSError as error:
            file.close()
            raise refusal(path, error) from error
        if is_zip:
            file.close()
            archive = Archive(path, limits)
            self.members, self.problems, self.close = archive.members, archive.problems, archive.close
            return

        def rewound() -> Readable:
            file.seek(0)
            return file

        self.members, self.problems, self.close = [Member("", size_bytes, size_bytes, rewound)], [], file.close


class _Reading:
    """One way through an export, and the chunk that it is filling."""

    def __init__(self, source: ExportSource, export: _Export, stream: Stream, taking: Taking) -> None:
        self._source = source
        self._export = export
        self._taking = taking
        self._size_bytes = stream.size_bytes
        self._digest = blake2b(digest_size=16)
        self._turns: list[TurnRecorded] = []
        self._unreadable: list[Unreadable] = []
        self._notes: list[ConversationNoted] = []
        self._bytes = self._objects = self._chunk_start = self._packed = 0

    def chunks(self) -> Iterator[Chunk]:
        """Everything to the end."""
        for name, reason in self._export.problems:
            self._unreadable.append(Unreadable(position=name, reason=reason, raw=name.encode()))
        for member in self._export.members:
            try:
                if not member.name or self._source.holds(member):
                    yield from self._document(member)
            except CannotRead as error:
                if member.name.lower().endswith(".json"):
                    self._unreadable.append(Unreadable(member.name, str(error), member.name.encode()))
        if self._turns or self._notes or self._unreadable or self._bytes > self._chunk_start:
            yield self._end_chunk(self._packed)

    def _document(self, member: Member) -> Iterator[Chunk]:
        document, before = Document(member.open(), self._source.is_own, self._digest), self._bytes
        for element in document.elements():
            self._objects += 1
            self._bytes = before + document.bytes_read
            share = min(1.0, document.bytes_read / max(1, member.size_bytes))
            packed = self._packed + int(member.packed_bytes * share)
            for turn in self._take(member.name, element):
                self._turns.append(turn)
                if len(self._turns) >= CHUNK_TURNS_MAX:
                    yield self._end_chunk(packed)
            if self._bytes - self._chunk_start >= CHUNK_BYTES:
                yield self._end_chunk(packed)
        self._bytes = before + document.bytes_read
        self._packed += member.packed_bytes

    def _take(self, name: str, element: Element) -> Iterator[TurnRecorded]:
        reason = element.damage
        raw = element.raw
        if element.record:
            meta = {"replaced_surrogates": element.replaced} if element.replaced else {}
            try:
                taken = self._taking.take(element.record, meta)
                self._notes.extend(taken.notes)
                yield from taken.turns
            except CannotRead as error:
                reason, raw = str(error), msgspec.json.encode(element.record)
        if reason:
            position = f"{name}, object {element.number}" if name else f"object {element.number}"
            self._unreadable.append(Unreadable(position=position, reason=reason, raw=raw))

    def _end_chunk(self, packed: int) -> Chunk:
        chunk = Chunk(
            turns=tuple(self._turns),
            unreadable=tuple(self._unreadable),
            notes=tuple(self._notes),
            cursor={"bytes": self._bytes, "objects": self._objects},
            fingerprint=self._digest.hexdigest(),
            offset=min(packed, self._size_bytes),
        )
        self._turns, self._unreadable, self._notes, self._chunk_start = [], [], [], self._bytes
        return chunk
