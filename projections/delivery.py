"""What has become of every turn at every sink, derived from the events alone.

For each turn that is owed to a sink, exactly one of seven states. The state of a (sink, turn) takes one byte, kept
for ever, so that `delivered` is certain and a late decision of the operator finds its turn; everything else (attempts,
errors, the order of a lane) is kept only for turns that are not finished.
"""

from collections.abc import Iterable
from datetime import datetime

from eventlog import Entry, SyncFailed, TurnRef
from projections import views
from projections.delivery_state import (
    ATTEMPTING,
    BLAMING_KINDS,
    DEAD,
    DELIVERED,
    NOT_OWED,
    OPEN,
    OPERATOR,
    PENDING,
    RETRYING,
    SINK_KINDS,
    SKIPPED,
    SUPERSEDED,
    UNDELIVERED,
    Buffer,
    Delivery,
    Failure,
    Pause,
    SinkState,
    Try,
)
from projections.fold import Fold


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
    """A revision takes the older one's place, but the sink is first asked for one that it may have already."""
    turns = state.turns
    older = turns.older.get(ordinal)
    if older is None:
        return
    tried = sink.tries.get(older)
    if sink.states[older] == ATTEMPTING:
        sink.tries[older].then = SUPERSEDED
    elif sink.states[older] in OPEN and tried is not None and tried.doubtful:
        _ask_and_supersede(tried)
    elif sink.states[older] in UNDELIVERED:
        sink.finish(older, SUPERSEDED, turns.lane_id(older))


def _ask_and_supersede(tried: Try) -> None:
    tried.then, tried.turns_max = SUPERSEDED, 1  # alone: what is sent of the revision depends on the answer


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
    sink.buffers.clear()
    sink.retired, sink.pause = True, None


def _sink_paused(state: Delivery, entry: Entry) -> None:
    event = entry.view(views.Paused)
    if sink := _sink(state, event.sink):
        same = sink.pause is not None and sink.pause.kind == event.kind
        since = sink.pause.since if sink.pause and same else entry.at
        sink.pause = Pause(event.kind, event.reason, since, event.until)
        sink.relapses += event.kind != OPERATOR


def _sink_resumed(state: Delivery, entry: Entry) -> None:
    if sink := _sink(state, entry.view(views.Resumed).sink):
        sink.pause = None


def _sync_attempted(state: Delivery, entry: Entry) -> None:
    event = entry.view(views.Attempted)
    sink = _sink(state, event.sink)
    if sink is None:
        return
    taken, moved = set(), None
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
        attempt.requests += 1
        sink.set_state(ordinal, ATTEMPTING)
        lane_id = state.turns.lane_id(ordinal)
        if lane_id != moved:
            sink.lanes[lane_id] = sink.lanes.pop(lane_id)  # to the end: the lane that waited longest goes first
            moved = lane_id
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
        sink.last_success_at, sink.relapses = event.at, 0
        if sink.pause and sink.pause.until and sink.pause.until <= event.at:  # it ended by itself
            sink.pause = None
        if event.buffered:
            _note_buffered(state, sink, ordinal, event)


def _note_buffered(state: Delivery, sink: SinkState, ordinal: int, event: views.Succeeded) -> None:
    """A turn waits in its user's buffer; the amount is that of all turns of the event, and counted with the last."""
    user = state.turns.lanes[state.turns.lane_id(ordinal)][1]
    buffer = sink.buffers[user] = sink.buffers.pop(user, Buffer(event.at))  # to the end: the quietest is first
    seq = state.turns.seqs[ordinal]
    buffer.at, buffer.up_to = event.at, max(buffer.up_to, seq)
    buffer.again = max(buffer.again, sink.again.get(ordinal, 0))
    if seq == event.turns[-1]:
        buffer.amount += event.buffered


def _sink_flushed(state: Delivery, entry: Entry) -> None:
    event = entry.view(views.Flushed)
    sink = _sink(state, event.sink)
    buffer = sink.buffers.get(event.user) if sink else None
    if sink is not None and buffer is not None and buffer.up_to <= event.up_to:
        del sink.buffers[event.user]


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
        was_doubtful = attempt.doubtful
        _note_failure(attempt, event, entry.at)
        lane_id = state.turns.lane_id(ordinal)
        is_answered = was_doubtful and event.kind not in SINK_KINDS
        if attempt.then == SUPERSEDED and attempt.doubtful and not is_answered and not event.final:
            _ask_and_supersede(attempt)
            sink.set_state(ordinal, RETRYING)
        elif attempt.then != NOT_OWED:
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
    attempt.held = event.hold
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
            _reopen_open(state, sink, ordinal, states)
        elif sink.states[ordinal] in states:
            lane_id = state.turns.lane_id(ordinal)
            if sink.states[ordinal] == DELIVERED:
                sink.again[ordinal] = sink.again.get(ordinal, 0) + 1
            doubt = _doubt(sink, ordinal)
            sink.finish(ordinal, NOT_OWED, lane_id)
            sink.reopen(ordinal, lane_id)
            sink.tries.update(doubt)
        else:
            state.anomalies["a turn was reopened that cannot be"] += 1


def _reopen_open(state: Delivery, sink: SinkState, ordinal: int, states: tuple[int, ...]) -> None:
    """A turn that still has its place keeps it: it forgets what failed, or that it was to be skipped."""
    if sink.states[ordinal] == RETRYING and RETRYING in states:
        doubt = _doubt(sink, ordinal)
        if sink.tries[ordinal].then == SUPERSEDED and not doubt:  # somebody decided that the sink has it not
            sink.finish(ordinal, SUPERSEDED, state.turns.lane_id(ordinal))
            return
        sink.set_state(ordinal, PENDING)
        del sink.tries[ordinal]
        sink.tries.update(doubt)
    elif sink.states[ordinal] == ATTEMPTING and sink.tries[ordinal].then in states:
        sink.tries[ordinal].then = NOT_OWED


def _doubt(sink: SinkState, ordinal: int) -> dict[int, Try]:
    """What is not forgotten of a turn that is to be sent again: that the sink may have it, unless somebody decided."""
    tried = sink.tries.get(ordinal)
    if tried is None or not tried.doubtful or tried.held:
        return {}
    return {ordinal: Try(requests=tried.requests, doubtful=True, turns_max=bool(tried.then), then=tried.then)}


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
    version=5,
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
        "SinkFlushed": _sink_flushed,
    },
    views=(
        views.Turn,
        views.Attempted,
        views.Succeeded,
        views.Failed,
        views.Revoked,
        views.Flushed,
        views.Enrolled,
        views.Retired,
        views.Paused,
        views.Resumed,
        views.Retried,
        views.Skipped,
    ),
)
"""The fold from events to `Delivery`."""
