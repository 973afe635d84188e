"""Nobody knows whether the sink has a turn: the connection broke, or the worker died."""

from contextlib import suppress

import msgspec
import pytest

from eventlog import (
    RetryRequested,
    SinkPaused,
    SyncAttempted,
    SyncSucceeded,
    TurnRef,
)
from projections import RetryPolicy
from turnlog.sinks.base import Delivered, Limits, OutgoingTurn, Unknown
from turnlog.sync.counts import SyncCounts
from turnlog.testing import (
    ALL,
    Fault,
    FaultySink,
    FindingFaultySink,
    in_doubt,
    raising,
    unavailable,
)

from .conftest import Make
from .support import SINK, Bench, Crash, poison


def test_doubt_is_settled_by_sending_again(make: Make) -> None:
    """To a sink that takes a turn as often as it is sent without harm, it is sent again at once."""
    bench = make(FaultySink(idempotent=True))
    seqs = bench.record(3)
    bench.sink.faults.append(in_doubt(taken=2))
    assert bench.run() == SyncCounts(delivered=3)
    assert [bench.sink.copies(seq) for seq in seqs] == [1, 1, 1]
    assert bench.failures() == {"in_doubt": 3}


@pytest.mark.parametrize("taken", [0, 1, ALL])
def test_doubt_is_settled_by_asking(make: Make, taken: int) -> None:
    """What the sink says it has is delivered, reconciled; the rest is sent again; nothing arrives twice."""
    bench = make(FindingFaultySink())
    seqs = bench.record(3)
    bench.sink.faults.append(in_doubt(taken=taken))
    assert bench.run() == SyncCounts(delivered=3, reconciled=min(taken, 3))
    assert bench.sink.taken == seqs
    reconciled = [event.turns for event in bench.told(SyncSucceeded) if event.reconciled]
    assert reconciled == ([tuple(seqs[:taken])] if taken else [])
    assert bench.failures()["in_doubt"] == 3 - min(taken, 3)  # what is found is in no doubt
    assert len(bench.told(SyncAttempted)) == (1 if taken == ALL else 2)


def test_who_can_be_asked_is_asked_even_if_sending_again_is_harmless(make: Make) -> None:
    """An idempotent sink that says it has the turns does not get them twice."""
    bench = make(FindingFaultySink(idempotent=True))
    seqs = bench.record(3)
    bench.sink.faults.append(in_doubt(taken=ALL))
    assert bench.run() == SyncCounts(delivered=3, reconciled=3)
    assert bench.requests() == [tuple(seqs)]


def test_what_a_dead_worker_delivered_is_found(make: Make) -> None:
    """The next worker asks for each open attempt: found, it is delivered by that attempt, and nothing failed."""
    bench = make(FindingFaultySink())
    seqs = bench.record(3)
    bench.sink.faults.append(raising(Crash(), taken=2))
    bench.crash()
    assert bench.run() == SyncCounts(delivered=3, reconciled=2)
    assert bench.failures() == {"in_doubt": 1}
    assert bench.sink.taken == seqs


def test_doubt_that_repeats_counts(bench: Bench) -> None:
    """A sink that cannot be asked: the first doubt is nobody's fault, the second is a failure, with its backoff."""
    bench.record(1)
    bench.sink.rule = lambda _: in_doubt()
    assert bench.run() == SyncCounts(failed=1, pending=1)
    assert bench.failures() == {"in_doubt": 1, "failed": 1}
    for _ in range(4):
        bench.clock.advance(60)
        bench.run()
    assert bench.totals() == {"dead": 1}
    assert bench.failures() == {"in_doubt": 3, "failed": 3}


@pytest.mark.parametrize("idempotent", [False, True])
def test_a_sink_that_hangs_kills_no_turn(make: Make, idempotent: bool) -> None:
    """It takes requests and never answers, its check neither: the first doubt is told, then it is an outage."""
    bench = make(FaultySink(idempotent=idempotent))
    bench.record(3)
    bench.sink.outage = in_doubt()
    for _ in range(20):
        bench.run()
        bench.clock.advance(100)
    assert bench.totals() == {"retrying": 3}
    assert bench.failures() == {"in_doubt": 3, "unavailable": 3}
    assert [event.kind for event in bench.told(SinkPaused)] == ["unavailable"]
    bench.sink.outage = None
    assert bench.run() == SyncCounts(delivered=3)


def test_who_cannot_be_asked_now_is_asked_before_anything_is_sent_again(make: Make) -> None:
    """The sink takes a turn and goes away before it answers: when it is back, it is asked first, and has it once."""
    bench = make(FindingFaultySink())
    seqs = bench.record(3)

    def goes_away(turns: object) -> Fault:
        bench.sink.outage = unavailable()
        return in_doubt(taken=2)

    bench.sink.rule = goes_away
    assert bench.run() == SyncCounts(pending=3)
    for _ in range(5):
        bench.run()
    assert len(bench.sink.requests) == 1  # while it was away nothing was sent, for it was asked first
    bench.sink.outage, bench.sink.rule = None, lambda _: None
    assert bench.run() == SyncCounts(delivered=3, reconciled=2)
    assert bench.sink.taken == seqs


@pytest.mark.parametrize("is_dead", [False, True])
def test_a_retry_by_the_operator_does_not_forget_the_doubt(make: Make, is_dead: bool) -> None:
    """The sink takes a turn and goes away before it answers; whatever the operator does, it has it once."""
    bench = make(FindingFaultySink(), policy=RetryPolicy(1, 0, 0))
    (seq,) = bench.record(1)

    def goes_away(turns: object) -> Fault:
        bench.sink.outage = unavailable()
        return in_doubt(taken=1)

    bench.sink.rule = goes_away
    bench.run()
    if is_dead:  # well again, and still unable to tell
        bench.sink.check = lambda: None  # type: ignore[method-assign]
        bench.run()
        bench.run()
    assert bench.states() == {seq: "dead" if is_dead else "retrying"}
    bench.append(RetryRequested(sink=SINK, turns=(TurnRef(seq=seq, user="ann", conversation="c"),)))
    bench.sink.outage, bench.sink.rule = None, lambda _: None
    assert bench.run() == SyncCounts(delivered=1, reconciled=1)
    assert bench.sink.taken == [seq]


@pytest.mark.parametrize("is_taken", [False, True])
@pytest.mark.parametrize("is_under_way", [False, True])
def test_a_revision_of_a_turn_in_doubt_waits_until_the_sink_was_asked(
    make: Make, is_taken: bool, is_under_way: bool
) -> None:
    """What the sink has of the older one is known before the revision is sent; the older one is never sent again."""
    bench = make(FindingFaultySink())
    older = bench.say("one", turn_id="t").seq
    (other,) = bench.record(1)

    def goes_away(turns: object) -> Fault:
        if is_under_way:
            bench.say("one, two", turn_id="t")
        bench.sink.outage = unavailable()
        return in_doubt(taken=int(is_taken))

    bench.sink.rule = goes_away
    bench.run()
    if not is_under_way:
        bench.say("one, two", turn_id="t")
    for _ in range(3):
        bench.run()
    newer = max(bench.states())
    assert len(bench.sink.requests) == 1
    assert bench.states()[older] == "retrying"
    bench.sink.outage, bench.sink.rule = None, lambda _: None
    assert bench.run().pending == 0
    assert bench.states() == {older: "delivered" if is_taken else "superseded", other: "delivered", newer: "delivered"}
    assert sorted(bench.sink.taken) == sorted([older] * is_taken + [other, newer])
    assert [seq for seq in bench.sink.taken if seq != other] == [older] * is_taken + [newer]


def test_a_revision_of_a_turn_in_doubt_goes_at_once_to_who_cannot_be_asked(make: Make) -> None:
    """A sink that cannot tell gets the revision, and the older one no more."""
    bench = make(FaultySink())
    older = bench.say("one", turn_id="t").seq
    bench.sink.faults.append(in_doubt())
    bench.sink.faults.append(unavailable())
    bench.run()
    newer = bench.say("one, two", turn_id="t").seq
    assert bench.run().pending == 0
    assert bench.states() == {older: "superseded", newer: "delivered"}
    assert bench.sink.taken == [newer]


def test_a_death_with_the_sink_away_duplicates_nothing(make: Make) -> None:
    """A worker died over a turn that the sink took; the next one cannot ask, the one after that can."""
    bench = make(FindingFaultySink())
    seqs = bench.record(2)
    bench.sink.faults.append(raising(Crash(), taken=ALL))
    bench.crash()
    bench.sink.outage = unavailable()
    assert bench.run() == SyncCounts(pending=2)
    bench.sink.outage = None
    assert bench.run() == SyncCounts(delivered=2, reconciled=2)
    assert bench.sink.taken == seqs


def forgetful(make: Make, *answers: Unknown | None) -> tuple[Bench, list[int]]:
    """A bench whose sink answers so when it is asked for the third of four turns, the last one again and again."""
    left = list(answers)

    class Forgetful(FindingFaultySink):
        def find(self, turn: OutgoingTurn) -> Delivered | Unknown | None:
            if turn.seq != seqs[2]:
                return super().find(turn)
            return left.pop(0) if len(left) > 1 else left[0]

    bench = make(Forgetful())
    seqs = bench.record(4)
    return bench, seqs


def test_a_sink_that_cannot_tell_counts_the_turn(make: Make) -> None:
    """If the sink is well but cannot tell about a turn, that turn is isolated, counted and dead; no other is."""
    bench, seqs = forgetful(make, Unknown("no idea"))
    bench.sink.faults.append(in_doubt())
    for _ in range(4):
        bench.run()
        bench.clock.advance(60)
    assert bench.states() == {seq: "dead" if seq == seqs[2] else "delivered" for seq in seqs}
    assert bench.types("SinkPaused") == []


def test_what_a_sink_will_never_be_able_to_tell_is_sent_again(make: Make) -> None:
    """That turn is there at least once, and no other more than once."""
    bench, seqs = forgetful(make, Unknown("gone", final=True))
    bench.sink.faults.append(in_doubt(taken=ALL))
    assert bench.run() == SyncCounts(delivered=4, reconciled=3)
    assert [bench.sink.copies(seq) for seq in seqs] == [1, 1, 2, 1]
    assert bench.failures() == {"in_doubt": 1}


def test_what_a_sink_will_never_be_able_to_tell_is_held_for_the_operator(make: Make) -> None:
    """With `on_doubt = hold`, also where the doubt is not the first; that turn alone, and what is behind it waits."""
    bench, seqs = forgetful(make, None, Unknown("gone", final=True))
    bench.terms = msgspec.structs.replace(bench.terms, on_doubt="hold")
    bench.sink.faults.append(in_doubt(taken=1))
    for _ in range(4):
        bench.run()
        bench.clock.advance(60)
    assert bench.sink.taken == seqs[:2]
    assert bench.totals() == {"delivered": 2, "retrying": 2}
    held = [seq for seq in seqs[2:] if (tried := bench.tried(seq)) is not None and tried.held]
    assert held == [seqs[2]]


def test_a_worker_s_death_is_doubt_and_the_third_counts(bench: Bench) -> None:
    """Twice it may have been the machine; the third time the turn is suspected, alone at once."""
    (seq,) = bench.record(1)
    for _ in range(3):
        bench.sink.faults.append(raising(Crash()))
        bench.crash()
        assert bench.states() == {seq: "attempting"}
    assert bench.failures() == {"in_doubt": 2}
    assert bench.run() == SyncCounts(failed=1, pending=1)
    assert bench.failures() == {"in_doubt": 2, "failed": 1}
    bench.clock.advance(60)
    assert bench.run() == SyncCounts(delivered=1)


def test_a_deadly_turn_is_isolated_by_halving(make: Make) -> None:
    """Where workers die over a request of several turns again and again, it is split until the culprit is alone."""
    bench = make(FaultySink(idempotent=True))
    seqs = bench.record(8)
    bench.sink.rule = lambda turns: raising(Crash()) if poison(seqs[5])(turns) else None
    for _ in range(30):
        with suppress(Crash):
            bench.run()
        bench.clock.advance(60)
    assert bench.states() == {seq: "dead" if seq == seqs[5] else "delivered" for seq in seqs}
    assert all(bench.sink.copies(seq) == (seq != seqs[5]) for seq in seqs)


def test_a_death_before_the_first_byte_is_settled_too(make: Make) -> None:
    """An attempt that was written and never sent is asked about, and sent."""
    bench = make(FindingFaultySink())
    seqs = bench.record(2)
    bench.append(SyncAttempted(sink=SINK, turns=tuple(seqs), worker="dead"))
    assert bench.run() == SyncCounts(delivered=2)
    assert bench.failures() == {"in_doubt": 2}
    assert bench.sink.taken == seqs


def test_an_engine_that_crashed_may_run_again(make: Make) -> None:
    """What was in flight when a run was broken off is settled by the next, not written down as well."""
    bench = make(FindingFaultySink(connections=2, limits=Limits(turns=1)))
    seqs = bench.record(1) + bench.record(1, user="bob")
    bench.sink.faults.extend([raising(Crash(), taken=1), raising(Crash())])
    engine = bench.engine()
    with pytest.raises(Crash):
        engine.run_once()
    assert engine.run_once() == SyncCounts(delivered=2, reconciled=1)
    engine.close()
    assert sorted(bench.sink.taken) == seqs
    assert not bench.state.anomalies
