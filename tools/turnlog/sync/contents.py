"""The content of turns that are to be sent, read back from the log."""

from collections import OrderedDict
from collections.abc import Iterator

from eventlog import Entry, EventLog, TurnRecorded
from eventlog.codec import decode_line
from projections import Index
from turnlog.sinks.base import OutgoingTurn, Refused

_CACHE_BYTES = 64 * 1024 * 1024
_AHEAD, _AHEAD_FULL = 2048, 64
"""So many events are read on for: all that is passed is kept, and will be wanted. Once there is no room for it, only
as many as cost less than looking the place up."""

Item = OutgoingTurn | Refused
"""A turn that can be sent, or why it cannot: its line is damaged, or holds what this version does not understand."""


class Contents:
    """Finds turns by seq. Lanes are interleaved in the log, so what is passed while reading on is kept for a while."""

    def __init__(self, log: EventLog, index: Index) -> None:
        self._lookup = log.lookup()
        self._log = log
        self._index = index
        self._kept: OrderedDict[int, bytes] = OrderedDict()  # lines: what they are decoded to takes much more
        self._kept_bytes = 0
        self._full = False
        self._ahead: Iterator[Entry] = iter(())
        self._position: int | None = None  # of `_ahead`; None when it has ended

    def item(self, seq: int) -> Item:
        """The turn recorded at `seq`."""
        entry = self._entry(seq)
        event = entry.event if entry else None
        if entry is None or not isinstance(event, TurnRecorded):
            unreadable = f"the turn at seq {seq} cannot be read from the log; `turnlog verify` tells more"
            return Refused("rejected", unreadable, alone=True)
        return OutgoingTurn(seq, entry.at, event, self._index.place(seq), len(entry.line))

    def _entry(self, seq: int) -> Entry | None:
        if seq in self._kept:
            return decode_line(self._kept[seq])
        ahead = _AHEAD_FULL if self._full else _AHEAD
        if self._position is None or not self._position < seq <= self._position + ahead:
            entry = self._lookup.get(seq)
            if entry is not None:
                self._keep(entry)
            self._ahead, self._position = self._log.read(gt=seq), seq
            return entry
        for entry in self._ahead:
            self._position = entry.seq
            if entry.type == "TurnRecorded":
                self._keep(entry)
            if entry.seq >= seq:
                return entry if entry.seq == seq else None
        self._position = None
        return None

    def _keep(self, entry: Entry) -> None:
        if entry.seq in self._kept:
            return
        self._kept[entry.seq] = entry.line
        self._kept_bytes += len(entry.line)
        while self._kept_bytes > _CACHE_BYTES and len(self._kept) > 1:
            self._full = True
            _, dropped = self._kept.popitem(last=False)
            self._kept_bytes -= len(dropped)

    def close(self) -> None:
        """Let go of the log's files."""
        self._lookup.close()
