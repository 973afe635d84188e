"""The engine with one sink: what is sent, when, in which order, and when it stops."""

import threading
from collections.abc import Sequence
from contextlib import closing
from itertools import count
from typing import Any

import pytest

from eventlog import (
    DeliveryRevoked,
    Entry,
    Event,
    EventLog,
    RetryRequested,
    SinkEnrolled,
    SinkFlushed,
    SinkRetired,
    SyncAttempted,
    SyncFailed,
    SyncSucceeded,
    TurnRef,
    TurnSkipped,
)
from eventlog.codec import encode_line
from eventlog.segments import without_blanks
from projections import Fold
from turnlog.sinks.base import Limits, OutgoingTurn
from turnlog.sync.counts import SyncCounts
from turnlog.testing import (
    Fault,
    FaultySink,
    failed,
    in_doubt,
    rejected,
    unavailable,
)

from .conftest import Make
from .support import SINK, Bench, poison


def test_everything_is_delivered_in_order(bench: Bench) -> None:
    """All turns of a lane in the order of their seqs, each once, and the counts say so."""
    seqs = bench.record(5)
    assert bench.run() == SyncCounts(delivered=5)
    assert bench.sink.taken == seqs
    assert set(bench.states().values()) == {"delivered"}
    assert bench.run() == SyncCounts()
    assert len(bench.sink.requests) == 1


def test_an_attempt_is_in_the_log_before_its_first_byte(bench: Bench) -> None:
    """When the sink is called, the log on disk has the SyncAttempted with exactly these turns."""
    seqs = bench.record(3)
    seen: list[tuple[int, ...]] = []

    def look(turns: object) -> None:
        log = EventLog.open(bench.directory, read_only=True)
        seen.extend(entry.event.turns for entry in log.read() if isinstance(entry.event, SyncAttempted))

    bench.sink.meanwhile = look
    bench.run()
    assert seen == [tuple(seqs)]


def test_nothing_is_done_for_a_sink_that_is_not_enrolled_or_retired(bench: Bench) -> None:
    """The log decides what is owed: without enrolment nothing is asked of the sink."""
    bench.record(2)
    bench.append(SinkRetired(sink=SINK))
    assert bench.run() == SyncCounts()
    assert (bench.sink.requests, bench.sink.checks) == ([], 0)


def test_receipts_are_kept_by_turn(bench: Bench) -> None:
    """Each turn's proof can be found in the event; of an outage nobody has one."""
    seqs = bench.record(2)
    bench.run()
    (event,) = bench.told(SyncSucceeded)
    assert event.receipt == {str(seqs[0]): {"number": 1}, str(seqs[1]): {"number": 2}}


def test_an_engine_may_run_again(bench: Bench) -> None:
    """Each run takes in what is new, whoever wrote it, and its counts are its own."""
    engine = bench.engine()
    bench.record(2)
    assert engine.run_once() == SyncCounts(delivered=2)
    bench.record(3, user="bob")
    assert engine.run_once() == SyncCounts(delivered=3)
    engine.close()


def test_requests_keep_to_the_limits(make: Make) -> None:
    """Never more turns, conversations or bytes in a request than the sink takes; a larger turn goes alone."""
    limits = Limits(turns=4, conversations=2, size=2000)
    bench = make(FaultySink(limits=limits))
    for user in ("ann", "bob", "cas"):
        bench.record(5, user=user)
        bench.say("x" * 5000, user=user)
    assert bench.run().delivered == 18
    for request in bench.sink.requests:
        size = sum(turn.line_bytes for turn in request.turns)
        assert len(request.turns) <= 4
        assert len({turn.event.user for turn in request.turns}) <= 2
        assert size <= 2000 or len(request.turns) == 1


def test_a_request_is_of_one_source_where_the_sink_wants_that(make: Make) -> None:
    """Turns of different sources are never in one request then, and all arrive."""
    bench = make(FaultySink(limits=Limits(one_source=True), connections=2))
    for source in ("live", "chat", "code"):
        bench.record(3, user=source, source=source)
    assert bench.run().delivered == 9
    for request in bench.sink.requests:
        assert len({turn.event.source for turn in request.turns}) == 1


def test_lanes_keep_their_order_on_many_connections(make: Make) -> None:
    """Four connections, requests of three turns, six lanes: a lane is never in two requests at once."""
    bench = make(FaultySink(limits=Limits(turns=3), connections=4))
    lanes = {user: bench.record(10, user=user) for user in ("ann", "bob", "cas", "dan", "eve", "fay")}
    flying: set[str] = set()
    lock = threading.Lock()

    def fly(turns: object) -> None:
        users = {turn.event.user for turn in turns}  # type: ignore[attr-defined]
        with lock:
            assert not users & flying
            flying.update(users)

    def land(events: Sequence[Event]) -> None:
        with lock:
            for event in events:
                if isinstance(event, SyncSucceeded):
                    flying.difference_update(user for user, seqs in lanes.items() if set(seqs) & set(event.turns))

    bench.sink.meanwhile, bench.listen = fly, land  # an outcome is told before the lane may be sent on
    assert bench.run().delivered == 60
    for seqs in lanes.values():
        assert [seq for seq in bench.sink.taken if seq in seqs] == seqs


def test_lanes_take_turns(bench: Bench) -> None:
    """With one connection and one turn in a request, nobody waits for all of another's turns."""
    bench.sink.limits = Limits(turns=1)
    ann, bob = bench.record(3, user="ann"), bench.record(3, user="bob")
    assert bench.run().delivered == 6
    assert bench.sink.taken == [seq for pair in zip(ann, bob, strict=True) for seq in pair]


def test_a_stuck_user_blocks_nobody_else(bench: Bench) -> None:
    """While one lane waits for a retry, the others are delivered."""
    stuck = bench.record(3, user="ann")
    others = bench.record(3, user="bob") + bench.record(3, user="cas")
    bench.sink.limits = Limits(turns=1)
    bench.sink.rule = lambda turns: failed() if poison(stuck[0])(turns) else None
    assert bench.run() == SyncCounts(delivered=6, failed=1, pending=3)
    assert sorted(bench.sink.taken) == sorted(others)


def test_a_revision_that_comes_while_a_request_is_planned_is_not_overtaken(make: Make) -> None:
    """A turn revised between plan and attempt: the request has the revision, and the old content is never sent."""
    bench = make(FaultySink(idempotent=True, connections=2))
    bench.say("old", turn_id="t")
    behind = bench.record(1)
    size = bench.sink.size
    revised: list[int] = []

    def size_and_revise(turn: OutgoingTurn) -> int:
        if not revised:
            revised.append(bench.say("new", turn_id="t").seq)
        return size(turn)

    bench.sink.size = size_and_revise  # type: ignore[method-assign]
    assert bench.run() == SyncCounts(delivered=2)
    assert bench.requests() == [(*revised, *behind)]


def test_a_revision_that_comes_while_its_elder_is_sent_follows_it(make: Make) -> None:
    """The old content arrives first, then the new; the backend ends with the new, with other connections free."""
    bench = make(FaultySink(idempotent=True, connections=3))
    old = bench.say("old", turn_id="t").seq
    bench.sink.meanwhile = lambda turns: bench.say("new", turn_id="t") and None  # type: ignore[func-returns-value]
    assert bench.run() == SyncCounts(delivered=2)
    assert bench.sink.taken == [old, bench.state.turns.seqs[-1]]
    assert [turn.event.messages[0].content for turn in bench.sink.stored] == ["new"]


def test_what_the_operator_skips_just_in_time_is_not_sent(make: Make) -> None:
    """A decision that comes between plan and attempt takes the turn out of the request, and only that."""
    bench = make(FaultySink())
    first, second = bench.record(2)
    size, looks = bench.sink.size, count(1)
    meanwhile: dict[int, Event] = {
        1: SinkFlushed(sink=SINK, user="ann", up_to=first),  # something is new, so it is planned again
        3: TurnSkipped(sink=SINK, turns=(TurnRef(seq=first),)),
    }

    def size_and_skip(turn: OutgoingTurn) -> int:
        if event := meanwhile.get(next(looks)):
            bench.append(event)
        return size(turn)

    bench.sink.size = size_and_skip  # type: ignore[method-assign]
    assert bench.run() == SyncCounts(delivered=1)
    assert bench.states() == {first: "skipped", second: "delivered"}
    assert bench.sink.taken == [second]


@pytest.mark.parametrize("fault", [None, failed(), rejected(), unavailable(), in_doubt()])
def test_a_sink_may_be_retired_while_a_request_is_under_way(bench: Bench, fault: Fault | None) -> None:
    """The outcome is told, means nothing any more, and the run ends."""
    bench.record(2)
    bench.sink.meanwhile = lambda _: bench.append(SinkRetired(sink=SINK))
    bench.sink.faults.append(fault)
    bench.run()
    assert set(bench.states().values()) == {"not_owed"}
    assert len(bench.sink.requests) == 1


@pytest.mark.parametrize("fault", [None, failed(), in_doubt()])
def test_what_a_retired_sink_answers_late_means_nothing(make: Make, fault: Fault | None) -> None:
    """Of two requests one ends before and one after the engine learns that the sink was retired: both are told."""
    bench = make(FaultySink(connections=2, limits=Limits(turns=1)))
    bench.record(1)
    bench.record(1, user="bob")
    numbers, told = count(1), threading.Event()

    def meanwhile(_: object) -> None:
        if next(numbers) == 2:
            assert told.wait(timeout=20)
        else:
            bench.append(SinkRetired(sink=SINK))

    def listen(events: Sequence[Event]) -> None:
        if any(isinstance(event, SyncSucceeded) for event in events):
            told.set()

    bench.sink.meanwhile, bench.listen = meanwhile, listen
    bench.sink.faults.extend([None, fault])
    bench.run()
    assert set(bench.states().values()) == {"not_owed"}
    assert bench.state.anomalies.total() == 2


def test_a_sink_may_be_enrolled_again_while_a_request_is_under_way(bench: Bench) -> None:
    """Retired and enrolled again in the middle of a failing request: it is owed everything, and gets it."""
    bench.record(2)

    def meanwhile(_: object) -> None:
        bench.sink.meanwhile = lambda _: None
        bench.append(SinkRetired(sink=SINK), SinkEnrolled(sink=SINK))

    bench.sink.meanwhile = meanwhile
    bench.sink.faults.append(failed())
    assert bench.run().delivered == 2
    assert bench.totals() == {"delivered": 2}


def test_the_operator_may_want_a_turn_again_while_it_fails(bench: Bench) -> None:
    """A retry of what is dead, delivered or waiting takes effect in the next run at the latest."""
    (seq,) = bench.record(1)
    bench.sink.faults.append(rejected())
    bench.run()
    bench.append(RetryRequested(sink=SINK, turns=(TurnRef(seq=seq),)))
    assert bench.run() == SyncCounts(delivered=1)
    bench.append(RetryRequested(sink=SINK, turns=(TurnRef(seq=seq),)))
    assert bench.run() == SyncCounts(delivered=1)
    assert bench.sink.taken == [seq, seq]


def test_stop_ends_a_run_after_what_is_in_flight(make: Make) -> None:
    """The request that is under way is finished and written down, and no other is begun."""
    bench = make(FaultySink(limits=Limits(turns=1)))
    bench.record(5)
    with closing(bench.engine()) as engine:
        bench.sink.meanwhile = lambda _: engine.stop()
        assert engine.run_once() == SyncCounts(delivered=1, pending=4)
        assert engine.run_once() == SyncCounts(pending=4)
    bench.sink.meanwhile = lambda _: None
    assert bench.run() == SyncCounts(delivered=4)


def test_a_turn_that_cannot_be_read_is_dead_and_the_others_go_on(bench: Bench) -> None:
    """A line that this version does not understand is refused with a sentence that names it; its lane goes on."""

    class Newer(Event, frozen=True, tag="TurnRecorded", kw_only=True):
        turn_id: str
        user: str = "ann"
        conversation: str = "c"
        messages: tuple[dict[str, str], ...] = ({"role": "oracle", "content": "hm"},)

    before = bench.record(1)
    unreadable = before[0] + 1
    segment = next(bench.log.folder.iterdir())
    with segment.open("r+b") as file:
        file.seek(len(without_blanks(segment.read_bytes())) + 1)
        file.write(encode_line(Newer(turn_id="n"), seq=unreadable, at=bench.clock.now()))
    behind = bench.record(1)
    assert bench.run() == SyncCounts(delivered=2, dead=1)
    assert bench.sink.taken == before + behind
    assert bench.states()[unreadable] == "dead"
    assert f"seq {unreadable} cannot be read" in bench.told(SyncFailed)[0].error


def test_an_engine_begins_where_a_checkpoint_left_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run saves the state when it ends; the next one begins there and delivers what came since, each turn once."""
    monkeypatch.setattr("projections.checkpoint.WORTH_EVENTS", 1)
    first = bench.record(5)
    assert bench.run() == SyncCounts(delivered=5)
    assert [path.name for path in (bench.directory / "checkpoints").iterdir()] == ["delivery"]
    second = bench.record(3)
    taken: list[Entry] = []
    apply = Fold.apply
    monkeypatch.setattr(Fold, "apply", lambda fold, state, entry: (taken.append(entry), apply(fold, state, entry))[1])
    assert bench.run() == SyncCounts(delivered=3)
    assert bench.sink.taken == first + second
    assert min(entry.seq for entry in taken) > first[-1]


def test_an_engine_may_run_again_after_a_catch_up_was_broken_off(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was half taken in is taken in anew."""
    turns = bench.record(4)
    engine = bench.engine()
    apply, calls = Fold.apply, []

    def interrupted(fold: Fold[Any], state: Any, entry: Entry) -> None:
        calls.append(entry)
        if len(calls) == 3:
            raise KeyboardInterrupt
        apply(fold, state, entry)

    with monkeypatch.context() as patched:
        patched.setattr(Fold, "apply", interrupted)
        with pytest.raises(KeyboardInterrupt):
            engine.run_once()
    assert engine.run_once() == SyncCounts(delivered=4)
    assert bench.sink.taken == turns
    engine.close()


def test_of_revisions_that_were_lost_together_each_is_sent_as_what_is_new_in_it(make: Make) -> None:
    """The sink had both; both are owed anew, in one request, where the older one goes before the newer one."""
    bench = make(FaultySink(revisions="append"))
    seqs = []
    for text in ("a", "a and more"):
        seqs.append(bench.say(text, turn_id="t").seq)
        bench.run()
    bench.append(DeliveryRevoked(sink=SINK, turns=tuple(seqs)))
    bench.run()
    first, second = bench.sink.requests[-1].turns
    assert (first.seq, second.seq) == tuple(seqs)
    assert first.older is None
    assert second.older == first.event
