"""Failures that are the sink's: it is away, asks for patience, refuses the token, is paused. No turn is blamed."""

import threading
from collections.abc import Sequence
from itertools import count

import pytest

from eventlog import (
    Event,
    SinkPaused,
    SinkResumed,
)
from projections import OPERATOR
from turnlog.sinks.base import Limits
from turnlog.sync.counts import SyncCounts
from turnlog.sync.engine import Engine
from turnlog.testing import (
    FaultySink,
    throttled,
    unauthorized,
    unavailable,
)

from .conftest import Make
from .support import SINK, Bench


@pytest.mark.parametrize("connections", [1, 3])
def test_an_outage_pauses_once_and_resumes_once(make: Make, connections: int) -> None:
    """However often it is tried: two events of the sink, at most one uncounted attempt a connection, no turn blamed."""
    bench = make(FaultySink(connections=connections, limits=Limits(turns=1)))
    for user in ("ann", "bob", "cas", "dan", "eve"):
        bench.record(2, user=user)
    bench.sink.outage = unavailable()
    for _ in range(4):
        assert bench.run() == SyncCounts(pending=10)
        bench.clock.advance(100)
    assert bench.types("SinkPaused", "SinkResumed") == ["SinkPaused"]
    assert bench.told(SinkPaused)[0].kind == "unavailable"
    assert len(bench.sink.requests) <= connections
    assert bench.totals() == {"pending": 10}
    assert bench.sink.checks == 3
    bench.sink.outage = None
    assert bench.run() == SyncCounts(delivered=10)
    assert bench.types("SinkPaused", "SinkResumed") == ["SinkPaused", "SinkResumed"]
    assert sorted(bench.sink.taken) == sorted(bench.state.turns.seqs)


def test_requests_that_fail_together_pause_the_sink_once(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them end before the engine looks: one pause, and the first probe is no later for it."""
    bench = make(FaultySink(connections=3, limits=Limits(turns=1)))
    for user in ("ann", "bob", "cas"):
        bench.record(user=user)
    bench.sink.outage = unavailable()
    collect = Engine._collect

    def collect_all(engine: Engine) -> int:
        while engine._jobs_begun() == 3 and engine._finished.qsize() < 3:
            engine._waiter.wait(1)
        return collect(engine)

    monkeypatch.setattr(Engine, "_collect", collect_all)
    assert bench.run() == SyncCounts(pending=3)
    assert bench.types("SinkPaused", "SinkResumed") == ["SinkPaused"]
    assert bench.sink_state.relapses == 1


def test_an_outage_of_any_length_kills_no_turn(bench: Bench) -> None:
    """A sink whose check is well and whose requests are not is tried again and again, and nothing counts."""
    bench.record(2)
    bench.sink.rule = lambda _: unavailable()
    for _ in range(20):
        bench.run()
    assert bench.totals() == {"pending": 2}
    assert len(bench.sink.requests) == 20
    bench.sink.rule = lambda _: None
    assert bench.run().delivered == 2


def test_throttling_is_waited_for_and_not_counted(bench: Bench) -> None:
    """No request before the time that the sink named, also not in the same run; then all goes on by itself."""
    bench.record(3)
    bench.sink.faults.append(throttled(30))
    assert bench.run() == SyncCounts(pending=3)
    bench.clock.advance(29.9)
    bench.run()
    assert len(bench.sink.requests) == 1
    bench.clock.advance(0.1)
    assert bench.run() == SyncCounts(delivered=3)
    assert bench.types("SinkPaused", "SinkResumed") == ["SinkPaused"]
    assert bench.sink_state.pause is None
    assert bench.sink.checks == 0


@pytest.mark.parametrize("wait", [None, 0, -5, 1e-9])
def test_a_run_ends_however_short_a_wait_the_sink_asks_for(bench: Bench, wait: float | None) -> None:
    """A sink that always says `too many, come back at once` gets one request a run, not an endless stream."""
    bench.record(2)
    bench.sink.rule = lambda _: throttled(wait)
    bench.run()
    assert len(bench.sink.requests) == 1
    bench.clock.advance(10)
    bench.run()
    assert len(bench.sink.requests) == 2


@pytest.mark.parametrize("wait", [1e9, 1e300, float("inf"), float("nan")])
def test_an_absurd_wait_is_bounded(bench: Bench, wait: float) -> None:
    """However long the sink asks for, after a day it is tried again."""
    bench.record(1)
    bench.sink.faults.append(throttled(wait))
    bench.run()
    bench.clock.advance(86_400)
    assert bench.run().delivered == 1


def test_a_success_under_way_does_not_cut_a_wait_short(make: Make) -> None:
    """While one connection is told to wait, another's success comes in: the wait holds for both."""
    bench = make(FaultySink(connections=2, limits=Limits(turns=1)))
    for user in ("ann", "bob", "cas", "dan"):
        bench.record(2, user=user)
    numbers, paused = count(1), threading.Event()

    def meanwhile(_: object) -> None:
        if next(numbers) == 2:
            assert paused.wait(timeout=20)

    def listen(events: Sequence[Event]) -> None:
        if any(isinstance(event, SinkPaused) for event in events):
            paused.set()

    bench.sink.meanwhile, bench.listen = meanwhile, listen
    bench.sink.faults.append(throttled(60))
    bench.run()
    assert len(bench.sink.requests) == 2
    assert bench.totals() == {"delivered": 1, "pending": 7}
    assert bench.sink_state.pause is not None


def test_a_wrong_token_pauses_until_it_is_right(bench: Bench) -> None:
    """401 blames no turn and stops the sink; the probe says when it is well, and all is delivered."""
    bench.record(2)
    bench.sink.outage = unauthorized()
    for _ in range(3):
        assert bench.run() == SyncCounts(pending=2)
    assert bench.types("SinkPaused", "SinkResumed") == ["SinkPaused"]
    assert bench.told(SinkPaused)[0].kind == "unauthorized"
    bench.sink.outage = None
    assert bench.run() == SyncCounts(delivered=2)


def test_another_trouble_is_told(bench: Bench) -> None:
    """If the sink comes back and then refuses the token, the pause changes its kind, once."""
    bench.record(1)
    for fault in (unavailable(), unavailable(), unauthorized(), unauthorized(), unavailable()):
        bench.sink.outage = fault
        bench.run()
    assert [event.kind for event in bench.told(SinkPaused)] == ["unavailable", "unauthorized", "unavailable"]
    assert len(bench.sink.requests) == 1


def test_a_pause_by_the_operator_is_ended_by_the_operator(bench: Bench) -> None:
    """It is neither probed nor sent to, until the operator resumes it."""
    bench.record(1)
    bench.append(SinkPaused(sink=SINK, kind=OPERATOR))
    assert bench.run() == SyncCounts(pending=1)
    assert (bench.sink.checks, bench.sink.requests) == (0, [])
    bench.append(SinkResumed(sink=SINK))
    assert bench.run() == SyncCounts(delivered=1)
