"""Hypothesis strategies for whole logs, as lists of entries that went through the codec.

`logs` are those that Turnlog itself could have written: turns and their revisions, attempts of what was eligible,
outcomes of every kind with the decisions of the policy, crashes, pauses, operators at work. `wild_logs` hold anything
in any order, also what no version writes.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import msgspec
from hypothesis import strategies as st

from eventlog import (
    EVENT_TYPES,
    DeliveryRevoked,
    Entry,
    Event,
    LineQuarantined,
    Message,
    RetryRequested,
    SegmentOpened,
    SinkEnrolled,
    SinkFlushed,
    SinkPaused,
    SinkResumed,
    SinkRetired,
    SourceAdvanced,
    SyncAttempted,
    SyncFailed,
    SyncSucceeded,
    TurnRecorded,
    TurnRef,
    TurnSkipped,
)
from eventlog.codec import Encoded, decode_line, encode_event, frame
from eventlog.segments import without_blanks
from projections import DELIVERY, Delivery, RetryDecision, RetryPolicy, SinkState, Try, decide, eligible, is_open
from projections.delivery_state import ATTEMPTING, DEAD, DELIVERED, PENDING, RETRYING, SINK_KINDS, SKIPPED, UNDELIVERED
from turnlog.testing.clock import START
from turnlog.testing.strategies import (
    CONVERSATIONS,
    SINKS,
    SOURCES,
    USERS,
    attempts,
    decisions,
    events,
    json_values,
    make_entry,
    names,
    outcomes,
    short_turns,
)

Draw = Callable[[st.SearchStrategy[Any]], Any]

_DECIDED = {
    RetryRequested: (PENDING, ATTEMPTING, RETRYING, DELIVERED, DEAD, SKIPPED),
    TurnSkipped: (*UNDELIVERED, SKIPPED),
    DeliveryRevoked: (DELIVERED,),
}
"""The states in which turns are when it makes sense to decide so."""

_ANSWERS = ("delivered", "delivered", "delivered", "failed", "rejected", "in_doubt", *SINK_KINDS)


class _Story:
    """A log that is being made up: what stands in it, what that means, and what time it is."""

    def __init__(self, draw: Draw, policy: RetryPolicy) -> None:
        self.draw = draw
        self.policy = policy
        self.entries: list[Entry] = []
        self.state = Delivery()
        self.now = START
        self.latest: dict[str, tuple[int, TurnRecorded]] = {}  # by turn_id: the seq of its last revision

    @property
    def next_seq(self) -> int:
        return len(self.entries) + 1

    def write(self, *events: Event) -> None:
        for event in events:
            entry = make_entry(event, seq=self.next_seq, at=self.now)
            DELIVERY.apply(self.state, entry)
            self.entries.append(entry)
            self.now += timedelta(microseconds=self.draw(st.integers(0, 2)) * 1000)

    def one_of(self, values: Sequence[Any]) -> Any:
        return self.draw(st.sampled_from(values)) if values else None

    def a_sink(self) -> SinkState | None:
        """One that turns are owed to."""
        chosen: SinkState | None = self.one_of([sink for sink in self.state.sinks.values() if not sink.retired])
        return chosen

    def some_turns(self, sink: SinkState, states: Sequence[int]) -> list[int]:
        """The seqs of one to three turns that are in one of these states at the sink."""
        seqs = [self.state.turns.seqs[o] for o in sink.ordinals(states)]
        return self.draw(st.lists(st.sampled_from(seqs), min_size=1, max_size=3, unique=True)) if seqs else []


def _record(story: _Story) -> None:
    turn = TurnRecorded(
        turn_id=f"t{story.next_seq}",
        source=story.one_of(SOURCES),
        user=story.one_of(USERS),
        conversation=story.one_of(CONVERSATIONS),
        delivered_to=story.one_of([(), (), (), SINKS[:1], SINKS]),
        messages=(Message("user", "hi"),),
    )
    story.latest[turn.turn_id] = (story.next_seq, turn)
    story.write(turn)


def _revise(story: _Story) -> None:
    turn_id = story.one_of(sorted(story.latest))
    if turn_id is None:
        return
    seq, turn = story.latest[turn_id]
    moved = story.one_of([turn.conversation] * 3 + list(CONVERSATIONS))
    revised = msgspec.structs.replace(
        turn, revision=turn.revision + 1, supersedes=seq, conversation=moved, delivered_to=()
    )
    story.latest[turn_id] = (story.next_seq, revised)
    story.write(revised)


def _enrol(story: _Story) -> None:
    known = [name for name, sink in story.state.sinks.items() if not sink.retired]
    name = story.one_of([name for name in SINKS if name not in known])
    if name is not None:
        since = story.one_of([1, 1, story.next_seq, max(1, story.next_seq // 2)])
        story.write(SinkEnrolled(sink=name, kind="faulty", since_seq=since))


def _attempt(story: _Story) -> None:
    sink = story.one_of([sink for sink in story.state.sinks.values() if sink.lanes and is_open(sink, story.now)])
    if sink is None:
        return
    lanes = [list(lane) for lane in eligible(story.state, sink, story.now, story.policy)]
    lanes = [lane for lane in lanes if lane]
    chosen: list[int] = []
    for lane in lanes[: story.draw(st.integers(1, 2))]:
        for ordinal in lane[: story.draw(st.integers(1, 3))]:
            if len(chosen) >= _room(sink, [*chosen, ordinal]):
                break
            chosen.append(ordinal)
    if chosen:
        seqs = tuple(story.state.turns.seqs[o] for o in chosen)
        story.write(SyncAttempted(sink=sink.name, turns=seqs, worker="w"))


def _room(sink: SinkState, ordinals: Sequence[int]) -> int:
    limits = [sink.tries[o].turns_max for o in ordinals if o in sink.tries and sink.tries[o].turns_max]
    return min(limits, default=len(ordinals))


def _answer(story: _Story) -> None:
    """One request ends: with one answer for all, one for each, or, in a crash, with none for some."""
    sink = story.one_of([sink for sink in story.state.sinks.values() if sink.open_attempts])
    if sink is None:
        return
    attempt = story.one_of(sorted(sink.open_attempts))
    ordinals = sorted(sink.open_attempts[attempt])
    if story.draw(st.booleans()):
        answers = dict.fromkeys(ordinals, story.one_of(_ANSWERS))
    else:
        answers = {o: story.one_of(["delivered", "rejected", "failed", "silence"]) for o in ordinals}
    alone = len(ordinals) == 1 or len(set(answers.values())) > 1
    told: dict[tuple[str, RetryDecision], list[int]] = {}
    for ordinal, answer in answers.items():
        kind = _judge(story, answer, sink.tries[ordinal])
        attempts = sink.tries[ordinal].attempts
        decision = decide(story.policy, kind, alone=alone, turns=len(ordinals), attempts=attempts)
        told.setdefault((kind, decision), []).append(story.state.turns.seqs[ordinal])
    _tell(story, sink, attempt, told)


def _judge(story: _Story, answer: str, attempt: Try) -> str:
    """Doubt that repeats is a failure: the second time after an answer, the third after a death."""
    return "failed" if answer == "in_doubt" and attempt.doubts >= story.draw(st.integers(1, 2)) else answer


def _tell(story: _Story, sink: SinkState, attempt: int, told: dict[tuple[str, RetryDecision], list[int]]) -> None:
    for (kind, decision), turns in told.items():
        seqs = tuple(turns)
        if kind == "delivered":
            reconciled = story.draw(st.booleans())
            buffered = story.one_of([0, 7])
            story.write(
                SyncSucceeded(attempt=attempt, sink=sink.name, turns=seqs, reconciled=reconciled, buffered=buffered)
            )
        elif kind != "silence":
            fields = msgspec.structs.asdict(decision)
            wait = story.one_of([None, 3.0]) if kind == "failed" else None
            fields["hold"] = kind == "in_doubt" and story.draw(st.booleans())
            story.write(SyncFailed(attempt=attempt, sink=sink.name, turns=seqs, kind=kind, retry_after=wait, **fields))
    refused = next((kind for kind, _ in told if kind in SINK_KINDS), None)
    if refused and (sink.pause is None or sink.pause.until is not None):
        until = story.now + timedelta(seconds=story.draw(st.integers(1, 60))) if refused == "throttled" else None
        story.write(SinkPaused(sink=sink.name, kind=refused, until=until))


def _flush(story: _Story) -> None:
    buffers = [(sink.name, user, it) for sink in story.state.sinks.values() for user, it in sink.buffers.items()]
    chosen = story.one_of(buffers)
    if chosen is not None:
        story.write(SinkFlushed(sink=chosen[0], user=chosen[1], up_to=chosen[2].up_to))


def _resume(story: _Story) -> None:
    sink = story.one_of([sink for sink in story.state.sinks.values() if sink.pause is not None])
    if sink is not None:
        story.write(SinkResumed(sink=sink.name))


def _pause(story: _Story) -> None:
    sink = story.a_sink()
    if sink is not None:
        story.write(SinkPaused(sink=sink.name, kind="operator"))


def _decide(story: _Story) -> None:
    """The operator wants turns again, or not at all; or the sink lost some."""
    kind = story.one_of([RetryRequested, TurnSkipped, DeliveryRevoked])
    sink = story.a_sink()
    seqs = story.some_turns(sink, _DECIDED[kind]) if sink else []
    if sink is None or not seqs:
        return
    turns: tuple[Any, ...] = tuple(seqs) if kind is DeliveryRevoked else tuple(TurnRef(seq=seq) for seq in seqs)
    story.write(kind(sink=sink.name, turns=turns))


def _retire(story: _Story) -> None:
    sink = story.a_sink()
    if sink is not None and story.draw(st.integers(0, 2)) == 2:
        story.write(SinkRetired(sink=sink.name))


def _note(story: _Story) -> None:
    advanced = SourceAdvanced(source="live", stream="s", cursor=story.next_seq)
    quarantined = LineQuarantined(source="live", stream="s", position="line 1", reason="no JSON")
    story.write(story.one_of([advanced, quarantined]))


def _wait(story: _Story) -> None:
    story.now += timedelta(seconds=story.one_of([0.5, 5, 1000]))


_STEPS = [
    *[_record] * 8,
    *[_attempt] * 12,
    *[_answer] * 12,
    *[_wait, _revise, _resume] * 4,
    *[_decide, _flush] * 3,
    *[_enrol, _pause, _retire, _note],
]


def _lists(items: st.SearchStrategy[Any], size_max: int) -> st.SearchStrategy[list[Any]]:
    """Lists of any length up to `size_max`; by itself hypothesis prefers short ones, in which little can happen."""
    sizes = st.sampled_from([0, size_max // 3, 2 * size_max // 3])
    return sizes.flatmap(lambda size: st.lists(items, min_size=size, max_size=size_max))


@st.composite
def logs(draw: Draw, policy: RetryPolicy = RetryPolicy(max_attempts=3), *, steps_max: int = 40) -> list[Entry]:  # noqa: B008 - frozen
    """Logs that Turnlog could have written with this policy, from their first line on."""
    story = _Story(draw, policy)
    story.write(SegmentOpened(format=1), SinkEnrolled(sink=SINKS[0], kind="faulty"))
    for step in draw(_lists(st.sampled_from(_STEPS), steps_max)):
        step(story)
    return story.entries


_field_names = st.sampled_from(["sink", "turns", "turn_id", "attempt", "kind", "messages", "source", "supersedes"])
_tags = st.sampled_from(sorted(EVENT_TYPES)) | st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,8}", fullmatch=True)
_sinks, _numbers, _AIMED = st.sampled_from(SINKS), st.integers(0, 11), 10
_kinds = {
    "turn": short_turns(),
    "attempt": attempts(sinks=_sinks, seqs=_numbers),
    "outcome": outcomes(sinks=_sinks, seqs=_numbers),
    "enrolment": st.builds(SinkEnrolled, sink=_sinks),
    "decision": decisions(sinks=_sinks, seqs=_numbers),
    "any": events(),
}
_choices = ["turn"] * 6 + ["attempt"] * 5 + ["outcome"] * 6 + ["decision"] * 3 + ["enrolment"] * 2 + ["any", "broken"]
_broken = st.dictionaries(_field_names | names, json_values(), max_size=4)


def _aim(number: int, seqs: Sequence[int]) -> int:
    """The seq that a small number means, counted from the last one back and round; a larger one means itself."""
    return seqs[-1 - number % len(seqs)] if seqs and number < _AIMED else number


def _aimed(event: Event, entries: Sequence[Entry]) -> Event:
    """The event with most of its numbers made seqs of turns and attempts that are there, or it would rarely matter."""
    turns = [entry.seq for entry in entries if entry.type == "TurnRecorded"]
    if isinstance(event, SyncSucceeded | SyncFailed):
        return _aimed_at_attempt(event, [entry for entry in entries if isinstance(entry.event, SyncAttempted)])
    changes: dict[str, Any] = {}
    if isinstance(event, SyncAttempted | DeliveryRevoked):
        changes["turns"] = tuple(_aim(number, turns) for number in event.turns)
    if isinstance(event, RetryRequested | TurnSkipped):
        changes["turns"] = tuple(TurnRef(seq=_aim(ref.seq, turns)) for ref in event.turns)
    if isinstance(event, TurnRecorded) and event.supersedes is not None:
        changes["supersedes"] = _aim(event.supersedes, turns)
    return msgspec.structs.replace(event, **changes)


def _aimed_at_attempt(event: SyncSucceeded | SyncFailed, attempts: Sequence[Entry]) -> Event:
    """An outcome of one of the last attempts, of turns that were in it, at its sink; or of anything, as drawn."""
    if not attempts or event.attempt >= _AIMED:
        return event
    entry = attempts[-1 - event.attempt % min(len(attempts), 3)]
    attempted = entry.view(SyncAttempted)
    turns = tuple(_aim(number, attempted.turns) for number in event.turns)
    return msgspec.structs.replace(event, attempt=entry.seq, sink=attempted.sink, turns=turns)


def _a_line(draw: Draw, entries: Sequence[Entry]) -> Encoded:
    """An encoded event: mostly one that moves deliveries, now and then one that is none."""
    choice = draw(st.sampled_from(_choices))
    if choice == "broken":
        tag = draw(_tags)
        return (tag, msgspec.json.encode({"type": tag, **draw(_broken)}))
    event = _aimed(draw(_kinds[choice]), entries)
    return encode_event(event)


@st.composite
def wild_logs(draw: Draw, *, lines_max: int = 40) -> list[Entry]:
    """Anything in any order: outcomes without attempts, unknown types, broken events, missing seqs, jumping clocks."""
    entries: list[Entry] = []
    seq, now = draw(st.integers(0, 2)), START
    if draw(st.integers(0, 3)):
        seq += 1
        entries.append(make_entry(SinkEnrolled(sink=SINKS[0]), seq=seq))
    for step in draw(_lists(st.sampled_from([1, 1, 1, 1, 1, 3]), lines_max)):
        seq, now = seq + step, now + timedelta(seconds=draw(st.integers(-5, 100)))
        entry = decode_line(frame((_a_line(draw, entries),), seq, now)[:-1])
        if entry is not None:  # a field of a broken event may be called `at` or `seq`
            entries.append(entry)
    return entries


def finished_lines(segment: bytes) -> bytes:
    """Those bytes of a segment that nobody may ever change: all but blanks, and a line that a crash cut short."""
    text = without_blanks(segment)
    begin = text.rfind(b"\n") + 1
    return segment[: begin if decode_line(text[begin:]) is None else len(text) + 1]
