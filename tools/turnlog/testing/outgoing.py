"""Turns as a sink gets them, without a log on disk."""

from collections.abc import Sequence
from pathlib import Path

from eventlog import EventLog, TurnRecorded
from eventlog.codec import encode_event, encode_line
from projections import Index
from turnlog.sinks.base import OutgoingTurn
from turnlog.testing.clock import START

_NOWHERE = Path("/nonexistent/turnlog")


def outgoing(turns: Sequence[TurnRecorded], *, attempt: int = 1_000_000) -> list[OutgoingTurn]:
    """The turns as the engine would hand them to a sink had they been recorded in this order, in an empty log.

    They are all in one request, sent under `attempt`.
    """
    index = Index(EventLog.open(_NOWHERE, read_only=True), None)
    index.refresh()
    try:
        return [
            OutgoingTurn(
                seq, START, turn, len(encode_line(turn, seq=seq, at=START)) - 1, attempt, place=index.place(seq)
            )
            for seq, turn in zip(index.pretend([*map(encode_event, turns)]), turns, strict=True)
        ]
    finally:
        index.close()
