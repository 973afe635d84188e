"""Every turn of a log in columns: what the delivery fold must know of each, in 9 bytes.

A turn is addressed by its ordinal: 0 for the first TurnRecorded of the log, 1 for the second, and so on.
"""

from array import array
from bisect import bisect_left
from dataclasses import dataclass, field
from sys import intern
from typing import TYPE_CHECKING

from eventlog import TurnHeader
from projections import views

if TYPE_CHECKING:
    Column = array[int]
else:  # before Python 3.12 an array has no parameters at run time, where a checkpoint's decoder looks at this
    Column = array

Lane = tuple[str, str, str]
"""Source, user, conversation: within a sink, what must stay in order."""


@dataclass
class Turns:
    """The turns of a log, one row each over several arrays."""

    seqs: Column = field(default_factory=lambda: array("I"))
    lanes: list[Lane] = field(default_factory=list)
    older: dict[int, int] = field(default_factory=dict)
    _lane_of: Column = field(default_factory=lambda: array("I"))
    _had_by: Column = field(default_factory=lambda: array("B"))
    _next: int = field(default=0, compare=False)
    _sink_sets: list[tuple[str, ...]] = field(default_factory=lambda: [()])

    def __post_init__(self) -> None:
        self.lanes = [_shared(lane) for lane in self.lanes]
        self._lane_ids = {lane: lane_id for lane_id, lane in enumerate(self.lanes)}  # not kept in checkpoints

    def __len__(self) -> int:
        return len(self.seqs)

    def add(self, seq: int, turn: TurnHeader | views.Turn) -> int:
        """Add the turn recorded at `seq`, which is higher than all before; returns its ordinal."""
        ordinal = len(self.seqs)
        lane = (turn.source, turn.user, turn.conversation)
        lane_id = self._lane_ids.get(lane)
        if lane_id is None:
            lane = _shared(lane)
            lane_id = self._lane_ids[lane] = len(self.lanes)
            self.lanes.append(lane)
        if turn.supersedes is not None and (older := self.ordinal(turn.supersedes)) is not None:
            self.older[ordinal] = older
        self.seqs = _appended(self.seqs, seq)
        self._lane_of.append(lane_id)
        self._had_by = _appended(self._had_by, self._sink_set(turn.delivered_to) if turn.delivered_to else 0)
        return ordinal

    def ordinal(self, seq: int) -> int | None:
        """Which turn was recorded at `seq`; None if none was."""
        seqs, found = self.seqs, self._next
        if found >= len(seqs) or seqs[found] != seq:  # it is the one behind the last one that was asked for, mostly
            found = bisect_left(seqs, seq)
            if found == len(seqs) or seqs[found] != seq:
                return None
        self._next = found + 1
        return found

    def since(self, seq: int) -> range:
        """The ordinals of the turns recorded at `seq` or later."""
        return range(bisect_left(self.seqs, seq), len(self.seqs))

    def lane_id(self, ordinal: int) -> int:
        """The number of a turn's lane, an index into `lanes`."""
        return self._lane_of[ordinal]

    def had_by(self, ordinal: int) -> tuple[str, ...]:
        """The sinks that had the turn before it was recorded."""
        return self._sink_sets[self._had_by[ordinal]]

    def _sink_set(self, sinks: tuple[str, ...]) -> int:
        if sinks not in self._sink_sets:  # a handful in practice: one for each kind of import
            self._sink_sets.append(sinks)
        return self._sink_sets.index(sinks)


def _appended(column: Column, value: int) -> Column:
    """The column with a value more: another one if its values are to have more bytes from here on."""
    try:
        column.append(value)
    except OverflowError:
        column = array("Q", column)
        column.append(value)
    return column


def _shared(lane: Lane) -> Lane:
    """The lane with texts that many lanes have kept once."""
    source, user, conversation = lane
    return intern(source), intern(user), conversation
