"""What wakes the engine, and what it does then: no turn waits for another, and nothing is planned in vain."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import pytest

from eventlog import Event, EventLog, Message, SyncAttempted, SyncSucceeded, TurnRecorded, Waiter
from turnlog.clock import SystemClock
from turnlog.sinks.base import Limits
from turnlog.sync import delivery as module
from turnlog.sync.engine import Engine
from turnlog.testing import FaultySink

from .conftest import Make
from .support import SINK, Bench

PATIENCE_SECONDS = 20.0


class Delivered:
    """Hears what an engine writes, and tells when so many turns are delivered."""

    def __init__(self) -> None:
        self.count = 0
        self._changed = threading.Condition()

    def note(self, events: Sequence[Event]) -> None:
        with self._changed:
            self.count += sum(len(event.turns) for event in events if isinstance(event, SyncSucceeded))
            self._changed.notify_all()

    def wait(self, count: int) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self.count >= count, PATIENCE_SECONDS)


@contextmanager
def following(bench: Bench) -> Iterator[Delivered]:
    """An engine that follows the log in a thread of its own."""
    delivered = Delivered()
    log = EventLog.open(bench.directory)
    engine = Engine(log, clock=SystemClock(), on_events=delivered.note)
    engine.add(SINK, bench.sink, bench.terms)
    thread = threading.Thread(target=engine.follow)
    thread.start()
    try:
        yield delivered
    finally:
        engine.stop()
        thread.join(PATIENCE_SECONDS)
        engine.close()
        log.close()


def test_what_comes_is_delivered(bench: Bench) -> None:
    """One turn after the other, each when it is recorded."""
    with following(bench) as delivered:
        for number in range(1, 4):
            bench.record()
            assert delivered.wait(number)
    assert bench.totals() == {"delivered": 3}


def test_what_the_engine_writes_itself_is_planned_for_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It wakes by its own lines, too; only what is new makes it look for something to send."""
    plan, plans = module.plan, 0

    def count(*arguments: Any, **options: Any) -> Any:
        nonlocal plans
        plans += 1
        return plan(*arguments, **options)

    monkeypatch.setattr(module, "plan", count)
    with following(bench) as delivered:
        for number in range(1, 21):
            bench.record()
            assert delivered.wait(number)
    assert plans <= 1 + 20 * 2  # at the beginning; for each turn, and for each outcome


def test_a_turn_that_comes_while_an_attempt_is_written_waits_for_nobody(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is recorded right behind the SyncAttempted, and delivered while that request is still under way."""
    bench = make(FaultySink(connections=2))
    (first,) = bench.record(user="ann")
    other = TurnRecorded(turn_id="other", user="bob", messages=(Message("user", "hi"),))
    is_other_sent = threading.Event()
    append_many: Callable[..., range] = EventLog.append_many

    def interfere(log: EventLog, events: Sequence[Event], **options: Any) -> range:
        seqs = append_many(log, events, **options)
        if isinstance(events[0], SyncAttempted) and first in events[0].turns:
            append_many(bench.log, [other])
        return seqs

    def hold(turns: Sequence[Any]) -> None:
        if turns[0].seq == first:
            assert is_other_sent.wait(PATIENCE_SECONDS)
        else:
            is_other_sent.set()

    bench.sink.meanwhile = hold
    monkeypatch.setattr(EventLog, "append_many", interfere)
    with following(bench) as delivered:
        assert delivered.wait(2)


def test_nothing_rests_undurable(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the engine sleeps, all that it has appended is synced: alone, or together with what came after it."""
    bench, told = make(FaultySink(limits=Limits(turns=1))), []

    def spy(owner: type, name: str, tell: Callable[..., str]) -> None:
        real = getattr(owner, name)

        def call(*arguments: Any, **options: Any) -> Any:
            told.append(tell(**options))
            return real(*arguments, **options)

        monkeypatch.setattr(owner, name, call)

    bench.record(3)
    spy(EventLog, "append_many", lambda *, sync=True: "synced" if sync else "appended")
    spy(EventLog, "sync", lambda: "synced")
    spy(Waiter, "wait", lambda: "sleeps")
    with following(bench) as delivered:
        assert delivered.wait(3)
    assert told.count("appended") >= 3
    for position, what in enumerate(told):
        if what == "appended":
            rest = told[position:]
            assert "synced" in rest[: rest.index("sleeps") if "sleeps" in rest else None]


def test_nothing_is_kept_of_turns_that_have_arrived(bench: Bench) -> None:
    """An engine that runs for months takes no more memory for what it sent, once nothing is left to send."""
    with closing(bench.engine()) as engine:
        bench.record(50)
        assert engine.run_once().delivered == 50
        assert engine.contents.kept_bytes == 0
