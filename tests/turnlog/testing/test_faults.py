"""The sink that fails as told."""

import pytest

from turnlog.sinks.base import Delivered, OutgoingTurn, Refused, Unknown
from turnlog.testing import (
    ALL,
    Fault,
    FaultySink,
    FindingFaultySink,
    failed,
    in_doubt,
    miscounted,
    outgoing,
    raising,
    rejected,
    throttled,
    unauthorized,
    unavailable,
)
from turnlog.testing.sink_contract import said


def batch_of(count: int) -> list[OutgoingTurn]:
    return outgoing([said("c", str(i), turn_id=f"t{i}") for i in range(count)])


def kinds(outcomes: object) -> list[str]:
    assert isinstance(outcomes, list)
    return [outcome.kind if isinstance(outcome, Refused) else "delivered" for outcome in outcomes]


@pytest.mark.parametrize(
    ("fault", "kind", "status"),
    [
        (unavailable(), "unavailable", None),
        (throttled(7), "throttled", 429),
        (unauthorized(), "unauthorized", 401),
        (failed(), "failed", 500),
        (rejected(), "rejected", 422),
        (in_doubt(), "in_doubt", None),
    ],
)
def test_a_fault_is_one_request_s(fault: Fault, kind: str, status: int | None) -> None:
    """The next request meets it as a whole and nothing is taken; the one after that is delivered."""
    sink, batch = FaultySink(), batch_of(2)
    sink.faults.append(fault)
    outcomes = sink.deliver(batch)
    assert kinds(outcomes) == [kind, kind]
    assert outcomes[0].status == status  # type: ignore[union-attr]
    assert not sink.taken
    assert kinds(sink.deliver(batch)) == ["delivered", "delivered"]
    assert [(request.seqs, request.fault) for request in sink.requests] == [((2, 3), fault), ((2, 3), None)]


@pytest.mark.parametrize("make", [rejected, failed])
def test_a_fault_may_be_some_turns_own(make: object) -> None:
    """The turns that are named are refused alone, the others are taken."""
    sink, batch = FaultySink(), batch_of(3)
    sink.faults.append(make(seqs=[batch[1].seq]))  # type: ignore[operator]
    outcomes = sink.deliver(batch)
    assert [getattr(outcome, "alone", None) for outcome in outcomes] == [None, True, None]
    assert sink.taken == [batch[0].seq, batch[2].seq]


@pytest.mark.parametrize(("taken", "count"), [(0, 0), (2, 2), (ALL, 3)])
def test_a_sink_in_doubt_has_the_first_turns(taken: int, count: int) -> None:
    """The answer is the same however many it took; one that can be asked tells."""
    sink, batch = FindingFaultySink(), batch_of(3)
    sink.faults.extend([in_doubt(taken=taken), raising(KeyError("x"), taken=taken)])
    assert kinds(sink.deliver(batch)) == ["in_doubt"] * 3
    assert len(sink.taken) == count
    assert [isinstance(sink.find(turn), Delivered) for turn in batch] == [True] * count + [False] * (3 - count)
    with pytest.raises(KeyError):
        sink.deliver(batch)
    assert len(sink.taken) == 2 * count


@pytest.mark.parametrize("surplus", [-3, -1, 1, 2])
def test_a_sink_may_lose_count(surplus: int) -> None:
    """So many outcomes more or fewer than turns."""
    sink = FaultySink()
    sink.faults.append(miscounted(surplus))
    assert len(sink.deliver(batch_of(3))) == 3 + surplus


def test_a_rule_answers_when_no_fault_is_next() -> None:
    """Faults that are queued go first; None in the queue is a request that goes well whatever the rule says."""
    sink, batch = FaultySink(), batch_of(1)
    sink.rule = lambda turns: failed() if len(turns) == 1 else None
    sink.faults.extend([None, rejected()])
    assert [kinds(sink.deliver(batch)) for _ in range(3)] == [["delivered"], ["rejected"], ["failed"]]


def test_an_outage_is_everything() -> None:
    """Requests, checks and questions, until it is over; queued faults wait for that."""
    sink, batch = FindingFaultySink(), batch_of(1)
    sink.deliver(batch)
    sink.outage = unauthorized()
    sink.faults.append(failed())
    assert kinds(sink.deliver(batch)) == ["unauthorized"]
    assert isinstance(sink.find(batch[0]), Unknown)
    refused = sink.check()
    assert refused is not None
    assert refused.kind == "unauthorized"
    sink.outage = None
    assert sink.check() is None
    assert kinds(sink.deliver(batch)) == ["failed"]
    assert sink.checks == 2


def test_what_is_stored_is_what_a_backend_would_have() -> None:
    """An idempotent one has each turn once, with what came last, at its first place; another one everything."""
    first, other = said("c", "one", turn_id="t"), said("c", "two", turn_id="u")
    revised = said("c", "one!", turn_id="t", revision=2)
    batch = outgoing([first, other, revised])
    for idempotent, texts in ((True, ["one!", "two"]), (False, ["one", "two", "one!", "one!"])):
        sink = FaultySink(idempotent=idempotent)
        for turns in (batch[:2], batch[2:], batch[2:]):
            sink.deliver(turns)
        assert [turn.event.messages[0].content for turn in sink.stored] == texts
        assert sink.taken == [turn.seq for turn in [*batch, batch[2]]]
        assert sink.copies(batch[2].seq) == (1 if idempotent else 2)


def test_a_test_may_look_in_while_a_request_comes_in() -> None:
    """`meanwhile` is called before the sink has it, outside its lock."""
    sink, batch = FaultySink(), batch_of(2)
    seen = []
    sink.meanwhile = lambda turns: seen.append((len(turns), len(sink.requests), sink._lock.locked()))
    sink.deliver(batch)
    assert seen == [(2, 0, False)]
