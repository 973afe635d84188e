"""The sink `batch`: the contract against the real receiver, and every answer that such servers give."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID, uuid4, uuid5

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventlog import EventLog, Message, Part, SinkEnrolled, SinkPaused, TurnRecorded
from turnlog import Recorder
from turnlog.config import Config, SinkConfig
from turnlog.errors import ConfigError
from turnlog.sinks.base import Delivered, Outcome, Refused, Sink
from turnlog.sinks.batch import NAMESPACE, BatchOptions, BatchSink, conversation_uuid, message_uuid, render
from turnlog.sinks.registry import open_sink
from turnlog.sync.counts import SyncCounts
from turnlog.sync.engine import Engine
from turnlog.testing import FakeClock, outgoing, turns
from turnlog.testing.sink_contract import SinkContract, said

from ..web.conftest import TOKEN
from .conftest import Answer, Wire, reply

Server = Any  # the class in conftest.py of the receiver's tests

COUNTS = {"inserted_conversations": 1, "inserted_messages": 2, "updated_conversations": 3, "updated_messages": 4}

CONVERSATION_UUID, MESSAGE_UUID = "71e22f72-a154-5b0f-a0e2-52fccd846da6", "6a033c8c-5ecf-5ea7-91b0-16a0ebeacdf0"


def open_batch(url: str, *, token: str | None = TOKEN, **options: Any) -> BatchSink:
    return BatchSink(BatchOptions(url, **{"connect_seconds": 2.0, "read_seconds": 20.0, **options}), token=token)


def texts_in(store: Path) -> dict[str, list[str]]:
    """What the receiver has, by the conversation's own name, in order."""
    query = (
        "SELECT metadata, content_text FROM messages JOIN conversations ON conversation_uuid = conversations.uuid"
        " ORDER BY conversation_uuid, round_index, messages.rowid"
    )
    received: dict[str, list[str]] = {}
    with closing(sqlite3.connect(store)) as connection:
        for metadata, text in connection.execute(query):
            received.setdefault(json.loads(metadata)["conversation"], []).append(text)
    return received


class TestBatch(SinkContract):
    options: ClassVar[dict[str, Any]] = {}

    @pytest.fixture(autouse=True)
    def _started(self, server: Server) -> None:
        self.server = server

    def make_sink(self) -> Sink:
        return open_batch(self.server.url, **self.options)

    def received(self, sink: Sink) -> dict[str, list[str]]:
        return texts_in(self.server.store)


class TestSmallBatches(TestBatch):
    options: ClassVar[dict[str, Any]] = {"turns": 2, "conversations": 1, "request_bytes": 1000, "connections": 1}


# What is sent.


@given(turns(), st.integers(0, 3))
def test_a_request_is_never_larger_than_its_turns_sizes(turn: TurnRecorded, more: int) -> None:
    """`size` is an upper bound, whatever is said, with structured parts or none, for one turn as for several."""
    others = [msgspec.structs.replace(turn, turn_id=f"{turn.turn_id}{i}") for i in range(more)]
    batch = outgoing([turn, *others])
    with closing(open_batch("http://127.0.0.1:1")) as sink:
        assert len(msgspec.json.encode(render(batch))) <= sum(map(sink.size, batch)) + 100


@given(turns())
def test_uuids_depend_on_the_turn_and_on_nothing_else(turn: TurnRecorded) -> None:
    """Rendered alone or among others, early or late, as this revision or another: the same messages, the same uuids."""
    (alone,) = outgoing([turn])
    first = said(turn.conversation, "before")
    first = msgspec.structs.replace(first, user=turn.user, source=turn.source)
    _, late = outgoing([first, msgspec.structs.replace(turn, revision=7)])
    here, there = (render([each])["conversations"][0] for each in (alone, late))
    assert here["uuid"] == there["uuid"]
    assert [m["uuid"] for m in here["messages"]] == [m["uuid"] for m in there["messages"]]
    uuids = [message["uuid"] for message in here["messages"]]
    assert len(set(uuids)) == len(uuids) == len(turn.messages)
    assert all(str(UUID(uuid)) == uuid for uuid in [here["uuid"], *uuids])


def test_uuids_are_what_they_always_were() -> None:
    """They are how a server knows a message again: changing them would duplicate all that was ever delivered."""
    (turn,) = outgoing([said("my talk", "hi", turn_id="t1")])
    assert conversation_uuid(turn) == CONVERSATION_UUID
    assert message_uuid("t1", "#0") == MESSAGE_UUID


@given(st.text(), st.text())
def test_uuids_are_those_of_version_5(turn_id: str, name: str) -> None:
    """Whatever is named: as the standard library makes them."""
    assert message_uuid(turn_id, name) == str(uuid5(NAMESPACE, f"message\n{turn_id}\n{name}"))


def test_a_conversation_that_is_a_uuid_keeps_it() -> None:
    """In its canonical form; another name is mapped to one that depends on source, user and name."""
    uuid = uuid4()
    named, upper = outgoing([said(str(uuid), "hi"), said(str(uuid).upper(), "hi")])
    assert conversation_uuid(named) == conversation_uuid(upper) == str(uuid)
    same, other = outgoing([said("a", "hi"), msgspec.structs.replace(said("a", "hi"), user="bob")])
    assert conversation_uuid(same) != conversation_uuid(other)


def test_a_request_says_where_messages_stand() -> None:
    """Rounds count turns, parents link messages over turns, content keeps its parts, the user is in the metadata."""
    parts = (Part("tool_call", name="ls"),)
    first = TurnRecorded(
        turn_id="1", user="ann", messages=(Message("user", "hi"), Message("assistant", "ho", parts=parts))
    )
    second = TurnRecorded(turn_id="2", user="ann", messages=(Message("user", "bye"),))
    (conversation,) = render(outgoing([first, second]))["conversations"]
    assert conversation["metadata"] == {"user": "ann", "source": "live", "conversation": "default"}
    one, two, three = conversation["messages"]
    assert [m["round_index"] for m in (one, two, three)] == [0, 0, 1]
    assert [m["parent_uuid"] for m in (one, two, three)] == [None, one["uuid"], two["uuid"]]
    assert (one["content_type"], one["content"], one["content_text"]) == ("text", "hi", "hi")
    assert (two["content_type"], two["content_text"]) == ("parts", "ho")
    assert two["content"] == {"text": "ho", "parts": parts}


# What is answered.


def answered(wire: Wire, *answers: Answer) -> Outcome:
    """The outcome of a turn whose request is answered so; both turns of the request have the same."""
    wire.answers = list(answers)
    with closing(open_batch(wire.url)) as sink:
        outcomes = sink.deliver(outgoing([said("c", "one"), said("c", "two")]))
    assert outcomes == [outcomes[0]] * 2
    assert TOKEN not in repr(outcomes)
    return outcomes[0]


@pytest.mark.parametrize(
    "body",
    [
        {"success": True, **COUNTS},
        {"code": 0, "message": "ok", "data": COUNTS},
        {"code": 0, "data": {"success": True, **COUNTS}, "trace": {"new": "field"}},
    ],
)
def test_both_answers_of_such_servers_are_understood(wire: Wire, body: Any) -> None:
    """The counts, at the top or in an envelope, are the receipt."""
    assert answered(wire, reply(200, json.dumps(body).encode())) == Delivered(COUNTS)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"code": 401, "message": "no"}, "unauthorized"),
        ({"code": 403, "message": "no"}, "unauthorized"),
        ({"code": 429, "message": "no"}, "throttled"),
        ({"code": 500, "message": "no"}, "failed"),
        ({"code": 503, "message": "no"}, "unavailable"),
        ({"code": 40001, "message": "no"}, "rejected"),
        ({"code": -1, "error": "no"}, "rejected"),
        ({"success": False, "error": "no"}, "rejected"),
        ({"code": 0, "message": "no", "data": {"success": False}}, "rejected"),
    ],
)
def test_a_refusal_in_a_200_is_a_refusal(wire: Wire, body: Any, kind: str) -> None:
    """`code` other than 0 or `success` false, wherever it stands, with the kind that the code means and its words."""
    outcome = answered(wire, reply(200, json.dumps(body).encode()))
    assert isinstance(outcome, Refused)
    assert (outcome.kind, outcome.status) == (kind, 200)
    assert outcome.error.endswith(": no")


@pytest.mark.parametrize("code", [401, 40001])
def test_a_refusal_that_echoes_the_token_does_not_get_it_told(wire: Wire, code: int) -> None:
    """Neither in an envelope."""
    outcome = answered(wire, reply(200, json.dumps({"code": code, "message": f"bad token {TOKEN}"}).encode()))
    assert isinstance(outcome, Refused)


@pytest.mark.parametrize("body", [b"", b"ok", b"<html>", b"{}", b"[]", b'{"code":"0"}', b"\xff", b"[" * 100_000])
def test_an_answer_that_no_such_server_gives_is_a_failure(wire: Wire, body: bytes) -> None:
    """A 200 of a proxy's login page delivers nothing."""
    outcome = answered(wire, reply(200, body))
    assert isinstance(outcome, Refused)
    assert outcome.kind == "failed"


@pytest.mark.parametrize(("status", "kind"), [(413, "rejected"), (500, "failed"), (502, "unavailable")])
def test_a_request_s_failure_is_that_of_all_its_turns(wire: Wire, status: int, kind: str) -> None:
    """The server takes or refuses a request as a whole, and sending again is safe."""
    outcome = answered(wire, reply(status))
    assert isinstance(outcome, Refused)
    assert (outcome.kind, outcome.alone) == (kind, False)


# The check.


def test_the_check_finds_a_wrong_token(server: Server) -> None:
    """The health alone would not tell: a wrong token is unauthorized, a right one is well."""
    for token, kind in ((TOKEN, None), ("not-this-one", "unauthorized"), (None, "unauthorized")):
        with closing(open_batch(server.url, token=token)) as sink:
            refused = sink.check()
        assert (refused and refused.kind) == kind
        assert "not-this-one" not in repr(refused)


def test_the_check_finds_nobody(wire: Wire) -> None:
    """A port on which nobody listens, and a server that is not such a one, are unavailable."""
    with closing(open_batch("http://127.0.0.1:1")) as sink:
        refused = sink.check()
    assert refused is not None
    assert refused.kind == "unavailable"
    wire.answers = [reply(404), reply(404)]
    with closing(open_batch(wire.url)) as sink:
        refused = sink.check()
    assert refused is not None
    assert refused.kind == "unavailable"


def test_a_server_that_does_not_tell_its_health_may_be_well(wire: Wire) -> None:
    """What it says of an empty batch decides: else a pause of such a sink would never end."""
    wire.answers = [reply(404), reply(200, b'{"code":0,"message":"ok","data":{}}')]
    with closing(open_batch(wire.url)) as sink:
        assert sink.check() is None


def test_the_check_stores_nothing(server: Server) -> None:
    """It posts an empty batch."""
    before = server.totals()
    with closing(open_batch(server.url)) as sink:
        assert sink.check() is None
    assert server.totals() == before


# With the engine, and from a configuration.


def test_the_token_is_in_no_event(tmp_path: Path, server: Server) -> None:
    """With a wrong token nothing is delivered or blamed; with the right one all is; the log knows neither."""
    clock = FakeClock()
    with Recorder(tmp_path, durability="os") as recorder:
        recorder.append([SinkEnrolled(sink="team", kind="batch")])
        recorder.record(user="ann", conversation=str(uuid4()), messages=[{"role": "user", "content": "hi"}])
        for token, counts in (("wrong-token", SyncCounts(pending=1)), (TOKEN, SyncCounts(delivered=1))):
            with closing(open_batch(server.url, token=token)) as sink:
                engine = Engine(recorder.log, clock=clock)
                engine.add("team", sink)
                assert engine.run_once() == counts
                engine.close()
        paused = [entry.event for entry in recorder.log.read() if isinstance(entry.event, SinkPaused)]
        assert [event.kind for event in paused] == ["unauthorized"]
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert b"wrong-token" not in path.read_bytes()
            assert TOKEN.encode() not in path.read_bytes()


def test_a_sink_is_made_from_its_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """URL, token by reference, limits; what is wrong with it is a ConfigError that names the sink."""
    monkeypatch.setenv("TEAM_TOKEN", TOKEN)
    config = Config(path=tmp_path / "turnlog.toml")

    def make(**options: Any) -> Sink:
        return open_sink(config, SinkConfig("team", "batch", options=options))

    sink = make(url="http://h", token={"env": "TEAM_TOKEN"}, turns=7, connections=2)
    assert (sink.limits.turns, sink.limits.one_source, sink.connections) == (7, True, 2)
    for wrong, sentence in (
        ({}, "url"),
        ({"url": "ftp://h"}, "http://"),
        ({"url": "http://[::bad"}, "URL"),
        ({"url": "http://me:password@h"}, "no password"),
        ({"url": "http://h", "turns": 0}, "at least 1"),
        ({"url": "http://h", "token": "plain"}, "token"),
        ({"url": "http://h", "token": {"env": "NOT_SET"}}, "NOT_SET"),
        ({"url": "http://h", "tokn": {"env": "TEAM_TOKEN"}}, "did you mean 'token'"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            make(**wrong)


def test_large_conversations_arrive_in_order_through_the_engine(tmp_path: Path, server: Server) -> None:
    """Several connections, small requests, many turns of few lanes: the receiver has each once, in order."""
    names = [f"lane {uuid4()}" for _ in range(5)]
    with Recorder(tmp_path, durability="os") as recorder:
        recorder.append([SinkEnrolled(sink="team", kind="batch")])
        recorder.record_many([said(name, f"{i} q", f"{i} a") for i in range(20) for name in names])
        with closing(open_batch(server.url, turns=7, connections=4)) as sink:
            engine = Engine(recorder.log, clock=FakeClock())
            engine.add("team", sink)
            assert engine.run_once() == SyncCounts(delivered=100)
            engine.close()
        assert EventLog.open(tmp_path, read_only=True).verify().ok
    received = texts_in(server.store)
    for name in names:
        assert received[name] == [f"{i} {c}" for i in range(20) for c in "qa"]
