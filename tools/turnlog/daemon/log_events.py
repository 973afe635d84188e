"""Events of the log told in the daemon's log: what was delivered, what was not, how the sinks are.

A sink's own words are left out, for it may have quoted what it was sent: `turnlog show TURN` and `turnlog sinks` have
them.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import MsgspecError, Struct

from eventlog import (
    DeliveryRevoked,
    Entry,
    Event,
    EventLog,
    EventLogError,
    LineQuarantined,
    RetryRequested,
    SinkEnrolled,
    SinkFlushed,
    SinkPaused,
    SinkResumed,
    SinkRetired,
    SyncAttempted,
    SyncFailed,
    SyncSucceeded,
    TornTailClosed,
    TurnHeader,
    TurnRecorded,
    TurnSkipped,
    UnknownEvent,
)
from projections import OPERATOR
from turnlog.daemon.logs import about, about_each

TurnIdOf = Callable[[int], str | None]
"""The turn_id of the turn recorded at a seq; None if it cannot be read."""

_KNOWN_MAX = 512
"""So many turns are remembered: those of a few requests, which are told of twice."""


class Told(Struct, frozen=True):
    """What is to be said of an event: once for each of the `turns` (seqs), or once if it is about none."""

    level: int
    message: str
    fields: dict[str, Any]
    turns: Sequence[int] | None = None


class TurnIds:
    """Looks turn ids up in the log, and remembers the latest; call `close`. Not for several threads at once."""

    def __init__(self, log: EventLog) -> None:
        self._lookup = log.lookup(places_max=_KNOWN_MAX)
        self._known: dict[int, str | None] = {}

    def __call__(self, seq: int) -> str | None:
        """See `TurnIdOf`. Raises LogUnavailable."""
        if seq not in self._known:
            entry = self._lookup.get(seq)
            event = _header(entry) if entry is not None and entry.type == "TurnRecorded" else None
            self._known[seq] = event.turn_id if isinstance(event, TurnHeader) else None
            if len(self._known) > _KNOWN_MAX:
                del self._known[next(iter(self._known))]
        return self._known[seq]

    def close(self) -> None:
        """Close the files."""
        self._lookup.close()


def log_event(
    logger: logging.Logger, event: Event | UnknownEvent, turn_id_of: TurnIdOf, *, seq: int | None = None
) -> None:
    """Log what an event says, which stands at `seq` if that is known.

    Each line about a turn has its turn_id and seq, and the sink and attempt where it is about a delivery.
    """
    tell = _TELLERS.get(type(event))  # type: ignore[arg-type]
    told = tell(event, seq) if tell else None
    if told is None or not logger.isEnabledFor(told.level):
        return
    if told.turns is None:
        logger.log(told.level, told.message, extra=about(**told.fields))
        return
    each = [{"turn_id": turn_id_of(turn), "seq": turn} for turn in told.turns]
    logger.log(told.level, told.message, extra=about_each(each, **told.fields))


class EventTeller:
    """Logs every event that an engine appends: its `on_events`. In the engine's thread; call `close` at the end."""

    def __init__(self, logger: logging.Logger, log: EventLog) -> None:
        self._logger = logger
        self._ids = TurnIds(log)

    def __call__(self, events: Sequence[Event]) -> None:
        """Log them."""
        for event in events:
            log_event(self._logger, event, self._turn_id)

    def close(self) -> None:
        """Close the files."""
        self._ids.close()

    def _turn_id(self, seq: int) -> str | None:
        try:
            return self._ids(seq)
        except EventLogError:  # whoever delivers says so, and this is no reason to stop
            return None


def log_entry(logger: logging.Logger, entry: Entry, turn_id_of: TurnIdOf) -> None:
    """The same for an entry of the log; the words of a turn are not even decoded."""
    event = entry.event if entry.type != "TurnRecorded" else _header(entry)
    log_event(logger, event, turn_id_of, seq=entry.seq)


def _header(entry: Entry) -> Event | UnknownEvent:
    try:
        return entry.view(TurnHeader)
    except MsgspecError:
        return UnknownEvent(entry.type, {})


def _recorded(event: TurnHeader, seq: int | None) -> Told:
    fields = {"turn_id": event.turn_id, "seq": seq, "source": event.source, "revision": event.revision}
    return Told(logging.DEBUG, "recorded", fields)


def _attempted(event: SyncAttempted, seq: int | None) -> Told | None:
    if seq is None:  # it is the attempt's number, without which the line would say nothing; its outcome has it
        return None
    return Told(logging.DEBUG, "sending", {"sink": event.sink, "attempt": seq}, event.turns)


def _succeeded(event: SyncSucceeded, _: int | None) -> Told:
    message = "delivered: the sink had it already" if event.reconciled else "delivered"
    return Told(logging.INFO, message, {"sink": event.sink, "attempt": event.attempt}, event.turns)


def _failed(event: SyncFailed, _: int | None) -> Told:
    message = "not delivered"
    if event.final:
        message = "dead: not tried again until `turnlog retry`"
    elif event.hold:
        message = "in doubt: held until `turnlog retry` or `turnlog skip`"
    elif event.kind == "in_doubt":
        message = "in doubt: it is not known whether the sink has it"
    fields = {"kind": event.kind, "status": event.status, "retry_after": event.retry_after}
    level = logging.ERROR if event.final or event.hold else logging.WARNING
    return Told(level, message, {"sink": event.sink, "attempt": event.attempt, **fields}, event.turns)


def _revoked(event: DeliveryRevoked, _: int | None) -> Told:
    return Told(logging.ERROR, "lost by the sink: it is sent again", {"sink": event.sink, "attempt": None}, event.turns)


def _retried(event: RetryRequested, _: int | None) -> Told:
    return _decided(event, "sent again, as the operator wants it")


def _skipped(event: TurnSkipped, _: int | None) -> Told:
    return _decided(event, "not sent, as the operator wants it")


def _decided(event: RetryRequested | TurnSkipped, message: str) -> Told:
    return Told(logging.INFO, message, {"sink": event.sink, "attempt": None}, [turn.seq for turn in event.turns])


def _paused(event: SinkPaused, _: int | None) -> Told:
    loud = event.kind == "unauthorized"
    level = logging.ERROR if loud else logging.INFO if event.kind == OPERATOR else logging.WARNING
    message = "the sink is paused; `turnlog sinks` tells why" + (", and it waits for you" if loud else "")
    return Told(level, message, {"sink": event.sink, "kind": event.kind, "until": event.until})


def _resumed(event: SinkResumed, _: int | None) -> Told:
    return Told(logging.INFO, "the sink takes turns again", {"sink": event.sink})


def _enrolled(event: SinkEnrolled, _: int | None) -> Told:
    fields = {"sink": event.sink, "type": event.kind, "since_seq": event.since_seq}
    return Told(logging.INFO, "turns are owed to this sink from now on", fields)


def _retired(event: SinkRetired, _: int | None) -> Told:
    return Told(logging.INFO, "nothing is owed to this sink any longer", {"sink": event.sink})


def _flushed(event: SinkFlushed, _: int | None) -> Told:
    return Told(logging.DEBUG, "the sink's buffer was flushed", {"sink": event.sink, "up_to": event.up_to})


def _quarantined(event: LineQuarantined, seq: int | None) -> Told:
    fields = {"source": event.source, "seq": seq}
    return Told(logging.WARNING, "something could not be read and is kept; `turnlog sources` tells what", fields)


def _torn(event: TornTailClosed, _: int | None) -> Told:
    fields = {"segment": event.segment, "offset": event.offset, "length": event.length}
    return Told(logging.WARNING, "a crash left a gap in the log, which nothing acknowledged was in", fields)


_TELLERS: dict[type[Event], Callable[[Any, int | None], Told | None]] = {
    TurnHeader: _recorded,
    TurnRecorded: _recorded,
    SyncAttempted: _attempted,
    SyncSucceeded: _succeeded,
    SyncFailed: _failed,
    DeliveryRevoked: _revoked,
    RetryRequested: _retried,
    TurnSkipped: _skipped,
    SinkPaused: _paused,
    SinkResumed: _resumed,
    SinkEnrolled: _enrolled,
    SinkRetired: _retired,
    SinkFlushed: _flushed,
    LineQuarantined: _quarantined,
    TornTailClosed: _torn,
}
"""What is said of an event, and the seq that it has, by its type; of any other nothing is."""
