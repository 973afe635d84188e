"""The reference sink, and the sink with faults where it has none."""

from pathlib import Path

import pytest

from turnlog.config import Config, SinkConfig
from turnlog.errors import ConfigError
from turnlog.sinks.base import FindingSink, Limits, OutgoingTurn, Sink
from turnlog.sinks.memory import MemorySink
from turnlog.sinks.registry import open_sink
from turnlog.testing import FaultySink, FindingFaultySink
from turnlog.testing.sink_contract import SinkContract


def texts_of(turns: list[OutgoingTurn]) -> dict[str, list[str]]:
    received: dict[str, list[str]] = {}
    for turn in turns:
        texts = received.setdefault(turn.event.conversation, [])
        texts.extend(message.content for message in turn.event.messages)
    return received


class TestMemory(SinkContract):
    def make_sink(self) -> Sink:
        return MemorySink()

    def received(self, sink: Sink) -> dict[str, list[str]]:
        assert isinstance(sink, MemorySink)
        return texts_of(sink.received)


class TestSmallMemory(TestMemory):
    def make_sink(self) -> Sink:
        return MemorySink(limits=Limits(turns=1, conversations=1, size=1))


class TestFaulty(SinkContract):
    def make_sink(self) -> Sink:
        return FaultySink()

    def received(self, sink: Sink) -> dict[str, list[str]]:
        assert isinstance(sink, FaultySink)
        return texts_of(sink.stored)


class TestIdempotent(TestFaulty):
    def make_sink(self) -> Sink:
        return FaultySink(idempotent=True)


class TestFinding(TestFaulty):
    def make_sink(self) -> Sink:
        return FindingFaultySink(connections=4)


def test_who_can_be_asked_is_known() -> None:
    """The engine tells by the method `find` whether a sink can be asked."""
    assert isinstance(MemorySink(), FindingSink)
    assert isinstance(FindingFaultySink(), FindingSink)
    assert not isinstance(FaultySink(), FindingSink)


def test_memory_is_configured() -> None:
    """Its options are the requests at once and the turns in one; another key is refused with the nearest known one."""
    config = Config(path=Path("turnlog.toml"))
    sink = open_sink(config, SinkConfig("m", "memory", options={"connections": 3, "turns": 7}))
    assert (sink.connections, sink.limits.turns) == (3, 7)
    with pytest.raises(ConfigError, match="did you mean 'turns'"):
        open_sink(config, SinkConfig("m", "memory", options={"turn": 7}))
    with pytest.raises(ConfigError, match="did you mean 'memory'"):
        open_sink(config, SinkConfig("m", "memry"))
