"""Taking a source's streams into the log."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from hashlib import blake2b
from typing import Any, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from eventlog import (
    AppendFailed,
    ConversationNoted,
    Event,
    LineQuarantined,
    NoticeRaised,
    SourceAdvanced,
    TurnRecorded,
    TurnRef,
    TurnSkipped,
)
from projections import Index
from turnlog.errors import WrongUsage
from turnlog.prepared_turns import PreparedTurn
from turnlog.recorder import TurnRecorder
from turnlog.sources.ahead import read_ahead
from turnlog.sources.base import Chunk, Named, Source, Stream, Unreadable
from turnlog.sources.prepared import PreparedChunk, prepare_chunk
from turnlog.sources.unchanged import Unchanged

RAW_BYTES_MAX = 64 * 1024
"""What cannot be read is kept in its event up to this size, and in the blob folder beyond."""

_SYNC_BYTES = 32 * 1024 * 1024
"""So much is read between two syncs: more would make the last one long, less would make everything slow."""

Progress = Callable[[int, int], None]
"""Is told how many bytes were read, and how many turns were found in them, since it was told last."""


ChunkT = TypeVar("ChunkT")


class ImportCounts(Struct):
    """What an import did, in turns; `quarantined` are the pieces that could not be read, new or known."""

    recorded: int = 0
    revised: int = 0
    unchanged: int = 0
    quarantined: int = 0

    def add(self, other: "ImportCounts") -> None:
        """Take in the counts of another source."""
        for name in ImportCounts.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Since:
    """Leaves out what was said before a moment (None: nothing). `left_out` counts the turns.

    A turn without a time counts as said now, which is when it is recorded. So that watching does not go on behind what
    was left out, the cursor of a stream with such turns is not kept; nor are notes of conversations without others.
    """

    def __init__(self, moment: datetime | None = None) -> None:
        self.left_out = 0
        self._moment = moment

    @property
    def takes_all(self) -> bool:
        """Whether nothing can be left out."""
        return self._moment is None

    def chunks(self, chunks: Iterator[PreparedChunk]) -> Iterator[PreparedChunk]:
        """The chunks of one stream, without it."""
        if self._moment is None:
            yield from chunks
            return
        taken, left = set[str](), set[str]()
        for chunk in chunks:
            turns = tuple(turn for turn in chunk.turns if self._is_meant(turn))
            self.left_out += len(chunk.turns) - len(turns)
            taken |= {turn.header.conversation for turn in turns}
            left |= {turn.header.conversation for turn in chunk.turns if not self._is_meant(turn)}
            notes = tuple(n for n in chunk.notes if isinstance(n, NoticeRaised) or n.conversation not in left - taken)
            cursor = None if left else chunk.cursor
            yield replace(chunk, turns=turns, notes=notes, cursor=cursor)

    def _is_meant(self, turn: PreparedTurn) -> bool:
        at = turn.header.ended_at or turn.header.started_at
        return at is None or self._moment is None or at >= self._moment


def import_streams(
    recorder: TurnRecorder,
    source: Source,
    streams: Sequence[Stream],
    *,
    progress: Progress = lambda *_: None,
    since: Since | None = None,
    refuse: Callable[[WrongUsage], None] | None = None,
    settings: str | None = None,
) -> ImportCounts:
    """Record what the streams hold and the log does not; with a dry-run recorder, count what that would be.

    Stopping in between loses nothing: the next import goes on. A stream that cannot be read is told to `refuse`, and
    the others go on; without that, raises WrongUsage. With `settings`, which say all that a reading depends on besides
    the files, a stream is passed over whose files have not changed since all of it was read with the same ones. Raises
    AppendFailed if the log cannot be written.
    """
    takes_all = since is None or since.takes_all
    counts, unchanged = ImportCounts(), Unchanged(recorder, source, streams, settings if takes_all else None)
    changed = []
    for stream in streams:
        if (known := unchanged.counts(stream)) is None:
            changed.append(stream)
        else:
            counts.add(ImportCounts(unchanged=known[0], quarantined=known[1]))
            progress(stream.size_bytes, known[0])
    with (
        _synced_at_times(recorder, progress) as noted,
        read_ahead(source, changed, recorder.keep_blob, recorder.blob_folder) as reading,
    ):
        for stream, chunks in reading:
            found = ImportCounts()
            try:
                meant = since.chunks(chunks) if since else chunks
                _import_chunks(recorder, source, stream, meant, progress=noted, counts=found)
                unchanged.note(stream, found.recorded + found.revised + found.unchanged, found.quarantined)
            except WrongUsage as error:
                if refuse is None:
                    raise
                refuse(error)
            finally:
                counts.add(found)
    return counts


@contextmanager
def _synced_at_times(recorder: TurnRecorder, progress: Progress) -> Iterator[Progress]:
    """What is to be told of the progress instead: it also syncs every so many bytes. At the end all is synced."""
    unsynced_bytes = 0

    def note(size_bytes: int, turns: int) -> None:
        nonlocal unsynced_bytes
        progress(size_bytes, turns)
        unsynced_bytes += size_bytes
        if unsynced_bytes >= _SYNC_BYTES:
            recorder.sync()
            unsynced_bytes = 0

    try:
        yield note
    except BaseException:
        with suppress(AppendFailed):  # what ended the import says more
            recorder.sync()
        raise
    recorder.sync()


Hold = Callable[[TurnRecorded], bool]
"""Whether the last turn of a stream is to be left for later, because it is still being said."""


def import_stream(
    recorder: TurnRecorder,
    source: Source,
    stream: Stream,
    cursor: Any = None,
    *,
    hold: Hold = lambda _: False,
    progress: Progress = lambda *_: None,
) -> ImportCounts:
    """The same for one stream, from a cursor on; its last turn is left out if it is to be held."""
    counts = ImportCounts()
    chunks = _without_held(source.read(stream, cursor, keep=recorder.keep_blob), hold)
    with _synced_at_times(recorder, progress) as noted:
        _import_chunks(recorder, source, stream, map(prepare_chunk, chunks), progress=noted, counts=counts)
    return counts


def _without_held(chunks: Iterator[Chunk], hold: Hold) -> Iterator[Chunk]:
    for chunk, last in _with_last(chunks):
        held = last and chunk.turns and hold(chunk.turns[-1])
        yield replace(chunk, turns=chunk.turns[:-1]) if held else chunk


def _import_chunks(
    recorder: TurnRecorder,
    source: Source,
    stream: Stream,
    chunks: Iterator[PreparedChunk],
    *,
    progress: Progress,
    counts: ImportCounts,
) -> None:
    read = 0
    for chunk, last in _with_last(chunks):
        take_in(recorder, source, stream.name, chunk, counts, last=last)
        progress(max(0, chunk.offset - read), len(chunk.turns))  # a stream that was rewritten meanwhile is read anew
        read = chunk.offset


def _with_last(chunks: Iterator[ChunkT]) -> Iterator[tuple[ChunkT, bool]]:
    held: ChunkT | None = None
    for chunk in chunks:
        if held is not None:
            yield held, False
        held = chunk
    if held is not None:
        yield held, True


def take_in(
    recorder: TurnRecorder, source: Named, stream: str, chunk: PreparedChunk, counts: ImportCounts, *, last: bool
) -> None:
    """Record one chunk of a stream, what is news in it, and count that; the cursor of the `last` one in any case.

    It is left to the caller to sync. Raises BadTurn, AppendFailed.
    """

    def more(index: Index) -> list[Event]:
        notes: list[Event] = list(_quarantine(recorder, index, source.name, stream, chunk.unreadable))
        notes += _delivered_since(index, chunk.turns)
        said = [*chunk.notes, *(_memberships(index, chunk.turns) if source.global_ids else ())]
        notes += [note for note in said if index.is_news(note)]
        if chunk.cursor is not None and (notes or last) and index.cursor(source.name, stream) != chunk.cursor:
            notes.append(_advanced(source.name, stream, chunk))
        return notes

    adopt = source.global_ids
    for result in recorder.record_many(chunk.turns, more=more, adopt=adopt, keep_newest=True, sync=False):
        if not result.new:
            counts.unchanged += 1
        elif result.revision > 1:
            counts.revised += 1
        else:
            counts.recorded += 1
    counts.quarantined += len(chunk.unreadable)


def _delivered_since(index: Index, turns: Sequence[PreparedTurn]) -> list[Event]:
    """Turns that were recorded as owed and that the source says now some sink has: they need not be sent to it."""
    found: dict[str, list[TurnRef]] = {}
    for turn in turns:
        header = turn.header
        known = index.find(header.turn_id, turn.gist.digest) if header.delivered_to else None
        if known is None or known.same is None:
            continue
        ref = TurnRef(seq=known.same.seq, user=known.user, conversation=known.conversation)
        for sink in header.delivered_to:
            if index.knows_sink(sink) and not index.is_told(ref.seq, sink):
                found.setdefault(sink, []).append(ref)
    reason = "the source says that it was delivered"
    return [TurnSkipped(sink=sink, turns=tuple(refs), reason=reason) for sink, refs in found.items()]


def _memberships(index: Index, turns: Sequence[PreparedTurn]) -> list[ConversationNoted]:
    """Turns that were recorded in another conversation and are in this one too: only the index knows which they are."""
    found: dict[tuple[str, str], list[str]] = {}
    headers = [turn.header for turn in turns]
    known = index.conversations([header.turn_id for header in headers])
    for header in headers:
        if known.get(header.turn_id, header.conversation) != header.conversation:
            found.setdefault((header.source, header.conversation), []).append(header.turn_id)
    return [
        ConversationNoted(source=source, conversation=conversation, notes={"shared_turns": turn_ids})
        for (source, conversation), turn_ids in found.items()
    ]


def _advanced(source: str, stream: str, chunk: PreparedChunk) -> SourceAdvanced:
    return SourceAdvanced(source=source, stream=stream, cursor=chunk.cursor, fingerprint=chunk.fingerprint)


def _quarantine(
    recorder: TurnRecorder, index: Index, source: str, stream: str, pieces: Sequence[Unreadable]
) -> Iterator[LineQuarantined]:
    """Events for the pieces that are not in quarantine yet; the same bytes in the same stream are kept once."""
    seen: set[str] = set()
    for piece in pieces:
        digest = blake2b(piece.raw, digest_size=16).hexdigest()
        if digest in seen or index.is_quarantined(source, stream, digest):
            continue
        seen.add(digest)
        yield LineQuarantined(
            source=source, stream=stream, position=piece.position, reason=piece.reason, digest=digest,
            **_keep(recorder, piece.raw),
        )  # fmt: skip


def _keep(recorder: TurnRecorder, raw: bytes) -> dict[str, Any]:
    """The bytes as text if they are and are few, else the name of the blob that holds them."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = None
    if text is not None and len(raw) <= RAW_BYTES_MAX:
        return {"raw": text}
    return {"blob": recorder.keep_blob(raw)}
