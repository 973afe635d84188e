"""Those who are measured, each behind the same two steps: open it, and make a `Put` for every writer.

Turnlog gets events and encodes them; all others get the encoded lines, which is in their favour.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count, cycle
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

from samples import lines, turns
from teams import Put

from eventlog import EventLog, Lock

BATCH = 100
_DIFFERENT_ROWS = 100
_BUSY_SECONDS = 60

RowT = TypeVar("RowT")


@contextmanager
def raw(directory: Path, *, batch: int = 1) -> Iterator[Callable[[], Put]]:
    """The limit: write(2) and fdatasync(2) of bytes that are ready."""
    descriptor = os.open(directory / "raw.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(data: bytes) -> None:
        os.write(descriptor, data)
        os.fdatasync(descriptor)

    rows = lines(_DIFFERENT_ROWS)
    try:
        yield lambda: _putting(write, rows if batch == 1 else [b"".join(rows)])
    finally:
        os.close(descriptor)


@contextmanager
def turnlog(directory: Path, *, batch: int = 1, durability: str = "fsync") -> Iterator[Callable[[], Put]]:
    """`EventLog.append` and `append_many`; threads share one log."""
    events = turns(_DIFFERENT_ROWS)
    with EventLog.open(directory, durability=durability) as log:  # type: ignore[arg-type]
        yield lambda: _putting(log.append, events) if batch == 1 else _putting(log.append_many, [events])


@contextmanager
def sqlite(directory: Path, *, batch: int = 1, synchronous: str = "FULL") -> Iterator[Callable[[], Put]]:
    """A row, or a batch of rows, in a transaction; a connection for each writer."""
    connections: list[sqlite3.Connection] = []
    rows = [(line,) for line in lines(_DIFFERENT_ROWS)]
    insert = "INSERT INTO events (line) VALUES (?)"

    def new_writer() -> Put:
        connection = connect(directory, synchronous)
        connections.append(connection)
        if batch == 1:
            return _putting(lambda row: connection.execute(insert, row), rows)

        def transaction() -> None:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(insert, rows)
            connection.execute("COMMIT")

        return transaction

    try:
        yield new_writer
    finally:
        for connection in connections:
            connection.close()


def connect(directory: Path, synchronous: str) -> sqlite3.Connection:
    """A connection in autocommit mode, with write-ahead logging, to a database with the table `events`."""
    path = directory / "events.sqlite"
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    with Lock(directory / "setup.lock"):  # two that change the mode at once would fail
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE IF NOT EXISTS events (seq INTEGER PRIMARY KEY, line BLOB NOT NULL)")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    return connection


@contextmanager
def persist_queue(directory: Path) -> Iterator[Callable[[], Put]]:
    """Its SQLite queue, which commits every put; pickles what it is given."""
    from persistqueue import SQLiteQueue

    queues = []

    def new_writer() -> Put:
        queue = SQLiteQueue(str(directory), auto_commit=True, multithreading=True)
        queues.append(queue)
        return _putting(queue.put, lines(_DIFFERENT_ROWS))

    try:
        yield new_writer
    finally:
        for queue in queues:
            queue.close()


@contextmanager
def eventsourcing(directory: Path) -> Iterator[Callable[[], Put]]:
    """Its application recorder on SQLite, without its application above it."""
    from eventsourcing.persistence import StoredEvent
    from eventsourcing.sqlite import SQLiteApplicationRecorder, SQLiteDatastore

    datastore = SQLiteDatastore(str(directory / "events.sqlite"))
    recorder = SQLiteApplicationRecorder(datastore)
    recorder.create_table()

    def new_writer() -> Put:
        originator, versions = uuid4(), count(1)

        def insert(line: bytes) -> None:
            recorder.insert_events([StoredEvent(originator, next(versions), "TurnRecorded", line)])

        return _putting(insert, lines(_DIFFERENT_ROWS))

    try:
        yield new_writer
    finally:
        datastore.close()


def _putting(write: Callable[[RowT], object], rows: Sequence[RowT]) -> Put:
    """Writes one of the rows at each call, in turn."""
    next_row = cycle(rows).__next__
    return lambda: write(next_row())
