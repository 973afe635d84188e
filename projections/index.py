"""What a writer must look up before it appends, kept in SQLite and derived from the log.

Which turns are recorded, with what content; which sinks are enrolled; how far sources were read; where a turn stands
in its conversation. Disposable: it names the last seq and checksum that it has taken in, and if the log does not have
them, or the file is damaged, it is made anew by reading the log once. Looking up and appending are one step across
processes: `Index.lock` is held for both.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from eventlog import (
    ConversationNoted,
    Encoded,
    Entry,
    EventLog,
    LineQuarantined,
    Lock,
    NoticeRaised,
    Reader,
    SinkEnrolled,
    SourceAdvanced,
    TurnHeader,
    TurnRecorded,
    TurnSkipped,
)
from eventlog.codec import decode_line, frame

VERSION = 6
"""Of the tables' shape and meaning; an index of another version is made anew."""

_encode = msgspec.json.Encoder(order="deterministic").encode
_CONVERSATIONS_AT_ONCE = 1000
_NO_TIME = datetime.fromtimestamp(0, UTC)

_TABLES = """
CREATE TABLE state (id INTEGER PRIMARY KEY CHECK (id = 1), version INTEGER, last_seq INTEGER, checksum TEXT);
CREATE TABLE conversations (
    id INTEGER PRIMARY KEY, source TEXT, user TEXT, conversation TEXT, turns INTEGER,
    UNIQUE (source, user, conversation));
CREATE TABLE turns (
    turn_id TEXT, digest BLOB, seq INTEGER, revision INTEGER, conversation INTEGER, round INTEGER, last_message TEXT,
    PRIMARY KEY (turn_id, revision)) WITHOUT ROWID;
CREATE UNIQUE INDEX turns_by_seq ON turns (seq, conversation, round);
CREATE INDEX turns_by_round ON turns (conversation, round, revision, last_message);
CREATE TABLE sinks (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE had (seq INTEGER, sink TEXT, PRIMARY KEY (seq, sink)) WITHOUT ROWID;
CREATE TABLE streams (source TEXT, stream TEXT, cursor TEXT, PRIMARY KEY (source, stream)) WITHOUT ROWID;
CREATE TABLE readings (
    source TEXT, stream TEXT, stamp TEXT, turns INTEGER, quarantined INTEGER,
    PRIMARY KEY (source, stream)) WITHOUT ROWID;
CREATE TABLE quarantined (
    source TEXT, stream TEXT, digest TEXT, PRIMARY KEY (source, stream, digest)) WITHOUT ROWID;
CREATE TABLE noted (
    source TEXT, conversation TEXT, digest BLOB, PRIMARY KEY (source, conversation, digest)) WITHOUT ROWID;
CREATE TABLE raised (source TEXT, notice TEXT, PRIMARY KEY (source, notice)) WITHOUT ROWID;
"""

_CONVERSATIONS = """
SELECT turns.turn_id, conversations.conversation
FROM json_each(?) AS wanted
JOIN turns ON turns.turn_id = wanted.value
JOIN conversations ON turns.conversation = conversations.id
ORDER BY turns.revision
"""

_PLACES = """
SELECT turns.seq, turns.round, before.turn_id, before.last_message
FROM json_each(?) AS wanted
JOIN turns ON turns.seq = wanted.value
LEFT JOIN turns AS before ON before.conversation = turns.conversation AND before.round = turns.round - 1
ORDER BY before.revision
"""


@dataclass(frozen=True)
class Revision:
    """One recording of a turn."""

    seq: int
    revision: int


@dataclass(frozen=True)
class Known:
    """A turn that is recorded: whose it is and where, its newest revision, and the one with the content asked for."""

    user: str
    conversation: str
    last: Revision
    same: Revision | None


@dataclass(frozen=True)
class Place:
    """Where a turn stands in its conversation.

    `round_index` counts turns from 0. `previous_turn` and `previous_message` name the last message of the turn
    before (see `message_names`), None for the first turn.
    """

    round_index: int
    previous_turn: str | None
    previous_message: str | None


def content_digest(turn: TurnRecorded) -> bytes:
    """What makes two recordings of a turn the same: messages, model and usage, but no times, no meta, no order of keys.

    16 bytes of a SHA-256, which processors compute; part of the index, see `VERSION`.
    """
    messages = [(message.role, message.content, message.id, message.name, message.parts) for message in turn.messages]
    return sha256(_encode([messages, turn.model, turn.usage])).digest()[:16]


def message_names(turn: TurnRecorded) -> list[str]:
    """How each message is named within its turn: by its id, or by its position (`#0`) if that is not its alone."""
    named = [message.id for message in turn.messages if message.id]
    if not named:
        return [f"#{position}" for position in range(len(turn.messages))]
    ids = Counter(named)
    return [
        message.id if message.id and ids[message.id] == 1 and not message.id.startswith("#") else f"#{position}"
        for position, message in enumerate(turn.messages)
    ]


class Gist(NamedTuple):
    """What the index keeps of a turn's content: its `content_digest`, and how its last message is named."""

    digest: bytes
    last_message: str


def gist_of(turn: TurnRecorded) -> Gist:
    """The gist of a turn. Raises TypeError, ValueError or RecursionError if it cannot be written as JSON."""
    return Gist(content_digest(turn), message_names(turn)[-1])


class Index:
    """The lookup tables of `log`; `path` None keeps them in memory, for a log that is only read.

    Not for several threads at once; hold `lock` to look up and append in one step.
    """

    def __init__(self, log: EventLog, path: Path | None) -> None:
        self.path = path
        self._log = log
        self._reader: Reader | None = None
        self.lock = Lock(path.with_suffix(".lock")) if path else None
        self._connection: sqlite3.Connection | None = None
        self._appended: dict[int, tuple[TurnHeader, Gist]] = {}  # by seq: what need not be decoded and digested again

    def appended(self, seq: int, header: TurnHeader, gist: Gist) -> None:
        """Be told of a turn that was just appended; `refresh` then takes it in faster."""
        self._appended[seq] = header, gist

    def refresh(self) -> None:
        """Take in what the log has got since the last time. `lock` must be held.

        An index that cannot be written, on a full disk for one, is no reason not to record: it is kept in memory then.
        Raises LogUnavailable if the log cannot be read, NewerFormat.
        """
        try:
            try:
                self._take_in()
            except sqlite3.DatabaseError:
                self.close()
                self._delete_files()
                self._take_in()
        except (sqlite3.Error, OSError):
            self.close()
            self.path = None
            self._take_in()
        except BaseException:
            self.close()  # what was read is rolled back: the next refresh must read it again
            raise

    def find(self, turn_id: str, digest: bytes) -> Known | None:
        """What is known of a turn; None if it was never recorded."""
        rows = self._rows(
            "SELECT seq, revision, digest, user, conversations.conversation FROM turns"
            " JOIN conversations ON turns.conversation = conversations.id WHERE turn_id = ? ORDER BY revision DESC",
            turn_id,
        )
        if not rows:
            return None
        same = next((Revision(seq, revision) for seq, revision, known, *_ in rows if known == digest), None)
        seq, revision, _, user, conversation = rows[0]
        return Known(user, conversation, Revision(seq, revision), same)

    def conversations(self, turn_ids: Sequence[str]) -> dict[str, str]:
        """In which conversations those of the turns stand that are known."""
        return dict(self._rows(_CONVERSATIONS, msgspec.json.encode(turn_ids).decode()))

    def place(self, seq: int) -> Place:
        """Where the turn recorded at `seq` stands in its conversation."""
        return self.places([seq])[seq]

    def places(self, seqs: Sequence[int]) -> dict[int, Place]:
        """The same for many turns in one question, which takes a tenth of the time."""
        rows = self._rows(_PLACES, msgspec.json.encode(seqs).decode())
        known = {seq: Place(*place) for seq, *place in rows}  # of a turn's revisions the last one is the newest
        return {seq: known.get(seq) or Place(0, None, None) for seq in seqs}

    @property
    def last_seq(self) -> int:
        """The last seq that was taken in."""
        return self._known_seq()

    def knows_sink(self, name: str) -> bool:
        """Whether a sink was ever enrolled."""
        return bool(self._rows("SELECT 1 FROM sinks WHERE name = ?", name))

    def is_told(self, seq: int, sink: str) -> bool:
        """Whether the log says of a turn, other than by delivering it, that it need not be sent to a sink."""
        return bool(self._rows("SELECT 1 FROM had WHERE seq = ? AND sink = ?", seq, sink))

    def cursor(self, source: str, stream: str) -> Any:
        """How far a stream was read; None if it never was."""
        rows = self._rows("SELECT cursor FROM streams WHERE source = ? AND stream = ?", source, stream)
        return msgspec.json.decode(rows[0][0]) if rows else None

    def read_before(self, source: str, stream: str, stamp: str) -> tuple[int, int] | None:
        """How many turns and damaged pieces a stream gave when it was read under this stamp; None if it never was."""
        query = "SELECT turns, quarantined FROM readings WHERE source = ? AND stream = ? AND stamp = ?"
        return next(iter(self._rows(query, source, stream, stamp)), None)

    def keep_reading(self, source: str, stream: str, stamp: str, turns: int, quarantined: int) -> None:
        """Keep what a stream gave, in place of what was kept of it. All of it must be in the log; `lock` must be held.

        The log does not tell this: an index that is made anew has forgotten it.
        """
        with self._open() as connection:
            row = (source, stream, stamp, turns, quarantined)
            connection.execute("INSERT OR REPLACE INTO readings VALUES (?, ?, ?, ?, ?)", row)

    def is_quarantined(self, source: str, stream: str, digest: str) -> bool:
        """Whether a piece of a stream is in quarantine already."""
        query = "SELECT 1 FROM quarantined WHERE source = ? AND stream = ? AND digest = ?"
        return bool(self._rows(query, source, stream, digest))

    def is_news(self, note: ConversationNoted | NoticeRaised) -> bool:
        """Whether this was never noted of its conversation, or the notice never raised."""
        if isinstance(note, NoticeRaised):
            return not self._rows("SELECT 1 FROM raised WHERE source = ? AND notice = ?", note.source, note.notice)
        query = "SELECT 1 FROM noted WHERE source = ? AND conversation = ? AND digest = ?"
        return not self._rows(query, note.source, note.conversation, _note_digest(note))

    def pretend(self, events: Sequence[Encoded]) -> range:
        """Take in events that were not appended, as if they were; for an index in memory, which nobody else sees."""
        first = max(self._known_seq(), 1) + 1  # an empty log's first line opens its first segment
        lines = frame(events, first, _NO_TIME).split(b"\n")
        self._take(entry for line in lines if (entry := decode_line(line)))
        return range(first, first + len(events))

    def close(self) -> None:
        """Close the file; the next `refresh` opens it again."""
        if self._connection is not None:
            self._connection.close()
        if self._reader is not None:
            self._reader.close()
        self._connection = self._reader = None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock, where there is one to hold."""
        if self.lock is None:
            yield
        else:
            try:
                with self.lock:
                    yield
            except BaseException:
                self.lock.recover()
                raise

    def _rows(self, query: str, *arguments: Any) -> list[Any]:
        return self._open().execute(query, arguments).fetchall()

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            if self.path is not None:
                self.path.touch(mode=0o600)  # SQLite gives its companion files the same permissions
            # One statement at a time is the caller's duty, whichever thread it comes from.
            self._connection = sqlite3.connect(self.path or ":memory:", check_same_thread=False)
            self._connection.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;")
        return self._connection

    def _take_in(self) -> None:
        connection = self._open()
        if self._reader is None:
            if not self._fits():
                self._make_tables()
            self._reader = self._log.reader(gt=self._known_seq())
        with connection:
            self._take(self._reader.read())

    def _take(self, entries: Iterable[Entry]) -> None:
        connection, known = self._open(), self._known_seq()
        last: Entry | None = None
        turns = _TurnRows(connection)
        for entry in entries:
            if entry.seq > known:  # another process may have taken it in already
                last = entry
                if turn := self._appended.get(entry.seq) or _read_turn(entry):
                    turns.add(entry.seq, *turn)
                elif handler := _HANDLERS.get(entry.type):
                    handler(connection, entry)
        turns.finish()
        self._appended.clear()
        if last is not None:
            connection.execute("UPDATE state SET last_seq = ?, checksum = ?", (last.seq, _checksum(last)))

    def _known_seq(self) -> int:
        return int(self._rows("SELECT last_seq FROM state")[0][0])

    def _fits(self) -> bool:
        """Whether the tables are there, of this version, and derived from this very log."""
        try:
            version, last_seq, checksum = self._rows("SELECT version, last_seq, checksum FROM state")[0]
        except (sqlite3.OperationalError, IndexError):  # no such table: a new file; no such row: not ours
            return False
        if version != VERSION:
            return False
        entry = self._log.get(last_seq) if last_seq else None
        return last_seq == 0 or (entry is not None and _checksum(entry) == checksum)

    def _make_tables(self) -> None:
        connection = self._open()
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        drops = "".join(f"DROP TABLE {name};" for (name,) in tables)
        first = f"INSERT INTO state VALUES (1, {VERSION}, 0, '');"  # noqa: S608 - a constant
        connection.executescript(f"BEGIN; {drops} {_TABLES} {first} COMMIT;")

    def _delete_files(self) -> None:
        for suffix in ("", "-wal", "-shm", "-journal"):
            if self.path is not None:
                self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)


def _note_digest(note: ConversationNoted) -> bytes:
    return blake2b(msgspec.json.encode([note.title, note.notes], order="deterministic"), digest_size=16).digest()


def _checksum(entry: Entry) -> str:
    return entry.line[8:16].decode()


def _read_turn(entry: Entry) -> tuple[TurnHeader, Gist] | None:
    event = entry.event if entry.type == "TurnRecorded" else None
    return (event.header, gist_of(event)) if isinstance(event, TurnRecorded) else None


class _TurnRows:
    """Takes turns into the tables; how many turns each conversation has is kept here until `finish`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._execute = connection.execute
        self._conversations: dict[tuple[str, str, str], list[int]] = {}  # by lane: its number, how many turns

    def add(self, seq: int, turn: TurnHeader, gist: Gist) -> None:
        """Take in the turn recorded at `seq`; its first revision is a round of its own."""
        lane = (turn.source, turn.user, turn.conversation)
        known = self._conversations.get(lane) or self._conversation(lane)
        query = "SELECT round FROM turns WHERE turn_id = ? AND +conversation = ?"  # no search of all its turns
        first = self._execute(query, (turn.turn_id, known[0])).fetchone()
        row = (turn.turn_id, gist.digest, seq, turn.revision, known[0], first[0] if first else known[1])
        self._execute("INSERT OR REPLACE INTO turns VALUES (?, ?, ?, ?, ?, ?, ?)", (*row, gist.last_message))
        if first is None:
            known[1] += 1
        for sink in turn.delivered_to:
            self._execute("INSERT OR IGNORE INTO had VALUES (?, ?)", (seq, sink))

    def finish(self) -> None:
        """Write what is kept here."""
        for conversation, turns in self._conversations.values():
            self._execute("UPDATE conversations SET turns = ? WHERE id = ?", (turns, conversation))
        self._conversations.clear()

    def _conversation(self, lane: tuple[str, str, str]) -> list[int]:
        if len(self._conversations) == _CONVERSATIONS_AT_ONCE:
            self.finish()
        query = "SELECT id, turns FROM conversations WHERE source = ? AND user = ? AND conversation = ?"
        row = self._execute(query, lane).fetchone()
        if row is None:
            new = "INSERT INTO conversations (source, user, conversation, turns) VALUES (?, ?, ?, 0)"
            row = self._execute(new, lane).lastrowid, 0
        known = self._conversations[lane] = list(row)
        return known


def _turn_skipped(connection: sqlite3.Connection, entry: Entry) -> None:
    event = entry.event
    if isinstance(event, TurnSkipped):
        rows = [(ref.seq, event.sink) for ref in event.turns]
        connection.executemany("INSERT OR IGNORE INTO had VALUES (?, ?)", rows)


def _sink_enrolled(connection: sqlite3.Connection, entry: Entry) -> None:
    event = entry.event
    if isinstance(event, SinkEnrolled):
        connection.execute("INSERT OR IGNORE INTO sinks VALUES (?)", (event.sink,))


def _source_advanced(connection: sqlite3.Connection, entry: Entry) -> None:
    event = entry.event
    if isinstance(event, SourceAdvanced):
        cursor = msgspec.json.encode(event.cursor).decode()
        connection.execute("INSERT OR REPLACE INTO streams VALUES (?, ?, ?)", (event.source, event.stream, cursor))


def _line_quarantined(connection: sqlite3.Connection, entry: Entry) -> None:
    event = entry.event
    if isinstance(event, LineQuarantined):
        row = (event.source, event.stream, event.digest)
        connection.execute("INSERT OR IGNORE INTO quarantined VALUES (?, ?, ?)", row)


def _conversation_noted(connection: sqlite3.Connection, entry: Entry) -> None:
    event = entry.event
    if isinstance(event, ConversationNoted):
        row = (event.source, event.conversation, _note_digest(event))
        connection.execute("INSERT OR IGNORE INTO noted VALUES (?, ?, ?)", row)


def _notice_raised(connection: sqlite3.Connection, entry: Entry) -> None:
    event = entry.event
    if isinstance(event, NoticeRaised):
        connection.execute("INSERT OR IGNORE INTO raised VALUES (?, ?)", (event.source, event.notice))


_HANDLERS = {
    "TurnSkipped": _turn_skipped,
    "SinkEnrolled": _sink_enrolled,
    "SourceAdvanced": _source_advanced,
    "LineQuarantined": _line_quarantined,
    "ConversationNoted": _conversation_noted,
    "NoticeRaised": _notice_raised,
}
