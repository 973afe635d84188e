"""The delivery fold said once more, as plainly as possible: names, seqs and lists, and no thought of cost.

It is written from DESIGN section 4, not from the fold, so that what both say is likely right.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from eventlog import (
    DeliveryRevoked,
    Entry,
    RetryRequested,
    SinkEnrolled,
    SinkPaused,
    SinkResumed,
    SinkRetired,
    SyncAttempted,
    SyncFailed,
    SyncSucceeded,
    TurnHeader,
    TurnSkipped,
)

OPEN = ("pending", "attempting", "retrying")
GONE = ("superseded", "skipped")


@dataclass
class Turn:
    """A turn at a sink. `after` is the state that it ends in if the sink turns out not to have it.

    `doubtful` says that the sink may have it, `held` that the operator is to decide about that.
    """

    state: str = "pending"
    attempt: int | None = None
    counted: int = 0
    doubts: int = 0
    after: str | None = None
    doubtful: bool = False
    held: bool = False

    def forget(self, state: str) -> None:
        self.__init__(state)  # type: ignore[misc]


@dataclass
class SinkModel:
    since: int
    retired: bool = False
    turns: dict[int, Turn] = field(default_factory=dict)
    queue: list[int] = field(default_factory=list)
    paused: str | None = None
    until: datetime | None = None


class Model:
    """What the fold should know, after `apply` for each entry."""

    def __init__(self) -> None:
        self.recorded: dict[int, TurnHeader] = {}
        self.sinks: dict[str, SinkModel] = {}
        self.last_seq = 0

    def lanes(self, sink: SinkModel) -> list[list[int]]:
        """The seqs of the open turns, lane by lane, each in order."""
        lanes: dict[Any, list[int]] = {}
        for seq in sink.queue:
            lanes.setdefault(self.lane(seq), []).append(seq)
        return sorted(lanes.values())

    def lane(self, seq: int) -> tuple[str, str, str]:
        turn = self.recorded[seq]
        return turn.source, turn.user, turn.conversation

    def apply(self, entry: Entry) -> None:
        event = entry.event
        self.last_seq = entry.seq
        if entry.type == "TurnRecorded":
            self.record(entry)
        elif isinstance(event, SinkEnrolled):
            self.enrol(event)
        else:
            sink = self.sinks.get(getattr(event, "sink", ""))
            if sink is not None and not sink.retired:
                self.deliver(sink, entry, event)

    def record(self, entry: Entry) -> None:
        try:
            self.recorded[entry.seq] = entry.view(TurnHeader)
        except ValueError:
            return
        for name, sink in self.sinks.items():
            if not sink.retired and entry.seq >= sink.since:
                self.owe(name, sink, entry.seq)

    def enrol(self, event: SinkEnrolled) -> None:
        sink = self.sinks.setdefault(event.sink, SinkModel(event.since_seq, retired=True))
        if not sink.retired:
            return
        sink.since, sink.retired = event.since_seq, False
        for seq in self.recorded:
            if seq >= sink.since:
                self.owe(event.sink, sink, seq)

    def owe(self, name: str, sink: SinkModel, seq: int) -> None:
        older = self.recorded[seq].supersedes
        older = older if older in self.recorded and older < seq else None
        if seq not in sink.turns:
            sink.turns[seq] = Turn()
            if name in self.recorded[seq].delivered_to:
                sink.turns[seq].state = "delivered"
            elif older in sink.queue and self.lane(older) == self.lane(seq):
                sink.queue.insert(sink.queue.index(older) + 1, seq)
            else:
                self.queue(sink, seq)
        if older in sink.turns:
            is_asked_for = sink.turns[older].state in OPEN and sink.turns[older].doubtful
            if sink.turns[older].state == "attempting" or is_asked_for:
                sink.turns[older].after = "superseded"
            elif sink.turns[older].state in (*OPEN, "dead"):
                self.close(sink, older, "superseded")

    def queue(self, sink: SinkModel, seq: int) -> None:
        """Behind everything of its lane that was recorded before."""
        before = [i for i, other in enumerate(sink.queue) if other < seq and self.lane(other) == self.lane(seq)]
        sink.queue.insert(before[-1] + 1 if before else 0, seq)

    def close(self, sink: SinkModel, seq: int, state: str) -> None:
        if seq in sink.queue:
            sink.queue.remove(seq)
        if state == "dead":
            sink.turns[seq].state = state
        else:
            sink.turns[seq].forget(state)

    def deliver(self, sink: SinkModel, entry: Entry, event: Any) -> None:
        if isinstance(event, SinkPaused):
            sink.paused, sink.until = event.kind, event.until
        elif isinstance(event, SinkResumed):
            sink.paused = sink.until = None
        elif isinstance(event, SinkRetired):
            sink.turns = {seq: turn for seq, turn in sink.turns.items() if turn.state not in OPEN}
            sink.queue, sink.retired, sink.paused, sink.until = [], True, None, None
        elif isinstance(event, RetryRequested | TurnSkipped):
            for ref in event.turns:
                self.decide(sink, ref.seq, retry=isinstance(event, RetryRequested))
        elif isinstance(event, SyncAttempted | SyncSucceeded | SyncFailed | DeliveryRevoked):
            for seq in event.turns:
                if seq in sink.turns:
                    self.turn_event(sink, seq, entry, event)

    def decide(self, sink: SinkModel, seq: int, *, retry: bool) -> None:
        turn = sink.turns.get(seq)
        if turn is None:
            return
        if turn.state == "attempting":
            if not retry:
                turn.after = turn.after or "skipped"
            elif turn.after == "skipped":
                turn.after = None
        elif retry and turn.state not in ("superseded", "pending"):
            doubt = (turn.doubtful, turn.after) if turn.doubtful and not turn.held else (False, None)
            if turn.after == "superseded" and not turn.doubtful | turn.held:
                raise AssertionError("only doubt keeps a turn whose place is taken")
            if turn.after == "superseded" and turn.held:
                self.close(sink, seq, "superseded")
                return
            if turn.state not in OPEN:
                self.queue(sink, seq)
            turn.forget("pending")
            turn.doubtful, turn.after = doubt
        elif not retry and turn.state in (*OPEN, "dead"):
            self.close(sink, seq, "skipped")

    def turn_event(self, sink: SinkModel, seq: int, entry: Entry, event: Any) -> None:
        turn = sink.turns[seq]
        if isinstance(event, SyncAttempted):
            if turn.state in OPEN:
                turn.state, turn.attempt = "attempting", entry.seq
        elif isinstance(event, DeliveryRevoked):
            if turn.state == "delivered":
                self.queue(sink, seq)
                turn.forget("pending")
        elif turn.attempt == event.attempt and isinstance(event, SyncSucceeded):
            self.close(sink, seq, "delivered")
            if sink.until is not None and sink.until <= entry.at:
                sink.paused = sink.until = None
        elif turn.attempt == event.attempt and turn.state == "attempting":
            self.fail(sink, seq, turn, event)

    def fail(self, sink: SinkModel, seq: int, turn: Turn, event: SyncFailed) -> None:
        was_doubtful, turn.held = turn.doubtful, event.hold
        if event.kind == "in_doubt":
            turn.doubts, turn.doubtful = turn.doubts + 1, True
        if event.kind in ("failed", "rejected") and not event.turns_max:
            turn.counted, turn.doubts = turn.counted + 1, 0
        says_nothing = not was_doubtful or event.kind in ("unavailable", "throttled", "unauthorized")
        if turn.after == "superseded" and turn.doubtful and says_nothing and not event.final:
            turn.state = "retrying"
        elif turn.after is not None:
            self.close(sink, seq, turn.after)
        elif event.final:
            self.close(sink, seq, "dead")
        else:
            blamed = turn.counted or turn.doubts or event.kind in ("failed", "rejected")
            turn.state = "retrying" if blamed else "pending"
