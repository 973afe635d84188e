"""The content of turns that are to be sent, read back from the log."""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from datetime import datetime

from msgspec import MsgspecError, Struct

from eventlog import Entry, EventLog, Reader, TurnRecorded
from eventlog.codec import decode_fields
from projections import Index, Place

_CACHE_BYTES = 16 * 1024 * 1024
_AHEAD, _AHEAD_FULL = 2048, 64
"""So many events are read on for: all that is passed is kept, and will be wanted. Where there was no room for it, only
as many as cost less than looking the place up."""


class Content(Struct, frozen=True):
    """A turn as the log has it: when it was recorded, its event, its line's length."""

    recorded_at: datetime
    event: TurnRecorded
    line_bytes: int


class Contents:
    """Finds turns by seq. Lanes are interleaved in the log, so what is passed while reading on is kept for a while."""

    def __init__(self, log: EventLog, index: Index) -> None:
        self._lookup = log.lookup()
        self._log = log
        self._index = index
        self._indexed = 0
        self._kept: OrderedDict[int, Entry] = OrderedDict()  # not decoded: that would take much more
        self._kept_bytes = 0
        self._used: set[int] = set()  # of those that are kept
        self._full_at = 0  # up to here too much is wanted to keep all of it
        self._reader: Reader | None = None
        self._ahead: Iterator[Entry] = iter(())
        self._position = 0  # of `_ahead`

    def content(self, seq: int) -> Content | None:
        """The turn recorded at `seq`; None if its line is damaged, or holds what this version does not understand."""
        entry = self._entry(seq)
        if entry is None or entry.type != "TurnRecorded":
            return None
        if seq in self._kept:  # others are wanted more
            self._kept.move_to_end(seq, last=False)
            self._used.add(seq)
        try:
            event = decode_fields(entry.line, TurnRecorded)  # the entry would remember it
        except MsgspecError:
            return None
        return Content(entry.at, event, len(entry.line))

    def refresh_index(self) -> None:
        """Take what is new into the index, whose lock must be held."""
        self._index.refresh()
        self._indexed = self._index.last_seq

    def places(self, seqs: Sequence[int]) -> dict[int, Place]:
        """Where the turns recorded at these seqs stand in their conversations."""
        if max(seqs, default=0) > self._indexed:
            with self._index.locked():
                self.refresh_index()
        return self._index.places(seqs)

    def _entry(self, seq: int) -> Entry | None:
        if (kept := self._kept.get(seq)) is not None:
            return kept
        ahead = _AHEAD_FULL if seq <= self._full_at else _AHEAD
        if self._reader is None or not self._position < seq <= self._position + ahead:
            return self._jump(seq)
        for _ in ("what was there", "what has come since"):
            for entry in self._ahead:
                self._position = entry.seq
                if entry.type == "TurnRecorded":
                    self._keep(entry)
                if entry.seq >= seq:
                    return entry if entry.seq == seq else None
            self._ahead = _entries(self._reader)
        return None

    def _jump(self, seq: int) -> Entry | None:
        """Find an entry, and read on from there the next time."""
        entry = self._lookup.get(seq)
        if entry is not None:
            self._keep(entry)
        if self._reader is not None:
            self._reader.close()
        self._reader = self._log.reader(gt=seq)
        self._ahead, self._position = _entries(self._reader), seq
        return entry

    def _keep(self, entry: Entry) -> None:
        if entry.seq in self._kept:
            return
        self._kept[entry.seq] = entry
        self._kept_bytes += len(entry.line)
        while self._kept_bytes > _CACHE_BYTES and len(self._kept) > 1:
            seq, dropped = self._kept.popitem(last=False)
            if seq not in self._used:
                self._full_at = max(self._full_at, entry.seq)
            self._used.discard(seq)
            self._kept_bytes -= len(dropped.line)

    @property
    def kept_bytes(self) -> int:
        """How much is kept."""
        return self._kept_bytes

    def forget(self) -> None:
        """Keep nothing that was passed: nobody will want it. It is found all the same."""
        self._kept.clear()
        self._used.clear()
        self._kept_bytes = 0

    def close(self) -> None:
        """Let go of the log's files."""
        self._lookup.close()
        if self._reader is not None:
            self._reader.close()


def _entries(reader: Reader) -> Iterator[Entry]:
    """What a reader has, read in blocks where it can be."""
    for block in reader.read_blocks():
        if isinstance(block, Entry):
            yield block
        else:
            yield from block.entries()
