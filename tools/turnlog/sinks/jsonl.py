"""The sink `jsonl`: a line of JSON for each turn, appended to a file or written to stdout. docs/sinks.md shows one.

A file is resumable: what a crash left in doubt is looked for in it, so that nothing is there twice and nothing is
missing. What has gone through stdout nobody can ask about: after a crash the last lines may come again.
"""

import errno
import os
import select
import sys
import threading
from array import array
from bisect import bisect_left
from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import msgspec
from msgspec import Struct

from eventlog.files import Files
from turnlog.config import as_path
from turnlog.convert import convert
from turnlog.errors import ConfigError
from turnlog.sinks.base import Delivered, Limits, Outcome, OutgoingTurn, Refused, Sink, Unknown
from turnlog.sinks.lines import LinesFile, Unfinished
from turnlog.sinks.rendering import render_turn, rendered_bytes

STDOUT = "-"
"""The path that stands for stdout."""

HEAD = b'{"version":'
"""How every line of ours begins."""

T = TypeVar("T")

_encode = msgspec.json.Encoder().encode
_stdout_lock = threading.Lock()


class JsonlOptions(Struct, frozen=True):
    """What the configuration says of such a sink; with `fsync` a delivered turn survives a power cut."""

    path: str
    fsync: bool = True

    def __post_init__(self) -> None:
        if not self.path or "\0" in self.path:
            raise ValueError("path must name a file, or be '-' for stdout")


class _LinesSink(Sink):
    """What both have in common. A new revision of a turn is a line of its own, like a turn, with its number."""

    type: ClassVar[str] = "jsonl"
    limits = Limits(turns=500, conversations=500)
    connections = 1
    remote = False

    @classmethod
    def from_options(cls, options: dict[str, Any], *, where: str, folder: Path) -> Sink:
        """See `Sink.from_options`."""
        chosen = convert(options, JsonlOptions, where=where, error=ConfigError)
        if chosen.path == STDOUT:
            return StdoutSink()
        return JsonlSink(folder / as_path(chosen.path), fsync=chosen.fsync)

    def size(self, turn: OutgoingTurn) -> int:
        """The bytes of its line."""
        return rendered_bytes(turn)


class JsonlSink(_LinesSink):
    """Appends to a file, which it keeps open and locked once there was something to append."""

    def __init__(self, path: Path, *, fsync: bool = True, files: Files | None = None) -> None:
        self._file = LinesFile(path, head=HEAD, sync=fsync, files=files)
        self._lock = threading.Lock()
        self._keys: array[int] | None = None  # of all lines, sorted, once somebody asked and until something is added

    def check(self) -> Refused | None:
        """Open the file, and see whether there is room; nothing is written."""
        return self._attempt(lambda: None if self._file.has_room() else self._refused("there is no space left"))

    def deliver(self, batch: Sequence[OutgoingTurn]) -> Sequence[Outcome]:
        """Append the turns, all or none; the receipt is where they stand in the file."""
        lines = b"".join(map(to_line, batch))

        def append() -> Outcome:
            self._keys = None
            return Delivered({"offset": self._file.append(lines), "bytes": len(lines)})

        return [self._attempt(append)] * len(batch)

    def find(self, turn: OutgoingTurn) -> Delivered | Unknown | None:
        """Whether this delivery of this revision is in the file; the first question reads all of it."""
        found = self._attempt(lambda: Delivered({"found": True}) if self._has(turn) else None)
        return Unknown(found.error) if isinstance(found, Refused) else found

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._file.close()

    def _attempt(self, work: Callable[[], T]) -> T | Refused:
        """What `work` gives, or the sink's failure: what is wrong with a file is no turn's fault."""
        with self._lock:
            try:
                return work()
            except OSError as error:
                kind = "in_doubt" if isinstance(error, Unfinished) else "unavailable"
                return self._refused(error.strerror or type(error).__name__, kind)

    def _refused(self, reason: str, kind: str = "unavailable") -> Refused:
        return Refused(kind, f"{self._file.path}: {reason}")

    def _has(self, turn: OutgoingTurn) -> bool:
        if self._file.open() or self._keys is None:
            self._keys = array("Q", sorted(key for line in self._file.lines() if (key := _key_in(line)) is not None))
        key = _key(turn.seq, turn.delivery, turn.event.turn_id, turn.event.revision)
        at = bisect_left(self._keys, key)
        return at < len(self._keys) and self._keys[at] == key


class StdoutSink(_LinesSink):
    """Writes to stdout, a line at a time, each at once."""

    def check(self) -> Refused | None:
        """Whether anybody reads there, as far as can be told without writing."""
        try:
            asked = select.poll()
            asked.register(sys.stdout.fileno(), 0)
            gone = [flags for _, flags in asked.poll(0) if flags & (select.POLLERR | select.POLLHUP | select.POLLNVAL)]
        except (OSError, ValueError, AttributeError):  # no file of the system's: in memory, or closed
            return None if sys.stdout is not None and not sys.stdout.closed else _no_stdout("it is closed")
        return _no_stdout("nobody reads it any more") if gone else None

    def deliver(self, batch: Sequence[OutgoingTurn]) -> Sequence[Outcome]:
        """Write the turns; from the first that cannot be written on, none is delivered."""
        outcomes: list[Outcome] = []
        with _stdout_lock:
            for turn in batch:
                try:
                    _write_out(to_line(turn))
                except (OSError, ValueError, AttributeError) as error:  # broken; closed; none at all
                    refused = _no_stdout(getattr(error, "strerror", None) or "it is closed")
                    return [*outcomes, *[refused] * (len(batch) - len(outcomes))]
                outcomes.append(Delivered())
        return outcomes

    def close(self) -> None:
        """It is not ours to close."""


def to_line(turn: OutgoingTurn) -> bytes:
    """The turn's line, with its newline."""
    return _encode(render_turn(turn)) + b"\n"


class _Line(Struct):
    """What of a line tells which delivery it is."""

    seq: int
    delivery: int
    turn_id: str
    revision: int


_decode = msgspec.json.Decoder(_Line).decode


def _key_in(line: bytes) -> int | None:
    """None for a line that is no turn, or that a power cut has damaged."""
    try:
        known = _decode(line)
    except (ValueError, RecursionError):
        return None
    return _key(known.seq, known.delivery, known.turn_id, known.revision)


def _key(seq: int, delivery: int, turn_id: str, revision: int) -> int:
    """Eight bytes that stand for a delivery, so that asking about one costs little memory however long the file is.

    The turn's id is in it because a file may hold turns of another log, whose seqs are the same.
    """
    return int.from_bytes(blake2b(f"{seq} {delivery} {revision} {turn_id}".encode(), digest_size=8).digest(), "big")


def _no_stdout(reason: str) -> Refused:
    return Refused("unavailable", f"stdout: {reason}")


def _write_out(line: bytes) -> None:
    """Past Python's buffer: what stays in there after an error would be written later, though it counts as not sent."""
    sys.stdout.flush()
    buffer = sys.stdout.buffer
    raw = getattr(buffer, "raw", buffer)
    while line:
        written = raw.write(line)
        if not written:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        line = line[written:]
