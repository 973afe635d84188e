"""Reading a large log from end to end."""

import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from uuid import uuid4

import msgspec
from report import Row, interleave, rate_row, single_row
from samples import SINK

from bench import Bench, peer, say
from eventlog import EventLog
from projections import DELIVERY, Delivery, replay

_CHUNK_BYTES = 256 * 1024
_PAGE_ROWS = 1000
_LOAD_ROWS = 10_000
_NEWLINES, _TURNLOG = "replay/newlines", "replay/turnlog"


def replay_cases(bench: Bench) -> Iterator[Row]:
    """Replay into delivery state with every checksum verified, as a multiple of counting newlines."""
    log = bench.big_log()
    expected = into_delivery(log).last_seq
    readers: dict[str, Callable[[], int]] = {
        _NEWLINES: partial(_count_newlines, log),
        _TURNLOG: lambda: into_delivery(log).last_seq,
        "replay/json": partial(_decode_lines, log, json.loads),
        "replay/sqlite": partial(_scan_sqlite, _load_sqlite(log, bench.fresh("replay-sqlite"))),
    }
    if orjson := peer("orjson", "orjson"):
        readers["replay/orjson"] = partial(_decode_lines, log, orjson.loads)
    if peer("eventsourcing.sqlite", "eventsourcing"):
        recorder = _load_eventsourcing(log, bench.fresh("replay-eventsourcing"))
        readers["replay/eventsourcing"] = partial(_select_eventsourcing, recorder)
    for name, read in readers.items():  # warms the page cache, too
        if (count := read()) < expected:
            raise RuntimeError(f"{name} read {count} events of {expected}")
    results = interleave({n: partial(_rate, read, expected) for n, read in readers.items()}, bench.sizes.replay_rounds)
    for case in results:
        yield rate_row(results, case, "events/s", None if case == _NEWLINES else _NEWLINES)
    for other in ("orjson", "eventsourcing"):
        if f"replay/{other}" in results:
            yield rate_row(results, _TURNLOG, "events/s", f"replay/{other}", name=f"{_TURNLOG}/against-{other}")


def memory_cases(bench: Bench) -> Iterator[Row]:
    """The peak memory of a process that replays the log, and of one that only imports what that takes."""
    program = str(Path(__file__).with_name("peak.py"))
    for case, arguments in (("memory/replay", [str(bench.big_log())]), ("memory/imports-only", [])):
        command = [sys.executable, program, *arguments]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603 - our own
        yield single_row(case, float(output), "MB")


def into_delivery(log: Path) -> Delivery:
    """The delivery state of a log; raises if it is not what `write_big_log` wrote."""
    (state,) = replay(EventLog.open(log, read_only=True), DELIVERY)
    totals = state.sinks[SINK].totals()
    if totals["delivered"] != len(state.turns) or state.anomalies:
        raise RuntimeError(f"the replay came to {totals} with {dict(state.anomalies)}")
    return state  # type: ignore[no-any-return]


def _rate(read: Callable[[], int], events: int) -> float:
    begin = time.perf_counter()
    read()
    return events / (time.perf_counter() - begin)


def _count_newlines(log: Path) -> int:
    count = 0
    for path in _segments(log):
        with path.open("rb", buffering=0) as file:
            while chunk := file.read(_CHUNK_BYTES):
                count += chunk.count(b"\n")
    return count


def _decode_lines(log: Path, decode: Callable[[bytes], object]) -> int:
    count = 0
    for line in _lines(log):
        decode(line)
        count += 1
    return count


def _lines(log: Path) -> Iterator[bytes]:
    for path in _segments(log):
        with path.open("rb") as file:
            for line in file:
                if line != b"\n":  # a segment may be extended ahead with newlines
                    yield line


def _segments(log: Path) -> list[Path]:
    return sorted((log / "log").glob("*.jsonl"))


def _load_sqlite(log: Path, directory: Path) -> Path:
    say("  loading it into SQLite")
    path = directory / "events.sqlite"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("CREATE TABLE events (seq INTEGER PRIMARY KEY, line BLOB NOT NULL)")
    connection.execute("BEGIN")
    connection.executemany("INSERT INTO events (line) VALUES (?)", ((line,) for line in _lines(log)))
    connection.execute("COMMIT")
    connection.close()
    return path


def _scan_sqlite(path: Path) -> int:
    decode, count = msgspec.json.Decoder().decode, 0
    connection = sqlite3.connect(path)
    for (line,) in connection.execute("SELECT line FROM events ORDER BY seq"):
        decode(line)
        count += 1
    connection.close()
    return count


def _load_eventsourcing(log: Path, directory: Path) -> object:
    from eventsourcing.persistence import StoredEvent
    from eventsourcing.sqlite import SQLiteApplicationRecorder, SQLiteDatastore

    say("  loading it into eventsourcing")
    recorder = SQLiteApplicationRecorder(SQLiteDatastore(str(directory / "events.sqlite")))
    recorder.create_table()
    originator = uuid4()
    stored = (StoredEvent(originator, number, "Event", line) for number, line in enumerate(_lines(log), start=1))
    while batch := list(islice(stored, _LOAD_ROWS)):
        recorder.insert_events(batch)
    return recorder


def _select_eventsourcing(recorder: object) -> int:
    count = 0
    while page := recorder.select_notifications(count + 1, _PAGE_ROWS):  # type: ignore[attr-defined]
        count += len(page)
    return count
