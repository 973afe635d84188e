"""Failures that are a turn's, and sinks with bugs: counted, isolated, dead; the others go on."""

import pytest

from eventlog import (
    SinkPaused,
    SyncFailed,
)
from projections import RetryPolicy
from turnlog.sinks.base import Delivered, Limits, Refused
from turnlog.sync.counts import SyncCounts
from turnlog.testing import (
    ALL,
    Fault,
    FaultySink,
    FindingFaultySink,
    failed,
    in_doubt,
    miscounted,
    raising,
    rejected,
    unauthorized,
)

from .conftest import Make
from .support import Bench, poison


def test_a_failing_turn_is_retried_with_backoff_and_then_dead(bench: Bench) -> None:
    """Counted up to the maximum, each time after its wait; its lane waits, the others do not; then it goes on."""
    (culprit, behind), (other,) = bench.record(2), bench.record(1, user="bob")
    bench.sink.limits = Limits(turns=1)
    bench.sink.rule = lambda turns: failed() if poison(culprit)(turns) else None
    for number in (1, 2, 3):
        counts = bench.run()
        assert (counts.failed, counts.dead) == ((1, 0) if number < 3 else (0, 1))
        requests = len(bench.sink.requests)
        if number < 3:
            assert bench.run() == SyncCounts(pending=2)  # not due yet
            assert len(bench.sink.requests) == requests
        bench.clock.advance(60)
    assert bench.states() == {culprit: "dead", behind: "delivered", other: "delivered"}
    assert bench.requests().count((culprit,)) == 3
    assert bench.tried(culprit).attempts == 3  # type: ignore[union-attr]


def test_a_turn_is_retried_when_its_wait_is_over(bench: Bench) -> None:
    """A failure that goes away costs its backoff and nothing else."""
    seqs = bench.record(3)
    bench.sink.limits = Limits(turns=1)
    bench.sink.faults.append(failed())
    assert bench.run() == SyncCounts(failed=1, pending=3)
    bench.clock.advance(2.0)  # the longest first backoff
    assert bench.run() == SyncCounts(delivered=3)
    assert bench.sink.taken == seqs


def test_a_sink_may_ask_for_patience_with_one_turn(bench: Bench) -> None:
    """`retry_after` of a failure makes that turn wait at least so long."""
    bench.record(1)
    bench.sink.faults.append(failed(retry_after=500))
    bench.run()
    bench.clock.advance(499)
    assert bench.run() == SyncCounts(pending=1)
    bench.clock.advance(1)
    assert bench.run() == SyncCounts(delivered=1)


@pytest.mark.parametrize("fault", [rejected(), failed()])
@pytest.mark.parametrize("connections", [1, 4])
def test_one_poisoned_turn_is_isolated_by_halving(make: Make, fault: Fault, connections: int) -> None:
    """Of 1,000 turns in ten lanes one is refused: all others arrive in order, it alone is dead, its lane went on."""
    bench = make(FaultySink(connections=connections, limits=Limits(turns=500)), policy=RetryPolicy(max_attempts=1))
    lanes = [bench.record(100, user=f"user{number}") for number in range(10)]
    culprit = lanes[2][17]
    bench.sink.rule = lambda turns: fault if poison(culprit)(turns) else None
    assert bench.run() == SyncCounts(delivered=999, dead=1)
    assert [seq for seq, state in bench.states().items() if state == "dead"] == [culprit]
    for lane in lanes:
        assert [seq for seq in bench.sink.taken if seq in lane] == [seq for seq in lane if seq != culprit]
    assert len(bench.sink.taken) == 999
    assert sum(poison(culprit)(request.turns) for request in bench.sink.requests) <= 10  # 500, 250, 125 ... 1
    tried = bench.tried(culprit)
    assert tried is not None
    assert tried.error is not None
    assert tried.error.message == (fault.refused.error if fault.refused else "")
    assert bench.requests().count((culprit,)) == 1


def test_turns_that_the_sink_names_are_dead_at_once(bench: Bench) -> None:
    """A refusal of one turn in particular needs no halving and keeps nobody waiting."""
    seqs = bench.record(4)
    bench.sink.faults.append(rejected(seqs=[seqs[1]]))
    assert bench.run() == SyncCounts(delivered=3, dead=1)
    assert bench.requests() == [tuple(seqs)]
    assert bench.states()[seqs[1]] == "dead"


def test_a_failure_that_names_a_turn_holds_its_lane(bench: Bench) -> None:
    """In one request the turns before and behind it may have been taken; it alone is sent again, after its wait."""
    seqs = bench.record(3)
    bench.sink.faults.append(failed(seqs=[seqs[1]]))
    assert bench.run() == SyncCounts(delivered=2, failed=1, pending=1)
    bench.clock.advance(2)
    assert bench.run() == SyncCounts(delivered=1)
    assert bench.requests() == [tuple(seqs), (seqs[1],)]


def test_everything_refused_ends_too(make: Make) -> None:
    """A sink that refuses every turn kills each of them, alone, and the run ends."""
    bench = make(FaultySink(limits=Limits(turns=8)))
    seqs = bench.record(20)
    bench.sink.rule = lambda _: rejected()
    assert bench.run() == SyncCounts(dead=20)
    assert all(bench.requests().count((seq,)) == 1 for seq in seqs)
    assert len(bench.sink.requests) <= 2 * len(seqs)


@pytest.mark.parametrize(
    "fault",
    [
        raising(ValueError("secret")),
        miscounted(-1),
        miscounted(1),
        miscounted(-ALL),
        Fault(refused=Refused("timeout", "no such kind")),
        Fault(refused=Refused("failed", "it broke", retry_after="soon")),  # type: ignore[arg-type]
    ],
    ids=["exception", "one too few", "one too many", "none", "unknown kind", "unsound"],
)
def test_a_sink_with_a_bug_fails_its_requests_and_nothing_else(bench: Bench, fault: Fault) -> None:
    """An exception, a wrong number of outcomes, one that makes no sense: counted as failures, isolated, not told."""
    seqs = bench.record(4)
    bench.sink.rule = lambda turns: fault if poison(seqs[3])(turns) else None
    for _ in range(3):
        bench.run()
        bench.clock.advance(60)
    assert bench.totals() == {"delivered": 3, "dead": 1}
    assert all(event.kind == "failed" and "secret" not in event.error for event in bench.told(SyncFailed))


@pytest.mark.parametrize("outcome", [None, "ok", Delivered({1: {2, 3}, "x": object()}), Delivered("\ud83d half")])
def test_an_outcome_that_cannot_be_written_down_stops_nothing(make: Make, outcome: object) -> None:
    """What is no outcome failed; a delivery whose receipt is no JSON is a delivery all the same."""

    class Odd(FaultySink):
        def deliver(self, batch: object) -> list[object]:  # type: ignore[override]
            super().deliver(batch)  # type: ignore[arg-type]
            return [outcome]

    bench = make(Odd(limits=Limits(turns=1)))
    bench.record(2)
    counts = bench.run()
    assert counts == (SyncCounts(delivered=2) if isinstance(outcome, Delivered) else SyncCounts(failed=1, pending=2))


def test_text_that_is_no_unicode_is_mended(bench: Bench) -> None:
    """Half a character in a server's error, as JSON escapes can spell it, is told as U+FFFD."""
    bench.record(1)
    bench.sink.faults.append(Fault(Refused("rejected", "bad \ud83d")))
    assert bench.run() == SyncCounts(dead=1)
    assert bench.told(SyncFailed)[0].error == "bad \ufffd"


def _breaks(*_: object) -> None:
    raise RuntimeError("a bug")


def test_a_check_that_raises_is_an_outage(bench: Bench) -> None:
    """A paused sink whose check has a bug stays paused, and the run ends; mended, it goes on."""
    bench.record(3)
    bench.sink.faults.append(unauthorized())
    bench.run()
    bench.sink.check = _breaks  # type: ignore[assignment]
    assert bench.run() == SyncCounts(pending=3)
    assert [event.kind for event in bench.told(SinkPaused)] == ["unauthorized", "unavailable"]
    del bench.sink.check
    assert bench.run() == SyncCounts(delivered=3)


def test_a_size_that_raises_is_a_guess(bench: Bench) -> None:
    """The line's length stands in for it."""
    bench.sink.limits = Limits(size=1)
    bench.record(3)
    bench.sink.size = _breaks  # type: ignore[assignment]
    assert bench.run() == SyncCounts(delivered=3)
    assert len(bench.sink.requests) == 3


def test_a_question_that_raises_is_not_answered(make: Make) -> None:
    """A bug in `find` duplicates nothing and hurts no turn that was not in doubt."""
    bench = make(FindingFaultySink())
    (seq,) = bench.record(1)
    bench.sink.find = _breaks  # type: ignore[attr-defined]
    bench.sink.faults.append(in_doubt(taken=ALL))
    assert bench.run() == SyncCounts(failed=1, pending=1)
    bench.record(3, user="bob")
    assert bench.run() == SyncCounts(delivered=3, pending=1)
    del bench.sink.find  # type: ignore[attr-defined]
    bench.clock.advance(60)
    assert bench.run() == SyncCounts(delivered=1, reconciled=1)
    assert bench.sink.taken.count(seq) == 1
