"""How far each stream of each source was read, and what could not be read in it."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from eventlog import Entry
from projections import views
from projections.fold import Fold


@dataclass
class StreamState:
    """One stream: its cursor, when it last moved, and the seqs of its quarantined pieces."""

    cursor: Any = None
    fingerprint: str = ""
    advanced_at: datetime | None = None
    quarantined: list[int] = field(default_factory=list)


@dataclass
class SourceState:
    """One source: its streams by name, and how many turns were recorded from it."""

    streams: dict[str, StreamState] = field(default_factory=dict)
    turns: int = 0
    last_turn_at: datetime | None = None

    @property
    def quarantined(self) -> int:
        """How many pieces are in quarantine, over all streams."""
        return sum(len(stream.quarantined) for stream in self.streams.values())


@dataclass
class Sources:
    """Every source that the log knows, by name."""

    last_seq: int = 0
    sources: dict[str, SourceState] = field(default_factory=dict)


def _source(state: Sources, name: str) -> SourceState:
    return state.sources.setdefault(name, SourceState())


def _turn_recorded(state: Sources, entry: Entry) -> None:
    source = _source(state, entry.view(views.TimedTurn).source)
    source.turns += 1
    source.last_turn_at = entry.at


def _source_advanced(state: Sources, entry: Entry) -> None:
    event = entry.view(views.Advanced)
    stream = _source(state, event.source).streams.setdefault(event.stream, StreamState())
    stream.cursor, stream.fingerprint, stream.advanced_at = event.cursor, event.fingerprint, entry.at


def _line_quarantined(state: Sources, entry: Entry) -> None:
    event = entry.view(views.Quarantined)
    stream = _source(state, event.source).streams.setdefault(event.stream, StreamState())
    stream.quarantined.append(entry.seq)


SOURCES: Fold[Sources] = Fold(
    name="sources",
    version=1,
    initial=Sources,
    handlers={
        "TurnRecorded": _turn_recorded,
        "SourceAdvanced": _source_advanced,
        "LineQuarantined": _line_quarantined,
    },
    views=(views.TimedTurn, views.Advanced, views.Quarantined),
)
"""The fold from events to `Sources`."""
