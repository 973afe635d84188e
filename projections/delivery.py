"""What has become of every turn at every sink, derived from the events alone.

For each turn that is owed to a sink, exactly one of seven states. The state of a (sink, turn) takes one byte, kept
for ever, so that `delivered` is certain and a late decision of the operator finds its turn; everything else (attempts,
errors, the order of a lane) is kept only for turns that are not finished.
"""

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from msgspec import Struct

from eventlog import Entry, SyncFailed, TurnRef
from projections import views
from projections.fold import Fold
from projections.turns import Turns

NOT_OWED, PENDING, ATTEMPTING, RETRYING, DELIVERED, DEAD, SKIPPED, SUPERSEDED = range(8)

STATE_NAMES = (
    "not_owed",
    "pending",
    "attempting",
    "retrying",
    "delivered",
    "dead",
    "skipped",
    "superseded",
)
"""The names of the states by number; `not_owed` is out of scope and no state of a turn."""

OPEN = (PENDING, ATTEMPTING, RETRYING)
"""The states in which a turn keeps its place in its lane."""

UNDELIVERED = (PENDING, ATTEMPTING, RETRYING, DEAD)
"""The states that somebody may have to look at."""

BLAMING_KINDS = ("failed", "rejected")
"""The kinds of failure that count against a turn; the others blame the sink or nobody."""


class Failure(Struct):
    """Why a turn is not delivered, as the last failed attempt told."""

    kind: str
    status: int | None
    message: str


class Try(Struct):
    """What happened to an unfinished or dead turn at a sink so far.

    `attempts` are the counted ones, `doubts` how often in a row nobody knew the outcome, `attempt` the seq of the
    last SyncAttempted. `counted` says whether the last failure was one of `attempts`: only then is there a backoff.
    `doubtful` says that the sink may have the turn, because the outcome of an attempt was unknown. `turns_max` above
    0 limits the next request that it is sent in. `then` is the state that an attempt under way ends in if it fails.
    """

    attempts: int = 0
    doubts: int = 0
    doubtful: bool = False
    attempt: int = 0
    counted: bool = False
    failed_at: datetime | None = None
    retry_after: float = 0.0
    error: Failure | None = None
    turns_max: int = 0
    then: int = NOT_OWED


class Pause(Struct):
    """A sink takes nothing: since when and why; with `until` the pause ends by itself."""

    kind: str
    reason: str
    since: datetime
    until: datetime | None = None


@dataclass
class SinkState:
    """Everything about one sink."""

    name: str
    kind: str = ""
    since_seq: int = 1
    retired: bool = False
    states: bytearray = field(default_factory=bytearray)
    counts: list[int] = field(default_factory=lambda: [0] * len(STATE_NAMES))
    lanes: dict[int, deque[int]] = field(default_factory=dict)
    tries: dict[int, Try] = field(default_factory=dict)
    open_attempts: dict[int, set[int]] = field(default_factory=dict)
    pause: Pause | None = None
    last_success_at: datetime | None = None

    def set_state(self, ordinal: int, state: int) -> None:
        """Move a turn to another state and keep the counts."""
        self.counts[self.states[ordinal]] -= 1
        self.counts[state] += 1
        self.states[ordinal] = state

    def finish(self, ordinal: int, state: int, lane_id: int) -> None:
        """Move a turn to a state in which its lane goes on without it."""
        lane = self.lanes.get(lane_id)
        if lane is not None and self.states[ordinal] in OPEN:
            if lane[0] == ordinal:
                lane.popleft()
            else:
                lane.remove(ordinal)
            if not lane:
                del self.lanes[lane_id]
        self.set_state(ordinal, state)
        if state != DEAD:
            self.tries.pop(ordinal, None)

    def owe(self, ordinal: int, lane_id: int) -> None:
        """Owe a turn that has just come to be, as the last of its lane."""
        self.states.append(PENDING)
        self.counts[PENDING] += 1
        lane = self.lanes.get(lane_id)
        if lane is None:
            self.lanes[lane_id] = deque((ordinal,))
        else:
            lane.append(ordinal)

    def reopen(self, ordinal: int, lane_id: int, *, behind: int | None = None) -> None:
        """Owe a turn: at its place in the lane, or right behind another that is open."""
        lane = self.lanes.setdefault(lane_id, deque())
        if behind is not None and behind in lane:
            lane.insert(lane.index(behind) + 1, ordinal)
        elif not lane or lane[-1] < ordinal:
            lane.append(ordinal)
        else:  # behind all that is older: a revision may stand before what is older than itself
            younger = next((i for i, other in enumerate(reversed(lane)) if other < ordinal), len(lane))
            lane.insert(len(lane) - younger, ordinal)
        self.tries.pop(ordinal, None)
        self.set_state(ordinal, PENDING)

    def ordinals(self, states: Iterable[int]) -> Iterator[int]:
        """The turns in one of these states, oldest first."""
        wanted = bytes(states)
        return (ordinal for ordinal, state in enumerate(self.states) if state in wanted)

    def totals(self) -> dict[str, int]:
        """How many turns are in each of the seven states."""
        return dict(zip(STATE_NAMES[1:], self.counts[1:], strict=True))


@dataclass
class Delivery:
    """The state of all deliveries; `anomalies` counts events that make no sense where they stand, by what they are."""

    last_seq: int = 0
    turns: Turns = field(default_factory=Turns)
    sinks: dict[str, SinkState] = field(default_factory=dict)
    anomalies: Counter[str] = field(default_factory=Counter)

    def turn_state(self, sink: str, seq: int) -> str:
        """The name of a turn's state at a sink; `not_owed` if it has none there."""
        ordinal, state = self.turns.ordinal(seq), self.sinks.get(sink)
        return STATE_NAMES[state.states[ordinal] if state and ordinal is not None else NOT_OWED]


def _turn_recorded(state: Delivery, entry: Entry) -> None:
    turn = entry.view(views.Turn)
    ordinal = state.turns.add(entry.seq, turn)
    plain = turn.supersedes is None and not turn.delivered_to
    for sink in state.sinks.values():
        if sink.retired or entry.seq < sink.since_seq:
            sink.states.append(NOT_OWED)
            sink.counts[NOT_OWED] += 1
        elif plain:
            sink.owe(ordinal, state.turns.lane_id(ordinal))
        else:
            sink.states.append(NOT_OWED)
            sink.counts[NOT_OWED] += 1
            _owe(state, sink, ordinal)


def _owe(state: Delivery, sink: SinkState, ordinal: int) -> None:
    """A turn comes into a sink's scope; as a revision it takes the place of one that is not finished."""
    turns = state.turns
    lane_id, older = turns.lane_id(ordinal), turns.older.get(ordinal)
    if sink.name in turns.had_by(ordinal):
        sink.set_state(ordinal, DELIVERED)
    else:
        same_lane = older is not None and turns.lane_id(older) == lane_id
        sink.reopen(ordinal, lane_id, behind=older if same_lane else None)
    _supersede_older(state, sink, ordinal)


def _supersede_older(state: Delivery, sink: SinkState, ordinal: int) -> None:
    turns = state.turns
    older = turns.older.get(ordinal)
    if older is None:
        return
    if sink.states[older] == ATTEMPTING:
        sink.tries[older].then = SUPERSEDED
    elif sink.states[older] in UNDELIVERED:
        sink.finish(older, SUPERSEDED, turns.lane_id(older))


def _sink_enrolled(state: Delivery, entry: Entry) -> None:
    event = entry.view(views.Enrolled)
    sink = state.sinks.get(event.sink)
    if sink is None:
        count = len(state.turns)
        sink = state.sinks[event.sink] = SinkState(event.sink, states=bytearray(count))
        sink.counts[NOT_OWED] = count
    elif not sink.retired:
        state.anomalies["a sink was enrolled twice"] += 1
        return
    sink.kind, sink.since_seq, sink.retired = event.kind, event.since_seq, False
    for ordinal in state.turns.since(event.since_seq):
        if sink.states[ordinal] == NOT_OWED:
            _owe(state, sink, ordinal)
        else:  # known from before it was retired; an older revision may only now come into scope
            _supersede_older(state, sink, ordinal)


def _sink_retired(state: Delivery, entry: Entry) -> None:
    """Nothing is owed any longer: what was open leaves the scope, what was finished stays known."""
    sink = _sink(state, entry.view(views.Retired).sink)
    if sink is None:
        return
    for ordinal in list(sink.ordinals(OPEN)):
        sink.finish(ordinal, NOT_OWED, state.turns.lane_id(ordinal))
    sink.open_attempts.clear()
    sink.retired, sink.pause = True, None


def _sink_paused(state: Delivery, entry: Entry) -> None:
    event = entry.view(views.Paused)
    if sink := _sink(state, event.sink):
        same = sink.pause is not None and sink.pause.kind == event.kind
        since = sink.pause.since if sink.pause and same else entry.at
        sink.pause = Pause(event.kind, event.reason, since, event.until)


def _sink_resumed(state: Delivery, entry: Entry) -> None:
    if sink := _sink(state, entry.view(views.Resumed).sink):
        sink.pause = None


def _sync_attempted(state: Delivery, entry: Entry) -> None:
    event = entry.view(views.Attempted)
    sink = _sink(state, event.sink)
    if sink is None:
        return
    taken = set()
    for ordinal in _owed(state, sink, event.turns):
        was = sink.states[ordinal]
        if was not in OPEN:
            state.anomalies["a finished turn was attempted"] += 1
            continue
        attempt = sink.tries.get(ordinal)
        if attempt is None:
            attempt = sink.tries[ordinal] = Try()
        elif was == ATTEMPTING:
            state.anomalies["a turn was attempted while another attempt was open"] += 1
            _close_attempt(sink, attempt.attempt, ordinal)
        attempt.attempt = entry.seq
        sink.set_state(ordinal, ATTEMPTING)
        lane_id = state.turns.lane_id(ordinal)
        sink.lanes[lane_id] = sink.lanes.pop(lane_id)  # to the end: the lane that waited longest goes first
        taken.add(ordinal)
    if taken:
        sink.open_attempts[entry.seq] = taken


def _sync_succeeded(state: Delivery, entry: Entry) -> None:
    event = entry.view(views.Succeeded)
    sink = _sink(state, event.sink)
    if sink is None:
        return
    for ordinal in _owed(state, sink, event.turns):
        attempt = sink.tries.get(ordinal)
        if attempt is None or attempt.attempt != event.attempt:
            state.anomalies["a success without its attempt"] += 1
            continue
        _close_attempt(sink, event.attempt, ordinal)
        sink.finish(ordinal, DELIVERED, state.turns.lane_id(ordinal))
        sink.last_success_at = entry.at
        if sink.pause and sink.pause.until and sink.pause.until <= entry.at:  # it ended by itself
            sink.pause = None


def _sync_failed(state: Delivery, entry: Entry) -> None:
    event = entry.view(views.Failed)
    sink = _sink(state, event.sink)
    if sink is None:
        return
    for ordinal in _owed(state, sink, event.turns):
        attempt = sink.tries.get(ordinal)
        if attempt is None or attempt.attempt != event.attempt or sink.states[ordinal] != ATTEMPTING:
            state.anomalies["a failure without its attempt"] += 1
            continue
        _close_attempt(sink, event.attempt, ordinal)
        _note_failure(attempt, event, entry.at)
        lane_id = state.turns.lane_id(ordinal)
        if attempt.then != NOT_OWED:
            sink.finish(ordinal, attempt.then, lane_id)
        elif event.final:
            sink.finish(ordinal, DEAD, lane_id)
        else:
            blamed = attempt.attempts or attempt.doubts or event.kind in BLAMING_KINDS
            sink.set_state(ordinal, RETRYING if blamed else PENDING)


def is_counted(event: SyncFailed | views.Failed) -> bool:
    """Whether a failure counts against the turns: not if the sink is to blame, nor while a request is being halved."""
    return event.kind in BLAMING_KINDS and not event.turns_max


def _note_failure(attempt: Try, event: views.Failed, at: datetime) -> None:
    attempt.failed_at, attempt.retry_after = at, event.retry_after or 0.0
    attempt.error = Failure(event.kind, event.status, event.error)
    if event.kind == "in_doubt":
        attempt.doubts += 1
        attempt.doubtful = True
    if event.turns_max:
        attempt.turns_max = event.turns_max
    attempt.counted = is_counted(event)
    if attempt.counted:
        attempt.attempts += 1
        attempt.doubts = 0


def _retry_requested(state: Delivery, entry: Entry) -> None:
    event = entry.view(views.Retried)
    _reopen(state, event.sink, _seqs(event.turns), (RETRYING, DELIVERED, DEAD, SKIPPED))


def _delivery_revoked(state: Delivery, entry: Entry) -> None:
    event = entry.view(views.Revoked)
    _reopen(state, event.sink, event.turns, (DELIVERED,))


def _reopen(state: Delivery, name: str, seqs: Iterable[int], states: tuple[int, ...]) -> None:
    sink = _sink(state, name)
    if sink is None:
        return
    for ordinal in _owed(state, sink, seqs):
        if sink.states[ordinal] in OPEN:
            _reopen_open(sink, ordinal, states)
        elif sink.states[ordinal] in states:
            lane_id = state.turns.lane_id(ordinal)
            sink.finish(ordinal, NOT_OWED, lane_id)
            sink.reopen(ordinal, lane_id)
        else:
            state.anomalies["a turn was reopened that cannot be"] += 1


def _reopen_open(sink: SinkState, ordinal: int, states: tuple[int, ...]) -> None:
    """A turn that still has its place keeps it: it forgets what failed, or that it was to be skipped."""
    if sink.states[ordinal] == RETRYING and RETRYING in states:
        sink.set_state(ordinal, PENDING)
        del sink.tries[ordinal]
    elif sink.states[ordinal] == ATTEMPTING and sink.tries[ordinal].then in states:
        sink.tries[ordinal].then = NOT_OWED


def _turn_skipped(state: Delivery, entry: Entry) -> None:
    event = entry.view(views.Skipped)
    sink = _sink(state, event.sink)
    if sink is None:
        return
    for ordinal in _owed(state, sink, _seqs(event.turns)):
        if sink.states[ordinal] == ATTEMPTING:
            sink.tries[ordinal].then = sink.tries[ordinal].then or SKIPPED  # a revision took its place already
        elif sink.states[ordinal] in UNDELIVERED:
            sink.finish(ordinal, SKIPPED, state.turns.lane_id(ordinal))


def _seqs(refs: Iterable[TurnRef]) -> list[int]:
    return [ref.seq for ref in refs]


def _sink(state: Delivery, name: str) -> SinkState | None:
    sink = state.sinks.get(name)
    if sink is None or sink.retired:
        state.anomalies["an event for a sink that is not enrolled"] += 1
        return None
    return sink


def _owed(state: Delivery, sink: SinkState, seqs: Iterable[int]) -> list[int]:
    """The turns with these seqs that are in the sink's scope; others are anomalies."""
    find, states, owed = state.turns.ordinal, sink.states, []
    for seq in seqs:
        ordinal = find(seq)
        if ordinal is None or states[ordinal] == NOT_OWED:
            state.anomalies["an event for a turn that is not owed"] += 1
        else:
            owed.append(ordinal)
    return owed


def _close_attempt(sink: SinkState, attempt: int, ordinal: int) -> None:
    turns = sink.open_attempts.get(attempt)
    if turns is not None:
        turns.discard(ordinal)
        if not turns:
            del sink.open_attempts[attempt]


DELIVERY: Fold[Delivery] = Fold(
    name="delivery",
    version=1,
    initial=Delivery,
    handlers={
        "TurnRecorded": _turn_recorded,
        "SinkEnrolled": _sink_enrolled,
        "SinkRetired": _sink_retired,
        "SinkPaused": _sink_paused,
        "SinkResumed": _sink_resumed,
        "SyncAttempted": _sync_attempted,
        "SyncSucceeded": _sync_succeeded,
        "SyncFailed": _sync_failed,
        "RetryRequested": _retry_requested,
        "TurnSkipped": _turn_skipped,
        "DeliveryRevoked": _delivery_revoked,
    },
    views=(
        views.Turn,
        views.Attempted,
        views.Succeeded,
        views.Failed,
        views.Revoked,
        views.Enrolled,
        views.Retired,
        views.Paused,
        views.Resumed,
        views.Retried,
        views.Skipped,
    ),
)
"""The fold from events to `Delivery`."""
