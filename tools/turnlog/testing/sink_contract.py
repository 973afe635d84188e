# ruff: noqa: S101 - these are tests, whoever runs them
"""What every sink must do, as one test class that the tests of each sink subclass.

::

    class TestMySink(SinkContract):
        def make_sink(self) -> Sink:
            return MySink(...)

        def received(self, sink: Sink) -> dict[str, list[str]]:
            return {...}        # asked of the backend: for each conversation its messages' texts, in order

Each test uses conversations of its own, so that one backend can serve all of them. What only some sinks promise is
asked of those: `idempotent` ones take a turn again without harm, a `FindingSink` can say what it has.
"""

import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from uuid import uuid4

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings

from eventlog import Message, TurnRecorded
from turnlog.sinks.base import Delivered, FindingSink, OutgoingTurn, Sink
from turnlog.testing.outgoing import outgoing
from turnlog.testing.strategies import turns

_TURNS_MAX = 500
_LARGE_BYTES_MAX = 8 * 1024 * 1024


def said(conversation: str, *texts: str, turn_id: str | None = None, revision: int = 1) -> TurnRecorded:
    """A turn in which these texts are said, by the user and the assistant in turn."""
    roles = ("user", "assistant")
    messages = tuple(Message(roles[i % 2], text) for i, text in enumerate(texts))
    return TurnRecorded(
        turn_id=turn_id or str(uuid4()), revision=revision, user="ann", conversation=conversation, messages=messages
    )


def deliver(sink: Sink, batch: Sequence[OutgoingTurn]) -> None:
    """Send one request, which the sink must take."""
    outcomes = sink.deliver(batch)
    assert len(outcomes) == len(batch)
    assert all(isinstance(outcome, Delivered) for outcome in outcomes), outcomes


class SinkContract(ABC):
    """The tests that every sink passes; see the module for how to use it."""

    @abstractmethod
    def make_sink(self) -> Sink:
        """A new sink; those of two calls send to the same backend, or to one each."""

    @abstractmethod
    def received(self, sink: Sink) -> dict[str, list[str]]:
        """What the sink's backend has: for each conversation, as turns name it, its messages' texts in order."""

    def told(self, turn: TurnRecorded) -> list[str]:
        """The texts of a turn as the backend tells them; a sink that has no place for some of it says so here."""
        return [message.content for message in turn.messages]

    def test_it_says_what_it_is(self) -> None:
        """It has all that the engine asks for, and limits within which there is room."""
        with closing(self.make_sink()) as sink:
            assert isinstance(sink, Sink)
            assert sink.type.isidentifier()
            assert min(sink.limits.turns, sink.limits.conversations, sink.limits.size, sink.connections) >= 1
            assert isinstance(sink.idempotent, bool)

    def test_check_is_none_when_all_is_well(self) -> None:
        """It is reachable and lets us in; asking again gives the same answer."""
        with closing(self.make_sink()) as sink:
            assert sink.check() is None
            assert sink.check() is None

    def test_every_turn_has_an_outcome_and_arrives(self) -> None:
        """One request with several turns: each is delivered, with a receipt that is JSON, and its texts arrive."""
        name = _new_name()
        batch = outgoing([said(name, f"question {i}", f"answer {i}") for i in range(5)])
        with closing(self.make_sink()) as sink:
            outcomes = sink.deliver(batch[: sink.limits.turns])
            for outcome in outcomes:
                assert isinstance(outcome, Delivered)
                assert msgspec.json.decode(msgspec.json.encode(outcome.receipt)) == outcome.receipt
                assert not outcome.reconciled
            assert len(outcomes) == min(5, sink.limits.turns)
            assert self._texts(sink, name)[:2] == ["question 0", "answer 0"]

    def test_a_conversation_keeps_its_order(self) -> None:
        """Turns sent one after the other, and several in one request, are at the backend in the order of the turns."""
        name = _new_name()
        batch = outgoing([said(name, f"{i} a", f"{i} b") for i in range(6)])
        with closing(self.make_sink()) as sink:
            for first, last in ((0, 1), (1, 2), (2, 4), (4, 6)):
                self._deliver(sink, batch[first:last])
            assert self._texts(sink, name) == [f"{i} {c}" for i in range(6) for c in "ab"]

    def test_conversations_in_one_request_stay_apart(self) -> None:
        """Interleaved turns of several conversations each end in their own, in order."""
        names = [_new_name() for _ in range(3)]
        batch = outgoing([said(name, f"{name} {i}") for i in range(3) for name in names])
        with closing(self.make_sink()) as sink:
            self._deliver(sink, batch)
            for name in names:
                assert self._texts(sink, name) == [f"{name} {i}" for i in range(3)]

    def test_a_turn_sent_again_is_there_once(self) -> None:
        """An idempotent sink takes what it has without harm, alone or among other turns."""
        name = _new_name()
        batch = outgoing([said(name, f"{i}") for i in range(4)])
        with closing(self._idempotent_sink()) as sink:
            self._deliver(sink, batch[:2])
            self._deliver(sink, batch[:2])
            self._deliver(sink, batch[1:])
            assert self._texts(sink, name) == ["0", "1", "2", "3"]

    def test_a_revision_takes_its_elder_s_place(self) -> None:
        """At an idempotent sink a turn that was edited and grew is there once, with what it says now."""
        name = _new_name()
        turns = [said(name, "hi", turn_id=f"{name} 1"), said(name, "next", turn_id=f"{name} 2")]
        revised = said(name, "hi there", "hello", turn_id=f"{name} 1", revision=2)
        batch = outgoing([*turns, revised])
        with closing(self._idempotent_sink()) as sink:
            self._deliver(sink, batch[:2])
            self._deliver(sink, batch[2:])
            assert self._texts(sink, name) == ["hi there", "hello", "next"]

    def test_any_text_arrives_as_it_is(self) -> None:
        """Every script, controls, NUL, nothing at all: the backend has what was said, to the character."""
        with closing(self.make_sink()) as sink:

            @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
            @given(turns())
            def arrives(turn: TurnRecorded) -> None:
                name = _new_name()
                turn = msgspec.structs.replace(turn, turn_id=name, conversation=name)
                self._deliver(sink, outgoing([turn]))
                assert self._texts(sink, name) == self.told(turn)

            arrives()

    def test_a_turn_larger_than_a_request_works_alone(self) -> None:
        """What exceeds `limits.size` is sent alone, and the sink does not refuse it for that."""
        name = _new_name()
        with closing(self.make_sink()) as sink:
            text = "世界" * (min(sink.limits.size, _LARGE_BYTES_MAX) // 6 + 1)
            (turn,) = outgoing([said(name, text)])
            deliver(sink, [turn])
            assert self._texts(sink, name) == [text]

    def test_a_request_may_be_as_full_as_the_limits_say(self) -> None:
        """`limits.turns` turns of one conversation in one request are taken."""
        name = _new_name()
        with closing(self.make_sink()) as sink:
            count = min(sink.limits.turns, _TURNS_MAX)
            deliver(sink, outgoing([said(name, f"{i}") for i in range(count)]))
            assert self._texts(sink, name) == [f"{i}" for i in range(count)]

    def test_a_longer_turn_is_not_smaller(self) -> None:
        """`size` is a number of bytes above 0 that follows the text."""
        with closing(self.make_sink()) as sink:
            sizes = [sink.size(turn) for turn in outgoing([said("c", "世" * 10**power) for power in range(5)])]
            assert all(size > 0 for size in sizes)
            assert sizes == sorted(sizes)

    def test_several_threads_may_deliver_at_once(self) -> None:
        """As many requests as there are connections, and more, each of its own conversation: all arrive in order."""
        with closing(self.make_sink()) as sink:
            workers = max(4, min(sink.connections, 8))
            names = [_new_name() for _ in range(workers)]
            together = threading.Barrier(workers)

            def work(name: str) -> None:
                batch = outgoing([said(name, f"{i}") for i in range(3)])
                together.wait(timeout=30)
                for turn in batch:
                    deliver(sink, [turn])

            with ThreadPoolExecutor(workers) as pool:
                list(pool.map(work, names))
            for name in names:
                assert self._texts(sink, name) == ["0", "1", "2"]

    def test_it_finds_what_it_has_and_nothing_else(self) -> None:
        """A sink that can be asked has no turn before it was sent, and that one and no other afterwards."""
        first, second = outgoing([said(_new_name(), "one"), said(_new_name(), "two")])
        second = msgspec.structs.replace(second, attempt=second.attempt + 1)
        with closing(self.make_sink()) as sink:
            if not isinstance(sink, FindingSink):
                pytest.skip("this sink cannot be asked")
            assert sink.find(first) is None
            deliver(sink, [first])
            assert isinstance(sink.find(first), Delivered)
            assert sink.find(second) is None

    def test_closing_twice_is_closing(self) -> None:
        """Also if nothing was ever sent."""
        sink = self.make_sink()
        sink.close()
        sink.close()

    def _deliver(self, sink: Sink, batch: Sequence[OutgoingTurn]) -> None:
        """Send turns in as few requests as the limits allow, whatever they are."""
        size = min(sink.limits.turns, len(batch)) if sink.limits.conversations >= len(batch) else 1
        for first in range(0, len(batch), size):
            deliver(sink, batch[first : first + size])

    def _texts(self, sink: Sink, conversation: str) -> list[str]:
        return self.received(sink).get(conversation, [])

    def _idempotent_sink(self) -> Sink:
        sink = self.make_sink()
        if not sink.idempotent:
            sink.close()
            pytest.skip("this sink takes a turn as often as it is sent")
        return sink


def _new_name() -> str:
    return f"contract {uuid4()}"
