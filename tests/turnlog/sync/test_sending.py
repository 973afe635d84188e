"""One request, and a sound outcome for each of its turns."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventlog import FAILURE_KINDS
from turnlog.sinks.base import Delivered, OutgoingTurn, Refused, Unknown
from turnlog.sync.outcomes import SINK_KINDS
from turnlog.sync.sending import MISSING, Item, check, send, settle, size
from turnlog.testing import FaultySink, FindingFaultySink, failed, in_doubt, outgoing, unavailable
from turnlog.testing.sink_contract import said

UNREADABLE = Refused("rejected", "its line is damaged", alone=True)
FOUND = Delivered({"found": True}, reconciled=True)


class Asked(FindingFaultySink):
    """Counts the questions, and cannot tell about some turns."""

    def __init__(self, *unknown: int, **options: Any) -> None:
        super().__init__(**options)
        self.unknown = unknown
        self.questions: list[int] = []

    def find(self, turn: OutgoingTurn) -> Delivered | Unknown | None:
        self.questions.append(turn.seq)
        return Unknown("no idea") if turn.seq in self.unknown else super().find(turn)


def batch_of(count: int) -> list[OutgoingTurn]:
    """Turns with the seqs 2, 3, 4 ..."""
    return outgoing([said("c", str(i)) for i in range(count)])


@given(st.lists(st.booleans(), max_size=6), st.booleans(), st.sets(st.integers(2, 7)), st.integers(0, 6))
def test_every_item_has_an_outcome_in_its_place(
    readable: list[bool], idempotent: bool, doubtful: set[int], taken: int
) -> None:
    """Whichever turns cannot be read, are had already, or are left in doubt: each outcome is its own turn's."""
    sink = FindingFaultySink(idempotent=idempotent)
    batch = batch_of(len(readable))
    sink.deliver([turn for turn in batch if turn.seq % 2])  # it has these already
    had = set(sink.taken)
    sink.faults.append(in_doubt(taken=taken))
    items: list[Item] = [turn if good else UNREADABLE for turn, good in zip(batch, readable, strict=True)]
    outcomes = send(sink, items, doubtful)
    assert len(outcomes) == len(items)
    for turn, item, outcome in zip(batch, items, outcomes, strict=True):
        if isinstance(item, Refused):
            assert outcome == UNREADABLE
        elif turn.seq in had or turn.seq in sink.taken:
            assert outcome == FOUND
        else:
            assert outcome == Refused(MISSING, "the connection broke")
    sent = {seq for request in sink.requests[1:] for seq in request.seqs}
    assert idempotent or not sent & had & doubtful


def test_a_request_without_readable_turns_is_not_sent() -> None:
    """Nothing is asked of the sink."""
    sink = Asked()
    assert send(sink, [UNREADABLE], set()) == [UNREADABLE]
    assert (sink.requests, sink.questions, sink.checks) == ([], [], 0)


def test_only_the_doubtful_are_asked_for_first() -> None:
    """A turn that was never in doubt costs no question."""
    sink, batch = Asked(), batch_of(3)
    assert [type(outcome) for outcome in send(sink, batch, {batch[1].seq})] == [Delivered] * 3
    assert sink.questions == [batch[1].seq]


def test_nothing_is_sent_while_the_sink_cannot_tell() -> None:
    """What it said it has is delivered; the rest is put off, as an outage if it has one, else as a failure."""
    for outage, kind in ((unavailable(), "unavailable"), (None, "failed")):
        batch = batch_of(4)
        sink = Asked(batch[1].seq)
        sink.deliver(batch[:1])
        sink.check = lambda outage=outage: outage and outage.refused  # type: ignore[method-assign,misc]
        found, *rest = send(sink, batch, {turn.seq for turn in batch})
        assert found == FOUND
        assert [outcome.kind for outcome in rest if isinstance(outcome, Refused)] == [kind] * 3
        assert len(sink.requests) == 1


def test_who_cannot_tell_is_not_asked_again_and_again() -> None:
    """After the first `I do not know` the rest of the request costs no more time-outs."""
    batch = batch_of(5)
    sink = Asked(batch[1].seq)
    send(sink, batch, {turn.seq for turn in batch})
    assert sink.questions == [batch[0].seq, batch[1].seq]


@pytest.mark.parametrize("outage", [None, unavailable(), in_doubt(), failed()])
def test_doubt_that_repeats_is_the_sink_s_if_it_is_not_well(outage: Any) -> None:
    """The first doubt is told as it is; the second is an outage if the check says so."""
    sink, batch = FaultySink(), batch_of(2)
    sink.rule = lambda _: in_doubt()
    sink.check = lambda: outage and outage.refused  # type: ignore[method-assign]
    first, second = send(sink, batch, {batch[1].seq})
    assert isinstance(first, Refused)
    assert isinstance(second, Refused)
    assert (first.kind, second.kind) == ("in_doubt", "unavailable" if outage else "in_doubt")


def test_a_dead_worker_s_turns_are_asked_for() -> None:
    """What the sink has is delivered, what it has not is missing, what cannot be read is as told, the rest in doubt."""
    sink, batch = Asked(), batch_of(3)
    sink.deliver(batch[:1])
    missing = Refused(MISSING, "died")
    assert settle(sink, [batch[0], batch[1], UNREADABLE], "died") == [FOUND, missing, UNREADABLE]
    assert settle(FaultySink(), batch, "died") == [Refused("in_doubt", "died")] * 3


@pytest.mark.parametrize("kind", FAILURE_KINDS)
def test_a_check_is_about_the_sink(kind: str) -> None:
    """Whatever failed in it, it blames no turn and leaves none in doubt."""
    sink = FaultySink()
    sink.check = lambda: Refused(kind, "why")  # type: ignore[method-assign]
    assert check(sink) == Refused(kind if kind in SINK_KINDS else "unavailable", "why")


receipts = [
    (None, None),
    ({"id": 1}, {"id": 1}),
    (("a", 2), ["a", 2]),
    ("\ud83d half", "\ufffd half"),
    (datetime(2026, 1, 1, tzinfo=UTC), "2026-01-01T00:00:00Z"),
    (object(), None),
    ({1: {2, 3}, "x": object()}, None),
]


@pytest.mark.parametrize(("receipt", "kept"), receipts, ids=[str(kept) for _, kept in receipts])
def test_a_receipt_is_kept_as_json(receipt: Any, kept: Any) -> None:
    """What is none is not kept; the turn is delivered all the same, and only the engine says `reconciled`."""

    class Proving(FaultySink):
        def deliver(self, batch: Any) -> list[Any]:
            return [Delivered(receipt, reconciled=True) for _ in batch]

    assert send(Proving(), batch_of(1), set()) == [Delivered(kept)]


def test_a_size_is_a_guess_where_the_sink_has_none() -> None:
    """The line's length stands in for an exception, nothing for a turn that is not sent."""
    sink, (turn,) = FaultySink(), batch_of(1)
    assert size(sink, turn) == turn.line_bytes
    assert size(sink, UNREADABLE) == 0
    sink.size = lambda _: 1 // 0  # type: ignore[method-assign]
    assert size(sink, turn) == turn.line_bytes


def test_all_is_taken_when_all_is_well() -> None:
    """The plain case, with everything taken in one request."""
    sink, batch = Asked(), batch_of(3)
    assert send(sink, batch, set()) == [Delivered({"number": number}) for number in (1, 2, 3)]
    assert sink.questions == []
