"""Turns read back by seq: from the log, or from what a dry run would have appended to it."""

from collections.abc import Iterable
from typing import IO

import msgspec

from eventlog import Encoded, EventLog, TurnRecorded


class RecordedTurns:
    """Finds turns by seq; `close` it. What is pretended is kept in an unnamed file, since it may be a whole import."""

    def __init__(self, log: EventLog) -> None:
        self._lookup = log.lookup()
        self._pretended: dict[int, tuple[int, int]] = {}
        self._file: IO[bytes] | None = None

    def get(self, seq: int) -> TurnRecorded | None:
        """The turn recorded at `seq`; None if its line is damaged."""
        if seq in self._pretended and self._file is not None:
            offset, length = self._pretended[seq]
            self._file.seek(offset)
            return msgspec.json.decode(self._file.read(length), type=TurnRecorded)
        entry = self._lookup.get(seq)
        return entry.event if entry is not None and isinstance(entry.event, TurnRecorded) else None

    def pretend(self, seqs: Iterable[int], events: Iterable[Encoded]) -> None:
        """Remember turns as if they were in the log."""
        if self._file is None:
            from tempfile import TemporaryFile  # 10 ms that only a dry run needs

            self._file = TemporaryFile()  # noqa: SIM115 - it is closed with this
        offset = self._file.seek(0, 2)
        for seq, (kind, json) in zip(seqs, events, strict=True):
            if kind == "TurnRecorded":
                length = self._file.write(json)
                self._pretended[seq] = offset, length
                offset += length

    def close(self) -> None:
        """Let go of the files."""
        self._lookup.close()
        if self._file is not None:
            self._file.close()
