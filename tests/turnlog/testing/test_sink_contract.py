"""The contract of sinks finds what it must: a sink spoilt in one way fails the test that is about it."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec
import pytest
from hypothesis import Phase, settings

from turnlog.sinks.base import Delivered, Limits, OutgoingTurn, Refused, Sink
from turnlog.testing import FaultySink, FindingFaultySink, sink_contract
from turnlog.testing.sink_contract import SinkContract


class Contract(SinkContract):
    """The contract for a sink that is made elsewhere."""

    __test__ = False

    def __init__(self, make: Callable[[], FaultySink]) -> None:
        self.make = make

    def make_sink(self) -> Sink:
        return self.make()

    def received(self, sink: Sink) -> dict[str, list[str]]:
        assert isinstance(sink, FaultySink)
        texts: dict[str, list[str]] = {}
        for turn in sink.stored:
            texts.setdefault(turn.event.conversation, []).extend(message.content for message in turn.event.messages)
        return texts


TESTS = sorted(name for name in dir(SinkContract) if name.startswith("test_"))


def deliver(sink: FaultySink, batch: Sequence[OutgoingTurn]) -> list[Any]:
    return list(FaultySink.deliver(sink, batch))


class Refusing(FaultySink):
    def check(self) -> Refused | None:
        return Refused("unavailable", "no")


class Unlimited(FaultySink):
    def __init__(self) -> None:
        super().__init__(limits=Limits(turns=0))


class Silent(FaultySink):
    def deliver(self, batch: Sequence[OutgoingTurn]) -> list[Any]:
        return deliver(self, batch)[1:]


class Backwards(FaultySink):
    def deliver(self, batch: Sequence[OutgoingTurn]) -> list[Any]:
        return deliver(self, list(reversed(batch)))


class Losing(FaultySink):
    def deliver(self, batch: Sequence[OutgoingTurn]) -> list[Any]:
        deliver(self, batch[1:])
        return [Delivered()] * len(batch)


class Odd(FaultySink):
    def deliver(self, batch: Sequence[OutgoingTurn]) -> list[Any]:
        return [Delivered({1: "one"}) for _ in deliver(self, batch)]


class Mixing(FaultySink):
    def deliver(self, batch: Sequence[OutgoingTurn]) -> list[Any]:
        name = batch[0].event.conversation
        mixed = [msgspec.structs.replace(t, event=msgspec.structs.replace(t.event, conversation=name)) for t in batch]
        return deliver(self, mixed)


class Doubling(FaultySink):
    def __init__(self) -> None:
        super().__init__()
        self.idempotent = True

    def deliver(self, batch: Sequence[OutgoingTurn]) -> list[Any]:
        self.idempotent = False
        try:
            return deliver(self, batch)
        finally:
            self.idempotent = True


class Ascii(FaultySink):
    def deliver(self, batch: Sequence[OutgoingTurn]) -> list[Any]:
        def plain(turn: OutgoingTurn) -> OutgoingTurn:
            said = [
                msgspec.structs.replace(m, content=m.content.encode("ascii", "replace").decode())
                for m in turn.event.messages
            ]
            return msgspec.structs.replace(turn, event=msgspec.structs.replace(turn.event, messages=tuple(said)))

        return deliver(self, [plain(turn) for turn in batch])


class Small(FaultySink):
    def deliver(self, batch: Sequence[OutgoingTurn]) -> list[Any]:
        if sum(turn.line_bytes for turn in batch) > self.limits.size:
            return [Refused("rejected", "too large")] * len(batch)
        return deliver(self, batch)


class Few(FaultySink):
    def deliver(self, batch: Sequence[OutgoingTurn]) -> list[Any]:
        return [Refused("rejected", "too many")] * len(batch) if len(batch) > 50 else deliver(self, batch)


class Weightless(FaultySink):
    def size(self, turn: OutgoingTurn) -> int:
        return 0


class Shy(FaultySink):
    """Takes one request at a time, and says so by refusing the others."""

    def __init__(self) -> None:
        super().__init__()
        self.busy: set[str] = set()

    def deliver(self, batch: Sequence[OutgoingTurn]) -> list[Any]:
        self.busy |= {turn.event.conversation for turn in batch}
        names = {name for name in self.busy if name.startswith("contract")}
        return [Refused("failed", "one at a time")] * len(batch) if len(names) > 3 else deliver(self, batch)


class Boasting(FindingFaultySink):
    def find(self, turn: OutgoingTurn) -> Delivered | None:
        return Delivered()


class Stubborn(FaultySink):
    def close(self) -> None:
        if self.closed:
            raise RuntimeError("closed already")
        super().close()


SPOILT = {
    Refusing: "test_check_is_none_when_all_is_well",
    Unlimited: "test_it_says_what_it_is",
    Silent: "test_every_turn_has_an_outcome_and_arrives",
    Losing: "test_every_turn_has_an_outcome_and_arrives",
    Odd: "test_every_turn_has_an_outcome_and_arrives",
    Backwards: "test_a_conversation_keeps_its_order",
    Mixing: "test_conversations_in_one_request_stay_apart",
    Doubling: "test_a_turn_sent_again_is_there_once",
    Ascii: "test_any_text_arrives_as_it_is",
    Small: "test_a_turn_larger_than_a_request_works_alone",
    Few: "test_a_request_may_be_as_full_as_the_limits_say",
    Weightless: "test_a_longer_turn_is_not_smaller",
    Shy: "test_several_threads_may_deliver_at_once",
    Boasting: "test_it_finds_what_it_has_and_nothing_else",
    Stubborn: "test_closing_twice_is_closing",
}


@pytest.mark.parametrize(("kind", "test"), SPOILT.items(), ids=[kind.__name__ for kind in SPOILT])
def test_a_spoilt_sink_fails_its_test(monkeypatch: pytest.MonkeyPatch, kind: type[FaultySink], test: str) -> None:
    """Whatever is wrong with it, the test that is about it says so."""
    monkeypatch.setattr(sink_contract, "settings", partial(settings, phases=[Phase.generate]))  # any example will do
    with pytest.raises((AssertionError, RuntimeError)):
        getattr(Contract(kind), test)()


def test_a_revision_that_is_added_is_found() -> None:
    """A sink that calls itself idempotent and keeps both the old and the new."""
    with pytest.raises(AssertionError):
        Contract(Doubling).test_a_revision_takes_its_elder_s_place()


def test_every_test_of_the_contract_can_fail() -> None:
    """None is there for show."""
    assert set(TESTS) == {*SPOILT.values(), "test_a_revision_takes_its_elder_s_place"}


@pytest.mark.parametrize("test", TESTS)
def test_an_honest_sink_passes(test: str) -> None:
    """The same sinks unspoilt pass, all that is asked of them."""
    getattr(Contract(lambda: FindingFaultySink(idempotent=True)), test)()
