"""The receiver's store: conversations and messages in one SQLite file, a whole batch or nothing of it.

Two tables, `conversations` and `messages`, with the columns of the JSON they came as. `metadata` and `content` hold
JSON text as it was sent; uuids are in their canonical form; `received_at` says when a row last came in (UTC). The file
is made with mode 0600, since it holds what people said; SQLite gives the files beside it the same mode.
"""

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta, Raw, Struct

from turnlog.errors import WrongUsage

SCHEMA_VERSION = 1
"""Kept in the file as `user_version`, so that a database of something else is never written to."""

BUSY_SECONDS = 3.0
"""How long to wait for another process that writes to the same file: less than a server may take to stop."""

_SCHEMA = (
    """
    CREATE TABLE conversations (
        uuid TEXT PRIMARY KEY,
        source_type TEXT NOT NULL,
        title TEXT,
        metadata TEXT,
        created_at TEXT,
        updated_at TEXT,
        received_at TEXT NOT NULL
    )
    """,
    """
    CREATE TABLE messages (
        uuid TEXT PRIMARY KEY,
        conversation_uuid TEXT NOT NULL REFERENCES conversations (uuid),
        parent_uuid TEXT,
        round_index INTEGER,
        role TEXT NOT NULL,
        content_type TEXT,
        content TEXT,
        content_text TEXT,
        created_at TEXT,
        received_at TEXT NOT NULL
    )
    """,
    "CREATE INDEX messages_by_conversation ON messages (conversation_uuid, round_index)",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)

# What a later batch leaves null is not forgotten: an append sends the conversation again with little but its uuid.
_UPSERT_CONVERSATION = """
    INSERT INTO conversations (uuid, source_type, title, metadata, created_at, updated_at, received_at)
    VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (uuid) DO UPDATE SET
        source_type = excluded.source_type,
        title = coalesce(excluded.title, title),
        metadata = coalesce(excluded.metadata, metadata),
        created_at = excluded.created_at,
        updated_at = excluded.updated_at,
        received_at = excluded.received_at
"""

# A message is replaced as a whole: it was edited, and what the sender left out is gone there too.
_UPSERT_MESSAGE = """
    INSERT INTO messages (uuid, conversation_uuid, parent_uuid, round_index, role, content_type, content,
                          content_text, created_at, received_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (uuid) DO UPDATE SET
        parent_uuid = excluded.parent_uuid,
        round_index = excluded.round_index,
        role = excluded.role,
        content_type = excluded.content_type,
        content = excluded.content,
        content_text = excluded.content_text,
        created_at = excluded.created_at,
        received_at = excluded.received_at
"""

Name = Annotated[str, Meta(min_length=1)]
Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]  # what an SQLite integer can hold

_NULL = Raw(b"null")


class BatchError(WrongUsage, ValueError):
    """A batch that contradicts itself or what is stored already; nothing of it was stored."""


class BatchMessage(Struct, frozen=True, kw_only=True):
    """One message as it is sent. `created_at` is ISO 8601 text; without an offset it counts as UTC."""

    uuid: UUID
    role: Name
    parent_uuid: UUID | None = None
    round_index: Int64 | None = None
    content_type: str | None = None
    content: Raw = _NULL
    content_text: str | None = None
    created_at: str | None = None

    def __post_init__(self) -> None:
        """Raise ValueError for a time that is none."""
        _check_time("created_at", self.created_at)


class BatchConversation(Struct, frozen=True, kw_only=True):
    """One conversation, or what is new in it, as it is sent. Times as in BatchMessage."""

    uuid: UUID
    messages: tuple[BatchMessage, ...]
    title: str | None = None
    metadata: Raw = _NULL
    created_at: str | None = None
    updated_at: str | None = None

    def __post_init__(self) -> None:
        """Raise ValueError for a time that is none."""
        _check_time("created_at", self.created_at)
        _check_time("updated_at", self.updated_at)


class Batch(Struct, frozen=True, kw_only=True):
    """The body of one request. A conversation may stand in it several times; its pieces are taken in order."""

    source_type: Name
    conversations: tuple[BatchConversation, ...]


class Counts(Struct, frozen=True, kw_only=True):
    """What a batch changed: rows that are new and rows that were there before, each counted once."""

    inserted_conversations: int
    inserted_messages: int
    updated_conversations: int
    updated_messages: int


class Totals(Struct, frozen=True, kw_only=True):
    """How many rows the store holds."""

    conversations: int
    messages: int


class Store:
    """The SQLite file. Safe to use from any thread; other processes may use the same file at the same time.

    `now` is the clock behind `received_at`. Raises WrongUsage if the file cannot be opened or made, or is something
    else. The folder must exist.
    """

    def __init__(self, path: Path, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._connection = _open(path)

    def upsert(self, batch: Batch) -> Counts:
        """Store the batch, durably, or nothing of it.

        Raises BatchError if a message belongs to another conversation already, sqlite3.Error if the file cannot be
        written (a full disk, another process that holds it for too long, damage).
        """
        with self._lock, _transaction(self._connection):
            return _Writer(self._connection, batch.source_type, _utc_text(self._now())).write(batch)

    def counts(self) -> Totals:
        """How much there is. Raises sqlite3.Error if the file cannot be read."""
        with self._lock:
            conversations, messages = self._connection.execute(
                "SELECT (SELECT count(*) FROM conversations), (SELECT count(*) FROM messages)"
            ).fetchone()
        return Totals(conversations=conversations, messages=messages)

    def close(self) -> None:
        """Close the file, once a batch that is being written is in. Closing again does nothing."""
        with self._lock:
            self._connection.close()


class _Writer:
    """One batch on its way in, within a transaction: remembers which rows are new, so that each is counted once."""

    def __init__(self, connection: sqlite3.Connection, source_type: str, received_at: str) -> None:
        self._connection = connection
        self._source_type = source_type
        self._received_at = received_at
        self._conversations: dict[str, bool] = {}  # uuid -> whether it is new
        self._messages: dict[str, bool] = {}

    def write(self, batch: Batch) -> Counts:
        for index, conversation in enumerate(batch.conversations):
            self._conversation(conversation)
            for position, message in enumerate(conversation.messages):
                self._message(str(conversation.uuid), message, f"$.conversations[{index}].messages[{position}].uuid")
        new_conversations = sum(self._conversations.values())
        new_messages = sum(self._messages.values())
        return Counts(
            inserted_conversations=new_conversations,
            inserted_messages=new_messages,
            updated_conversations=len(self._conversations) - new_conversations,
            updated_messages=len(self._messages) - new_messages,
        )

    def _conversation(self, sent: BatchConversation) -> None:
        uuid = str(sent.uuid)
        row = self._connection.execute(
            "SELECT created_at, updated_at FROM conversations WHERE uuid = ?", (uuid,)
        ).fetchone()
        self._conversations.setdefault(uuid, row is None)
        created_at, updated_at = row or (None, None)
        values = (
            uuid,
            self._source_type,
            sent.title,
            _json_text(sent.metadata),
            min(_known(created_at, sent.created_at), key=_moment, default=None),
            max(_known(updated_at, sent.updated_at), key=_moment, default=None),
            self._received_at,
        )
        self._connection.execute(_UPSERT_CONVERSATION, values)

    def _message(self, conversation: str, sent: BatchMessage, place: str) -> None:
        uuid = str(sent.uuid)
        row = self._connection.execute("SELECT conversation_uuid FROM messages WHERE uuid = ?", (uuid,)).fetchone()
        if row is not None and row[0] != conversation:
            raise BatchError(f"{place}: the message {uuid} already belongs to the conversation {row[0]}")
        self._messages.setdefault(uuid, row is None)
        values = (
            uuid,
            conversation,
            None if sent.parent_uuid is None else str(sent.parent_uuid),
            sent.round_index,
            sent.role,
            sent.content_type,
            _json_text(sent.content),
            sent.content_text,
            sent.created_at,
            self._received_at,
        )
        self._connection.execute(_UPSERT_MESSAGE, values)


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    # IMMEDIATE: a transaction that reads first and writes later may fail half way when another process wrote between.
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # some errors, a full disk among them, have rolled back already
            connection.execute("ROLLBACK")
        raise


def _open(path: Path) -> sqlite3.Connection:
    path = path.absolute()  # so that no name means something special to SQLite, as ":memory:" would
    try:
        _create_private(path)
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    except (OSError, ValueError, sqlite3.Error) as error:
        raise WrongUsage(f"the store {path} cannot be opened: {_reason(error)}") from error
    try:
        _prepare(connection, path)
    except sqlite3.Error as error:
        connection.close()
        raise WrongUsage(f"the store {path} cannot be used: {error}") from error
    except BaseException:
        connection.close()
        raise
    return connection


def _create_private(path: Path) -> None:
    # Only a file that is not there: opening and closing one that this process has open elsewhere would drop its locks.
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    with _transaction(connection):
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (objects,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if (version, objects) == (0, 0):
            for statement in _SCHEMA:
                connection.execute(statement)
        elif version != SCHEMA_VERSION:
            raise WrongUsage(f"the store {path} is a database of another program or of a newer version")
    connection.execute("PRAGMA journal_mode = WAL")
    # FULL, not NORMAL: in WAL mode NORMAL leaves commits unsynced until the next checkpoint, and a power cut would take
    # batches whose senders were told they are stored and will not send them again.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def _reason(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def _check_time(name: str, text: str | None) -> None:
    if text is None:
        return
    try:
        _moment(text)
    except ValueError:
        raise ValueError(f"`{name}` is not an ISO 8601 time: {text[:40]!r}") from None


def _moment(text: str) -> datetime:
    value = datetime.fromisoformat(text)
    return value if value.tzinfo is not None else value.replace(tzinfo=UTC)


def _known(*texts: str | None) -> list[str]:
    return [text for text in texts if text is not None]


def _json_text(raw: Raw) -> str | None:
    text = bytes(raw).decode()
    return None if text == "null" else text


def _utc_text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


_decoder = msgspec.json.Decoder(Batch)


def parse(body: bytes) -> Batch:
    """The batch in a request's body.

    Raises msgspec.ValidationError, with the place, for JSON of the wrong shape, and msgspec.DecodeError for what is no
    JSON in UTF-8 or is nested too deeply.
    """
    try:
        # All of it, because the decoder does not look into what it keeps raw or passes over.
        return _decoder.decode(str(body, "utf-8"))
    except UnicodeDecodeError as error:
        raise msgspec.DecodeError(f"not UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise msgspec.DecodeError("nested too deeply") from None
