"""Everything at once: turns, revisions, faults, outages, crashes, torn lines, operators, lost indexes, in any order.

At the end the faults stop and time goes on. Then every turn is at the sink, in its lane's order, once where that can be
had, unless a fault or an operator says otherwise; the laws hold; and no line of the log was ever touched.
"""

import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from eventlog import (
    DeliveryRevoked,
    Event,
    RetryRequested,
    SinkPaused,
    SinkResumed,
    SyncAttempted,
    SyncFailed,
    TurnRef,
    TurnSkipped,
)
from projections import OPERATOR, RetryPolicy, eligible
from turnlog.recorder import INDEX_NAME
from turnlog.sinks.base import Limits, OutgoingTurn
from turnlog.sync.outcomes import DEATHS_MAX
from turnlog.testing import (
    ALL,
    Fault,
    FaultySink,
    FindingFaultySink,
    failed,
    finished_lines,
    in_doubt,
    miscounted,
    raising,
    rejected,
    throttled,
    unauthorized,
    unavailable,
)

from .support import SINK, Bench, Crash

SINKS = {
    "plain": FaultySink,
    "idempotent": partial(FaultySink, idempotent=True),
    "asked": FindingFaultySink,
}
NOBODY_S = ("unavailable", "throttled", "unauthorized")

picks = st.integers(0, 99)
users, conversations = st.sampled_from(["ann", "bob"]), st.sampled_from("cd")
kept = st.sampled_from([ALL, 1, 0])
faults = st.sampled_from(
    [
        None,
        *[failed(), rejected(), miscounted(-1), miscounted(1), raising(ValueError("a bug"))],
        *[unavailable(), unauthorized(), throttled(), throttled(0), throttled(30)],
        *[in_doubt(taken=taken) for taken in (0, 1, ALL)] * 2,
        *[raising(Crash(), taken=taken) for taken in (0, 1, ALL)] * 2,
    ]
)


class DeliveryMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.bench: Bench | None = None
        self.ids: list[str] = []
        self.said: dict[str, str] = {}
        self.decided: Counter[int] = Counter()  # by seq, how often an operator had a say
        self.written: dict[Path, bytes] = {}

    @property
    def it(self) -> Bench:
        assert self.bench is not None
        return self.bench

    @property
    def sink(self) -> FaultySink:
        return self.it.sink

    @initialize(
        kind=st.sampled_from(["asked", "asked", "idempotent", "plain"]),
        connections=st.integers(1, 3),
        turns=st.sampled_from([1, 2, 5]),
        max_attempts=st.integers(1, 3),
    )
    def begin(self, kind: str, connections: int, turns: int, max_attempts: int) -> None:
        sink = SINKS[kind](connections=connections, limits=Limits(turns=turns))
        self.kind = kind
        self.bench = Bench(Path(self.folder.name), sink, policy=RetryPolicy(max_attempts, 2.0, 60.0))

    # What people say.

    @rule(user=users, conversation=conversations, count=st.integers(1, 3))
    def record(self, user: str, conversation: str, count: int) -> None:
        for _ in range(count):
            self.ids.append(f"{user}{conversation}{len(self.ids)}")
            self._say(self.ids[-1], "first")

    @precondition(lambda self: self.ids)
    @rule(pick=picks)
    def revise(self, pick: int) -> None:
        turn_id = self.ids[pick % len(self.ids)]
        assert self._say(turn_id, self.said[turn_id] + "+")

    @precondition(lambda self: self.ids)
    @rule(pick=picks)
    def say_again(self, pick: int) -> None:
        turn_id = self.ids[pick % len(self.ids)]
        assert not self._say(turn_id, self.said[turn_id])

    def _say(self, turn_id: str, text: str) -> bool:
        self.said[turn_id] = text
        return self.it.say(text, turn_id=turn_id, user=turn_id[:3], conversation=turn_id[3]).new

    # What goes wrong.

    @rule(next_faults=st.lists(faults, min_size=1, max_size=3), user=users, conversation=conversations)
    def deliver_and_meet(self, next_faults: Sequence[Fault | None], user: str, conversation: str) -> None:
        self.record(user, conversation, 2)
        self.sink.faults.extend(next_faults)
        self.deliver()

    @rule(taken=kept, user=users, conversation=conversations)
    def deliver_to_who_goes_away(self, taken: int, user: str, conversation: str) -> None:
        """The sink takes some of a request and is gone before it answers."""
        self.record(user, conversation, 1)

        def go_away(_: Sequence[OutgoingTurn]) -> Fault:
            self.sink.outage, self.sink.rule = unavailable(), lambda _: None
            return in_doubt(taken=taken)

        self.sink.faults.clear()
        self.sink.outage, self.sink.rule = None, go_away
        self.deliver()

    @rule(outage=st.sampled_from([None, None, None, unavailable(), unauthorized()]))
    def go_away_or_come_back(self, outage: Fault | None) -> None:
        self.sink.outage = outage

    @precondition(lambda self: self.ids)
    @rule(pick=picks, fault=st.sampled_from([failed(), rejected(), raising(Crash())]))
    def poison(self, pick: int, fault: Fault) -> None:
        turn_id = self.ids[pick % len(self.ids)]
        self.sink.rule = lambda turns: fault if any(turn.event.turn_id == turn_id for turn in turns) else None

    @rule(number=st.integers(1, 4))
    def crash_while_writing_down(self, number: int) -> None:
        """Die right after the so-many-th write of the engine, be it an attempt or an outcome."""
        left = [number]

        def listen(_: Sequence[Event]) -> None:
            left[0] -= 1
            if left[0] == 0:
                raise Crash

        self.it.listen = listen
        self.deliver()
        self.it.listen = lambda _: None

    @rule()
    def die_before_the_first_byte(self) -> None:
        state, bench = self.it.state, self.it
        for lane in eligible(state, state.sinks[SINK], bench.clock.now(), bench.policy):
            first = next(lane, None)
            if first is not None and not state.sinks[SINK].open_attempts:
                bench.append(SyncAttempted(sink=SINK, turns=(state.turns.seqs[first],)))
                return

    @rule(half=st.binary(max_size=30).filter(lambda half: b"\n" not in half))
    def die_in_the_middle_of_a_line(self, half: bytes) -> None:
        segment = sorted(self.it.log.folder.iterdir())[-1]
        finished = len(finished_lines(segment.read_bytes()))
        with segment.open("r+b") as file:
            file.seek(finished)
            file.write(b'{"crc":"' + half + b"x")

    # What else happens.

    @rule(seconds=st.sampled_from([0, 1, 100]))
    def deliver(self, seconds: float = 0) -> None:
        self.it.clock.advance(seconds)
        with suppress(Crash):
            self.it.run()

    @rule(lose_index=st.booleans())
    def reopen(self, lose_index: bool) -> None:
        self.it.close()
        if lose_index:
            for path in Path(self.folder.name).glob(f"{INDEX_NAME}*"):
                path.unlink()
        self.it.reopen()

    @precondition(lambda self: self.ids)
    @rule(pick=picks, kind=st.sampled_from([RetryRequested, TurnSkipped, DeliveryRevoked]))
    def decide(self, pick: int, kind: type[Event]) -> None:
        seqs = self.it.state.turns.seqs
        seq = seqs[pick % len(seqs)]
        self.decided[seq] += 1
        turns = (seq,) if kind is DeliveryRevoked else (TurnRef(seq=seq),)
        self.it.append(kind(sink=SINK, turns=turns))  # type: ignore[call-arg]

    @rule(pause=st.sampled_from([False, False, True]))
    def pause_or_resume(self, pause: bool) -> None:
        self.it.append(SinkPaused(sink=SINK, kind=OPERATOR) if pause else SinkResumed(sink=SINK))

    # What is always true.

    @invariant()
    def no_line_was_touched(self) -> None:
        """What was a whole line before is there now, byte for byte."""
        if self.bench is None:
            return
        for path, before in self.written.items():
            assert path.read_bytes().startswith(before)
        for path in self.it.log.folder.iterdir():
            self.written[path] = finished_lines(path.read_bytes())

    def teardown(self) -> None:
        try:
            if self.bench is not None:
                self._end_all_trouble()
                self._check_end()
                self.it.close()
        finally:
            self.folder.cleanup()

    def _end_all_trouble(self) -> None:
        self.sink.faults.clear()
        self.sink.outage, self.sink.rule = None, lambda _: None
        self.it.append(SinkResumed(sink=SINK))
        for _ in range(6):
            self.it.clock.advance(100_000)
            self.it.run()
        self.no_line_was_touched()

    def _check_end(self) -> None:
        bench = self.it
        bench.check()
        assert bench.log.verify().ok
        state, states = bench.state, bench.states()
        assert set(state.anomalies) <= {"a turn was reopened that cannot be"}
        assert set(states.values()) <= {"delivered", "dead", "skipped", "superseded"}
        taken = Counter(self.sink.taken)
        for seq, name in states.items():
            if name == "delivered":
                assert taken[seq] > 0
            elif name == "dead":
                assert seq in self._blamed()
            elif name == "skipped":
                assert self.decided[seq]
            if self.kind == "asked":
                assert taken[seq] <= 1 + self.decided[seq]
        if self.kind == "idempotent":
            self._check_stored(states)
        self._check_order(states)

    def _blamed(self) -> set[int]:
        """The turns that a fault was about, and those that were on their way when a worker died for the third time."""
        faults = [(request.seqs, request.fault) for request in self.sink.requests if request.fault is not None]
        refused = [seqs for seqs, fault in faults if fault.refused is None or fault.refused.kind not in NOBODY_S]
        deaths = Counter(seq for event in self.it.told(SyncFailed) if "died" in event.error for seq in event.turns)
        return {seq for seqs in refused for seq in seqs} | {seq for seq, count in deaths.items() if count > DEATHS_MAX}

    def _check_stored(self, states: dict[int, str]) -> None:
        """The backend has each turn once, with the content of the last revision that it was to have."""
        stored = {turn.event.turn_id: turn.seq for turn in self.sink.stored}
        assert len(stored) == len(self.sink.stored)
        turns = {e.seq: e.event.turn_id for e in self.it.log.read() if e.type == "TurnRecorded"}  # type: ignore[union-attr]
        for turn_id in self.ids:
            revisions = [seq for seq in turns if turns[seq] == turn_id]
            if not any(self.decided[seq] for seq in revisions) and states[revisions[-1]] == "delivered":
                assert stored[turn_id] == revisions[-1]

    def _check_order(self, states: dict[int, str]) -> None:
        """Turns that nobody revised, decided about or gave up arrived in the order in which they were recorded."""
        state = self.it.state
        plain = [
            ordinal
            for ordinal, seq in enumerate(state.turns.seqs)
            if states[seq] == "delivered" and not self.decided[seq] and ordinal not in state.turns.older
        ]
        for lane_id in range(len(state.turns.lanes)):
            lane = [state.turns.seqs[o] for o in plain if state.turns.lane_id(o) == lane_id]
            assert [seq for seq in dict.fromkeys(self.sink.taken) if seq in lane] == lane


TestDelivery = DeliveryMachine.TestCase
TestDelivery.settings = settings(stateful_step_count=30)
