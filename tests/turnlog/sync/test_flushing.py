"""Flushing the buffers that a sink keeps for its users: when, in which order, and at whose cost."""

import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

import turnlog.sync.engine as engine_module
from eventlog import SinkFlushed, SyncAttempted, SyncSucceeded
from projections import SinkState
from projections.delivery_state import Buffer
from turnlog.sinks.base import Flushed, Limits, Lost, Refused
from turnlog.sync.upkeep import Flushing
from turnlog.testing import FaultySink
from turnlog.testing.clock import START

from .conftest import Make
from .support import SINK, Agenda, Bench

LIMITS = Limits(turns=1, one_user=True, buffered=10)


@dataclass
class FlushingFaultySink(FaultySink):
    """Keeps a buffer for each user; a flush ends as `ends` says."""

    limits: Limits = LIMITS
    flush_after_seconds: float = 60.0
    ends: Flushed | Refused = Flushed()  # noqa: RUF009 - frozen
    flushed: list[str] = field(default_factory=list)

    def flush(self, user: str, *, quiet: bool) -> Flushed | Refused:
        self.flushed.append(user)
        return self.ends


def buffered(bench: Bench, user: str, amount: int = 10) -> int:
    """A turn that was delivered to the user's buffer; its seq."""
    (seq,) = bench.record(user=user)
    bench.append(SyncAttempted(sink=SINK, turns=(seq,)))
    attempt = bench.state.last_seq
    bench.append(SyncSucceeded(attempt=attempt, sink=SINK, turns=(seq,), buffered=amount))
    return seq


def begin(make: Make, **options: Any) -> tuple[Bench, FlushingFaultySink, Agenda]:
    sink, agenda = FlushingFaultySink(**options), Agenda()
    return make(sink, clock=agenda), sink, agenda


def test_what_a_flush_lost_is_in_the_log_before_the_flush(make: Make) -> None:
    """A crash between the two has the buffer flushed again, instead of forgetting who was in it."""
    bench, sink, _ = begin(make)
    seq = buffered(bench, "ann")
    sink.ends = Flushed((Lost(seq),), "it was too much")
    bench.run()
    assert bench.types("DeliveryRevoked", "SinkFlushed") == ["DeliveryRevoked", "SinkFlushed"]
    assert bench.sink.taken == [seq]


def test_a_flush_that_has_to_wait_for_a_connection_keeps_the_engine_from_nothing(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It sleeps until the connection is free, however long the flush of another user takes."""
    bench, sink, agenda = begin(make, connections=2)
    for user in ("ann", "bob"):
        buffered(bench, user)
    agenda.advance(100)
    flushing, waited, waits = threading.Event(), threading.Event(), []
    wait, flush = engine_module.Waiter.wait, FlushingFaultySink.flush

    def noting(waiter: Any, seconds: float) -> None:
        assert flushing.wait(30)
        waits.append(seconds)
        waited.set()
        wait(waiter, seconds)

    def slow(self: FlushingFaultySink, user: str, *, quiet: bool) -> Flushed | Refused:
        flushing.set()
        assert waited.wait(30)
        return flush(self, user, quiet=quiet)

    monkeypatch.setattr(engine_module.Waiter, "wait", noting)
    monkeypatch.setattr(FlushingFaultySink, "flush", slow)
    with closing(bench.engine()) as engine:
        agenda.at(200, engine.stop)
        engine.follow()
    assert waits[0] > 1
    assert sorted(sink.flushed) == ["ann", "bob"]
    assert len(bench.told(SinkFlushed)) == 2


def test_who_cannot_be_flushed_holds_up_nobody_else(make: Make) -> None:
    """Their turns wait for room; those of others take the one connection that there is."""
    bench, sink, agenda = begin(make, ends=Refused("in_doubt", "it took too long"))
    buffered(bench, "ann")
    (waiting,) = bench.record(user="ann", conversation="other")
    others = bench.record(user="bob") + bench.record(user="cas")
    with closing(bench.engine()) as engine:
        agenda.at(100, engine.stop)
        engine.follow()
    assert bench.sink.taken == others
    assert bench.clock.now() == START + timedelta(seconds=100)
    assert bench.state.turn_state(SINK, waiting) == "pending"
    assert len(sink.flushed) == 4  # at once, and every 30 seconds
    delivered = [entry.at for entry in bench.log.read() if isinstance(entry.event, SyncSucceeded)]
    assert set(delivered) == {START}


def test_a_plan_flushes_nobody(make: Make) -> None:
    """`sync --dry-run` plans, too, and touches nothing."""
    bench, _, agenda = begin(make)
    buffered(bench, "ann")
    bench.record(user="ann")
    with closing(bench.engine()) as engine:
        engine.catch_up()
        (delivery,) = engine.sinks.values()
        assert delivery.plan(agenda.now(), 0) == []
        assert delivery.under_way == 0
        delivery.make_room(agenda.now())
        assert delivery.under_way == 1


def test_when_to_flush_next_is_known_without_looking_at_every_user() -> None:
    """However many there are whose turns came since: the one who was quiet for longest is first."""

    class Counted(dict[str, Buffer]):
        looked_at = 0

        def items(self) -> Iterator[tuple[str, Buffer]]:  # type: ignore[override]
            for item in super().items():
                self.looked_at += 1
                yield item

    buffers = Counted({f"user{i}": Buffer(START + timedelta(seconds=i)) for i in range(1000)})
    state = SinkState("s", buffers=buffers)
    flushing = Flushing(lambda: state, {"user0"}, lambda _: True, lambda *_: [])
    sink = FlushingFaultySink()
    assert flushing.due_at(sink, START) == START + timedelta(seconds=61)
    flushing.begin(sink, START + timedelta(seconds=61), 5, lambda *_: None)
    assert buffers.looked_at < 10
