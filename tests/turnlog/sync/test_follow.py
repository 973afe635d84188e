"""The engine in real time: what comes is sent at once, what is due is sent when it is, whatever else goes on.

Time is an `Agenda`: it passes at once while nothing is under way, so a day takes as long as what happens in it.
"""

import errno
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import msgspec
import pytest

import turnlog.sync.engine as engine_module
from eventlog import (
    AppendFailed,
    Event,
    Message,
    SinkEnrolled,
    SinkPaused,
    SinkResumed,
    SyncAttempted,
    SyncFailed,
    SyncSucceeded,
    TurnRecorded,
)
from projections import ProbePolicy, RetryPolicy
from turnlog.sinks.base import Limits, OutgoingTurn
from turnlog.sync.counts import SyncCounts
from turnlog.sync.engine import Engine
from turnlog.testing import FaultySink, failed, throttled, unauthorized, unavailable
from turnlog.testing.clock import START

from .conftest import Make
from .support import SINK, Agenda, Bench

DAY = 86_400.0


def begin(make: Make, sink: FaultySink | None = None, **options: Any) -> tuple[Bench, Agenda]:
    agenda = Agenda()
    return make(sink, clock=agenda, **options), agenda


def follow(bench: Bench, agenda: Agenda, seconds: float, **options: Any) -> SyncCounts:
    """Follow for so long."""
    with closing(bench.engine()) as engine:
        agenda.at(seconds, engine.stop)
        return engine.follow(**options)


def seconds_of(bench: Bench, kind: type[Event]) -> list[float]:
    """When events of a type were written."""
    return [(e.at - START).total_seconds() for e in bench.log.read() if isinstance(e.event, kind)]


def test_a_turn_is_sent_when_it_comes(make: Make) -> None:
    """Not at the next sweep: no time passes between its append and its receipt."""
    bench, agenda = begin(make)
    for at in (10, 20, 500):
        agenda.at(at, bench.record)
    assert follow(bench, agenda, 1000).delivered == 3
    assert seconds_of(bench, SyncSucceeded) == [10, 20, 500]


def test_a_day_of_outage_costs_two_sink_events_and_one_attempt(make: Make) -> None:
    """The turns of that day arrive in order afterwards, within one probe of the sink's return; no try was counted."""
    bench, agenda = begin(make)
    bench.sink.outage = unavailable()
    for minute in range(0, 24 * 60, 10):
        agenda.at(60.0 * minute, lambda minute=minute: bench.record(user=f"user{minute % 3}"))  # type: ignore[misc]
    agenda.at(DAY, lambda: setattr(bench.sink, "outage", None))
    assert follow(bench, agenda, DAY + 60) == SyncCounts(delivered=144)
    assert bench.types("SinkPaused", "SinkResumed") == ["SinkPaused", "SinkResumed"]
    failures: list[SyncFailed] = bench.told(SyncFailed)
    assert [(failure.kind, failure.final) for failure in failures] == [("unavailable", False)]
    probe = ProbePolicy().max_seconds
    assert DAY < seconds_of(bench, SinkResumed)[0] <= DAY + probe
    assert seconds_of(bench, SyncSucceeded)[0] == seconds_of(bench, SinkResumed)[0]
    for lane in range(3):
        taken = [t.seq for t in bench.sink.stored if t.event.user == f"user{lane}"]
        assert taken == sorted(taken)
    assert bench.sink.checks <= DAY / (probe * 0.75) + 10


def test_a_sink_that_goes_away_again_and_again_is_asked_no_more_often_for_it(make: Make) -> None:
    """Its check is well and its requests are not: the waits grow as in one outage, and no turn is blamed."""
    bench, agenda = begin(make)
    bench.record()
    bench.sink.rule = lambda _: unavailable()
    follow(bench, agenda, DAY / 8)
    assert len(bench.sink.requests) <= DAY / 8 / (ProbePolicy().max_seconds * 0.75) + 10
    assert bench.totals() == {"pending": 1}


def test_a_failing_turn_is_tried_when_it_is_due_and_dead_at_last(make: Make) -> None:
    """By itself, at the times that the log alone tells; the lane goes on with the next."""
    bench, agenda = begin(make, FaultySink(limits=Limits(turns=1)))
    first, second = bench.record(2)
    bench.sink.rule = lambda turns: failed() if any(turn.seq == first for turn in turns) else None
    dues: list[datetime] = []

    def note(events: Sequence[Event]) -> None:
        dues.extend(event.retry_after or 0 for event in events if isinstance(event, SyncFailed))  # type: ignore[misc]

    bench.listen = note
    follow(bench, agenda, 1000)
    assert bench.states() == {first: "dead", second: "delivered"}
    assert len(dues) == bench.policy.max_attempts
    attempts = seconds_of(bench, SyncAttempted)
    assert attempts[0] == 0 < attempts[1] <= bench.policy.base_seconds
    assert attempts[1] < attempts[2] <= attempts[1] + 2 * bench.policy.base_seconds


def test_throttling_is_waited_for_as_told(make: Make) -> None:
    """Nothing is sent before, and everything at once after."""
    bench, agenda = begin(make, FaultySink(limits=Limits(turns=1)))
    bench.record(3)
    bench.sink.faults.append(throttled(77))
    assert follow(bench, agenda, 1000).delivered == 3
    assert seconds_of(bench, SyncAttempted) == [0, 77, 77, 77]


def test_credentials_are_tried_anew_at_the_sweep(make: Make) -> None:
    """A sink that refused them is not asked before, and resumes by itself when they are right."""
    bench, agenda = begin(make)
    bench.record()
    bench.sink.outage = unauthorized()
    agenda.at(100, lambda: setattr(bench.sink, "outage", None))
    assert follow(bench, agenda, 1000, sweep_seconds=300).delivered == 1
    assert seconds_of(bench, SinkPaused) == [0]
    assert seconds_of(bench, SinkResumed) == [300]


def test_the_sweep_finds_what_real_time_missed(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that never tells of changes costs time and no turn."""
    bench, agenda = begin(make)
    monkeypatch.setattr(engine_module.Waiter, "wait", lambda *_: None)
    agenda.at(10, bench.record)
    with closing(bench.engine()) as engine:
        monkeypatch.setattr(agenda, "at", agenda.at)
        agenda.at(700, engine.stop)
        engine.follow(sweep_seconds=300)
    assert seconds_of(bench, SyncSucceeded)[0] <= 310


def test_a_request_lingers_for_more_turns_and_no_longer(make: Make) -> None:
    """What comes within that time goes along; a full one goes at once."""
    bench, agenda = begin(make, FaultySink(limits=Limits(turns=3, linger_seconds=5)))
    for at in (10, 13, 30, 31, 32):
        said = TurnRecorded(turn_id=str(at), messages=(Message("user", "hi"),))
        agenda.at(at, partial(bench.append, said))
    assert follow(bench, agenda, 100).delivered == 5
    assert seconds_of(bench, SyncSucceeded) == [18, 32]
    assert [len(request) for request in bench.requests()] == [2, 3]


def test_what_is_said_now_goes_before_the_backlog_which_goes_on(make: Make) -> None:
    """A live turn is in the next request or the one after; in between the backlog gets its share."""
    bench, agenda = begin(make, FaultySink(limits=Limits(turns=1)))
    for lane in range(100):
        bench.record(user=f"backlog{lane}")
    said: list[int] = []

    def talk(_: Sequence[OutgoingTurn]) -> None:
        if len(said) < 20 and len(bench.sink.requests) >= 10:
            said.extend(bench.record(user="live", conversation=str(len(said))))

    bench.sink.meanwhile = talk
    assert follow(bench, agenda, 1000).delivered == 120
    order = [turn.event.user for turn in bench.sink.stored]
    lively = order[order.index("live") :][:26]
    assert lively.count("live") >= 18
    assert lively.count("backlog0") == 0
    assert sum(user.startswith("backlog") for user in lively) >= 5


def test_one_sink_s_trouble_is_no_other_s(make: Make) -> None:
    """Two sinks in one engine: the one that is away costs the other nothing."""
    bench, agenda = begin(make)
    other = FaultySink()
    bench.append(SinkEnrolled(sink="beta", kind="faulty"))
    bench.sink.outage = unavailable()
    for at in range(10, 100, 10):
        agenda.at(at, bench.record)
    with closing(bench.engine()) as engine:
        engine.add("beta", other)
        agenda.at(200, engine.stop)
        engine.follow()
    assert len(other.taken) == 9
    assert bench.totals() == {"pending": 9}
    at = [(e.at - START).total_seconds() for e in bench.log.read() if isinstance(e.event, SyncSucceeded)]
    assert at == list(range(10, 100, 10))


def test_a_clock_that_is_set_back_stops_nothing(make: Make) -> None:
    """By a day, in the middle of a backoff and of an outage: what is due then is sent then, at the latest."""
    bench, agenda = begin(make)
    bench.sink.outage = unavailable()
    bench.record()
    agenda.at(50, lambda: agenda.advance(-DAY))
    agenda.at(100, lambda: setattr(bench.sink, "outage", None))
    assert follow(bench, agenda, 400).delivered == 1


def test_a_clock_that_is_set_back_hides_no_sink_that_is_back(make: Make) -> None:
    """By a day, during an outage: the sink is asked at the next sweep, not in a day."""
    bench, agenda = begin(make)
    bench.sink.outage = unavailable()
    bench.record()
    with closing(bench.engine()) as engine:

        def set_back() -> None:
            agenda.advance(-DAY)
            bench.sink.outage = None
            agenda.at(agenda.seconds + 400, engine.stop)

        agenda.at(50, set_back)
        assert engine.follow(sweep_seconds=300).delivered == 1


def _begin_in_thread(engine: Engine, **options: Any) -> threading.Thread:
    thread = threading.Thread(target=engine.follow, kwargs=options)
    thread.start()
    return thread


def _hold_request(bench: Bench) -> tuple[threading.Event, threading.Event]:
    """Have requests last until the second event is set; the first says that there is one."""
    sending, go_on = threading.Event(), threading.Event()

    def meanwhile(_: Sequence[OutgoingTurn]) -> None:
        sending.set()
        assert go_on.wait(30)

    bench.sink.meanwhile = meanwhile
    return sending, go_on


def test_stop_waits_for_what_is_in_flight(make: Make) -> None:
    """Nothing more is begun; what comes of it is written down."""
    bench = make(FaultySink(limits=Limits(turns=1)))
    bench.record(3)
    sending, go_on = _hold_request(bench)
    with closing(bench.engine()) as engine:
        thread = _begin_in_thread(engine, grace_seconds=30)
        assert sending.wait(30)
        engine.stop()
        engine.stop()
        go_on.set()
        thread.join(30)
        assert not thread.is_alive()
    assert bench.totals() == {"delivered": 1, "pending": 2}


@contextmanager
def stopped_while_sending(bench: Bench) -> Iterator[None]:
    """An engine that was stopped, without grace, in the middle of a request, which ends afterwards."""
    sending, go_on = _hold_request(bench)
    with closing(bench.engine()) as engine:
        thread = _begin_in_thread(engine, grace_seconds=0)
        assert sending.wait(30)
        engine.stop()
        thread.join(30)
        assert not thread.is_alive()
        yield
        go_on.set()
    bench.sink.meanwhile = lambda _: None


def test_stop_writes_down_what_did_not_end_in_time(make: Make) -> None:
    """It is in doubt, and the next engine settles it; what it answers later changes nothing."""
    bench = make(FaultySink(limits=Limits(turns=1)))
    (seq,) = bench.record()
    with stopped_while_sending(bench):
        assert bench.states() == {seq: "retrying"}
        assert [failure.kind for failure in bench.told(SyncFailed)] == ["in_doubt"]
    assert bench.run().delivered == 1


def test_stopping_again_and_again_is_no_turn_s_fault(make: Make) -> None:
    """As with workers that die: twice it is doubt, whatever the sink was at."""
    bench = make(FaultySink(limits=Limits(turns=1)))
    bench.record()
    for _ in range(2):
        with stopped_while_sending(bench):
            pass
    assert bench.failures() == {"in_doubt": 2}


def test_a_log_that_cannot_be_written_is_waited_for(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told, nothing is sent meanwhile, and it goes on when the disk has room again."""
    bench, agenda = begin(make)
    told: list[str] = []
    monkeypatch.setattr(engine_module, "_TROUBLE_SECONDS", 0.0)
    appended, full = bench.log.append_many, [5]

    def append_many(events: Sequence[Event], **options: Any) -> range:
        if full[0]:
            full[0] -= 1
            raise AppendFailed(bench.directory, len(events), OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        return appended(events, **options)

    bench.record()
    monkeypatch.setattr(bench.log, "append_many", append_many)
    with closing(Engine(bench.log, clock=agenda, on_trouble=told.append)) as engine:
        engine.add(SINK, bench.sink)
        agenda.at(10, engine.stop)
        assert engine.follow().delivered == 1
    assert len(told) == 5
    assert all("No space left" in trouble for trouble in told)
    assert len(bench.sink.requests) == 1


def failing(bench: Bench, monkeypatch: pytest.MonkeyPatch, kind: type[Event], times: int, *, written: bool) -> None:
    """Have appends of such events fail so many times; the lines are `written` all the same, or not."""
    monkeypatch.setattr(engine_module, "_TROUBLE_SECONDS", 0.0)
    appended, left = bench.log.append_many, [times]

    def append_many(events: Sequence[Event], **options: Any) -> range:
        fails = left[0] > 0 and any(isinstance(event, kind) for event in events)
        if fails:
            left[0] -= 1
        seqs = appended(events, **options) if written or not fails else range(0)
        if fails:
            raise AppendFailed(bench.directory, len(events), OSError(errno.EIO, os.strerror(errno.EIO)))
        return seqs

    monkeypatch.setattr(bench.log, "append_many", append_many)


def test_what_came_of_a_request_is_told_once_however_long_it_cannot_be_written(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody says of a request that was sent that it was not."""
    bench, agenda = begin(make)
    bench.record()
    failing(bench, monkeypatch, SyncSucceeded, 5, written=False)
    assert follow(bench, agenda, 10).delivered == 1
    assert bench.types("SyncAttempted", "SyncSucceeded", "SyncFailed") == ["SyncAttempted", "SyncSucceeded"]


def test_an_attempt_that_is_in_the_log_though_its_append_failed_is_given_up(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was never sent, blames nobody, and its turn is sent by another one."""
    bench, agenda = begin(make)
    bench.record()
    failing(bench, monkeypatch, SyncAttempted, 1, written=True)
    assert follow(bench, agenda, 10).delivered == 1
    assert bench.failures() == {"unavailable": 1}
    assert len(bench.requests()) == 1


def test_a_sink_that_is_taken_over_from_a_worker_that_just_died_is_settled(make: Make) -> None:
    """Its last attempt may be in the log since the engine has looked last: it is settled, and keeps no turn waiting."""
    bench, agenda = begin(make)
    seqs = bench.record()
    with closing(Engine(bench.log, clock=agenda)) as engine:

        def join() -> bool:
            bench.append(SyncAttempted(sink=SINK, turns=tuple(seqs), worker="dead"))
            engine.add(SINK, bench.sink)
            return True

        agenda.at(10, engine.stop)
        assert engine.follow(join=join).delivered == 1
    assert bench.failures() == {"in_doubt": 1}


def test_held_turns_wait_for_the_operator_whatever_the_time(make: Make) -> None:
    """With `on_doubt = hold` a turn in doubt is sent again when the operator says so, and its lane waits for it."""
    from turnlog.testing import in_doubt

    bench, agenda = begin(make, FaultySink(limits=Limits(turns=1)))
    bench.terms = msgspec.structs.replace(bench.terms, on_doubt="hold")
    first, second = bench.record(2)
    bench.sink.faults.append(in_doubt(taken=1))
    follow(bench, agenda, DAY)
    assert bench.states() == {first: "retrying", second: "pending"}
    tried = bench.tried(first)
    assert tried is not None
    assert tried.held
    assert len(bench.requests()) == 1


@pytest.mark.parametrize("seconds", [0.0, 1e9])
def test_any_patience_of_the_policy_can_be_followed(make: Make, seconds: float) -> None:
    """No wait at all, and one of years."""
    bench, agenda = begin(make, policy=RetryPolicy(3, seconds, seconds))
    bench.record()
    bench.sink.faults.append(failed())
    follow(bench, agenda, 3600)
    assert bench.totals() in ({"delivered": 1}, {"retrying": 1})
    assert agenda.now() - START == timedelta(hours=1)
