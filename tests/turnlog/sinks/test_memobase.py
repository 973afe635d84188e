"""The sink `memobase` against a double of the server: what is sent, what is found again, what a flush makes of it."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid5

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventlog import TurnRecorded
from turnlog.errors import ConfigError
from turnlog.sinks.base import Delivered, Flushed, Lost, Refused, Sink, Unknown
from turnlog.sinks.memobase import MemobaseSink
from turnlog.sinks.memobase_api import USER_NAMESPACE, MemobaseApi, user_uuid
from turnlog.testing.memobase import MemobaseDouble
from turnlog.testing.proxy import RESET_AFTER, RESET_BEFORE, Fault, FaultProxy, status_fault
from turnlog.testing.sink_contract import SinkContract

from .memobase_support import TOKEN, deliver, fields_of, is_delivered, out, sink_for, texts_by_conversation, turn

ANN = user_uuid("ann")


@pytest.fixture
def double() -> Iterator[MemobaseDouble]:
    with MemobaseDouble(TOKEN) as double:
        yield double


@pytest.fixture
def lasting() -> Iterator[MemobaseDouble]:
    """One that keeps what it has processed."""
    with MemobaseDouble(TOKEN, persistent_chat_blobs=True) as double:
        yield double


@pytest.fixture
def sink(double: MemobaseDouble) -> Iterator[MemobaseSink]:
    sink = sink_for(double.url)
    yield sink
    sink.close()


class TestMemobaseSink(SinkContract):
    """What every sink does."""

    @pytest.fixture(autouse=True)
    def _serve(self) -> Iterator[None]:
        with MemobaseDouble(TOKEN) as self.double:
            yield

    def make_sink(self) -> Sink:
        return sink_for(self.double.url)

    def received(self, sink: Sink) -> dict[str, list[str]]:
        return texts_by_conversation(self.double)

    def told(self, turn: TurnRecorded) -> list[str]:
        """A message without text is told by its parts."""
        return [message.content for message in turn.messages if message.content or not message.parts]


# Users.


@given(st.text(min_size=1))
def test_any_user_has_an_id_that_memobase_takes(name: str) -> None:
    """A UUID of version 4 or 5; the same name always the same one."""
    assert user_uuid(name) == user_uuid(name)
    assert user_uuid(name)[14] in "45"


def test_a_uuid_that_memobase_takes_is_the_user_s_own() -> None:
    """Versions 4 and 5; another one is a name like any other. The namespace never changes."""
    four, one = "0f0f8c5e-2b5c-4a57-9f3e-7d6b2c1a9e11", "0f0f8c5e-2b5c-1a57-9f3e-7d6b2c1a9e11"
    assert user_uuid(four) == four
    assert user_uuid(four.upper()) == four
    assert user_uuid(one) != one
    assert str(USER_NAMESPACE) == "5f7a3b52-0c1e-5d0a-9b43-6e2f1c8d4a70"
    assert user_uuid("ann") == str(uuid5(USER_NAMESPACE, "ann"))


def test_a_user_is_created_when_first_needed_and_never_again(double: MemobaseDouble, sink: MemobaseSink) -> None:
    """One request says that it is missing; the name is kept with it."""
    for i in range(3):
        assert is_delivered(deliver(sink, out(turn("hi", turn_id=str(i)))))
    assert double.users == {ANN: {"name": "ann"}}
    assert double.counters["POST /users"] == 1
    assert len(double.blobs()) == 3


# What is sent.


def test_turns_of_a_conversation_are_one_blob_that_says_whose_they_are(
    double: MemobaseDouble, sink: MemobaseSink
) -> None:
    """Messages in order with their times; turn ids and seqs in its fields; the receipt names it."""
    batch = out(turn("a", "b", turn_id="t1"), turn("c", turn_id="t2"), attempt=77)
    outcome = deliver(sink, batch)
    (blob,) = double.blobs()
    assert [message["content"] for message in blob.messages] == ["a", "b", "c"]
    assert {message["created_at"] for message in blob.messages} == {"2026-11-20T10:00:00Z"}
    fields = fields_of(blob)
    assert (fields.turn_ids, fields.seqs, fields.attempt) == (["t1", "t2"], [turn.seq for turn in batch], 77)
    assert isinstance(outcome, Delivered)
    assert outcome.receipt == {"user": ANN, "blobs": [blob.id]}
    assert outcome.buffered >= blob.tokens > 0


def test_what_a_sink_says_of_a_turn_s_size_is_no_less_than_what_it_sends(
    double: MemobaseDouble, sink: MemobaseSink
) -> None:
    """So that a full blob is within the budget by the server's counting too."""
    texts = ["word " * 300, "你好，世界。" * 100, "x" * 900, "{}[]();" * 60]
    for i, text in enumerate(texts):
        (one,) = out(turn(text, turn_id=str(i)))
        deliver(sink, [one])
        assert sink.size(one) * 4 / 3 >= double.blobs()[-1].tokens


def test_a_turn_that_is_too_long_for_a_blob_arrives_in_parts(double: MemobaseDouble) -> None:
    """Divided at sentences, numbered, each flushed before the next: nothing is refused, cut off, or dropped."""
    sink = sink_for(double.url, tokens=1000)
    text = "A sentence that is long enough to count. " * 300
    outcome = deliver(sink, out(turn("before", text, "after")))
    sink.flush("ann", quiet=True)
    blobs = double.blobs()
    fields = [fields_of(blob) for blob in blobs]
    assert [f.part for f in fields] == list(range(1, len(blobs) + 1))
    assert {f.parts for f in fields} == {len(blobs)} != {1}
    assert texts_by_conversation(double) == {"c": ["before", text, "after"]}
    assert {blob.state for blob in blobs} == {"done"}
    assert isinstance(outcome, Delivered)
    assert outcome.receipt["blobs"] == [blob.id for blob in blobs]
    sink.close()


def test_a_revision_with_nothing_to_say_sends_nothing(double: MemobaseDouble, sink: MemobaseSink) -> None:
    """The model or the usage changed; the messages are those that Memobase has."""
    (one,) = out(turn("a"))
    assert deliver(sink, [msgspec.structs.replace(one, older=one.event)]) == Delivered({"user": ANN, "blobs": []})
    assert double.blobs() == []
    assert is_delivered(sink.find(msgspec.structs.replace(one, older=one.event)))


def test_of_a_turn_that_grew_only_what_is_new_is_sent(double: MemobaseDouble, sink: MemobaseSink) -> None:
    """Memobase keeps no revisions: it would remember twice what it is told twice."""
    deliver(sink, out(turn("a", "b")))
    (grown,) = out(turn("a", "b and more", "c"))
    deliver(sink, [msgspec.structs.replace(grown, older=turn("a", "b"))])
    assert [m["content"] for m in double.blobs()[-1].messages] == [" and more", "c"]


# What is found again: the three answers.


def test_what_is_there_is_found_and_what_was_never_sent_is_not(double: MemobaseDouble, sink: MemobaseSink) -> None:
    """By the fields of the blob; a user who was never created has nothing."""
    first, second = out(turn("a", turn_id="1"), attempt=10), out(turn("b", turn_id="2"), attempt=20)
    assert sink.find(first[0]) is None
    deliver(sink, first)
    assert isinstance(sink.find(first[0]), Delivered)
    assert sink.find(second[0]) is None
    deliver(sink, second)
    assert isinstance(sink.find(second[0]), Delivered)


def test_what_is_found_counts_among_what_waits_for_a_flush(double: MemobaseDouble, sink: MemobaseSink) -> None:
    """As much as if its insert had been answered: a turn that was in doubt is flushed like any other."""
    (one,) = out(turn("a", "b"), attempt=10)
    outcome, found = deliver(sink, [one]), sink.find(one)
    assert isinstance(outcome, Delivered)
    assert isinstance(found, Delivered)
    assert found.buffered == outcome.buffered > 0


def test_a_turn_that_waited_is_looked_for_behind_what_came_since(
    lasting: MemobaseDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other conversations of the user went on: it is found however many blobs that were, or nobody can tell."""
    monkeypatch.setattr("turnlog.sinks.memobase._LOOKED_AT_MAX", 2)
    sink = sink_for(lasting.url)
    early, one, never = (
        msgspec.structs.replace(*out(turn("a", turn_id=str(seq)), attempt=seq + 1), seq=seq) for seq in (2, 4, 6)
    )
    for sent in (early, one):
        deliver(sink, [sent])
    for i in range(10):
        deliver(sink, out(turn("b", turn_id=f"b{i}", conversation="d"), attempt=10 + i))
    again = [msgspec.structs.replace(sent, attempt=100, tries=1) for sent in (one, never)]
    assert [type(sink.find(sent)) for sent in again] == [Delivered, type(None)]
    monkeypatch.setattr("turnlog.sinks.memobase._SEARCHED_MAX", 5)
    assert [type(sink.find(sent)) for sent in again] == [Unknown, Unknown]
    sink.close()


@pytest.mark.parametrize("row", ["model-failed", "too-big"])
def test_a_blob_that_was_stored_though_its_insert_failed_is_found(
    double: MemobaseDouble, sink: MemobaseSink, row: str
) -> None:
    """To send it again would duplicate it."""
    deliver(sink, out(turn("hi", turn_id="0"), attempt=5))
    double.meet(row)
    (one,) = out(turn("a", turn_id="1"), attempt=10)
    outcome = deliver(sink, [one])
    assert isinstance(outcome, Refused)
    assert outcome.kind == "in_doubt"
    assert isinstance(sink.find(one), Delivered)


def test_another_delivery_or_revision_of_the_turn_is_another(double: MemobaseDouble, sink: MemobaseSink) -> None:
    """What the operator wants sent again is not there because it was sent before."""
    deliver(sink, out(turn("a"), attempt=10))
    (again,) = out(turn("a"), attempt=20, delivery=2)
    assert sink.find(again) is None


def test_after_a_flush_nobody_can_tell(double: MemobaseDouble, sink: MemobaseSink) -> None:
    """The server deletes what it has processed, so what is not there may have been."""
    deliver(sink, out(turn("a", turn_id="1"), attempt=10))
    sink.flush("ann", quiet=True)
    (one,) = out(turn("b", turn_id="2"), attempt=20)
    assert isinstance(sink.find(one), Unknown)
    deliver(sink, out(turn("c", turn_id="3"), attempt=15))
    assert sink.find(one) is None


def test_a_server_that_keeps_blobs_can_always_tell(lasting: MemobaseDouble) -> None:
    """However often it has flushed, and whatever has failed."""
    sink = sink_for(lasting.url)
    deliver(sink, out(turn("a", turn_id="1"), attempt=10))
    sink.flush("ann", quiet=True)
    (stored,), (other,) = out(turn("b", turn_id="2"), attempt=20), out(turn("c", turn_id="3"), attempt=30)
    assert sink.find(stored) is None
    deliver(sink, [stored])
    lasting.switches.model_failing = True
    sink.flush("ann", quiet=True)
    assert isinstance(sink.find(stored), Delivered)
    assert sink.find(other) is None
    sink.close()


def test_what_failed_stays_and_proves_nothing(double: MemobaseDouble, sink: MemobaseSink) -> None:
    """An older blob that the server could not process may be there while a newer one was processed and deleted."""
    deliver(sink, out(turn("a", turn_id="1"), attempt=10))
    double.switches.model_failing = True
    sink.flush("ann", quiet=True)
    double.switches.model_failing = False
    newer = out(turn("b", turn_id="2"), attempt=20)
    deliver(sink, newer)
    sink.flush("ann", quiet=True)
    assert isinstance(sink.find(newer[0]), Unknown)


def test_while_the_server_is_away_nobody_can_tell(double: MemobaseDouble, sink: MemobaseSink) -> None:
    """And it says so, without a word of what it was asked."""
    double.refuse()
    answer = sink.find(out(turn("secret words"))[0])
    assert isinstance(answer, Unknown)
    assert "secret" not in answer.error
    double.accept()


@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize("fault", [status_fault(503), RESET_AFTER, RESET_BEFORE])
def test_the_rest_of_a_turn_in_parts_is_sent_and_nothing_twice(fault: Fault, persistent: bool) -> None:
    """Something breaks in the middle: what was stored is not stored again, if the server can tell; the rest follows."""
    said = turn(*["Some words of a sentence. " * 20] * 6)
    with MemobaseDouble(TOKEN, persistent_chat_blobs=persistent) as double, FaultProxy(double.url) as proxy:
        inserts: list[str] = []

        def second(_method: str, path: str, _body: bytes) -> Fault | None:
            inserts.extend([path] if "/blobs/insert" in path else [])
            return fault if len(inserts) == 3 and "/blobs/insert" in path else None

        proxy.rule = second
        sink = sink_for(proxy.url, tokens=300)
        outcome = deliver(sink, out(said, attempt=10))  # the first insert finds out that there is no such user
        assert isinstance(outcome, Refused)
        (again,) = out(said, attempt=20, tries=1)
        if outcome.kind == "in_doubt":
            assert sink.find(again) is None or not persistent
        assert is_delivered(deliver(sink, [again]))
        parts = [fields_of(blob).part for blob in double.blobs()]
        if persistent or outcome.kind != "in_doubt":
            assert parts == list(range(1, len(parts) + 1))
        assert set(parts) == set(range(1, max(parts) + 1))
        sink.close()


# What a flush makes of it.


def test_a_flush_has_everything_processed(double: MemobaseDouble, sink: MemobaseSink) -> None:
    """What is idle reaches the model; there is nothing to flush for a user whom nobody knows."""
    deliver(sink, out(turn("a", turn_id="1"), turn("b", turn_id="2")))
    assert sink.flush("ann", quiet=True) == Flushed()
    assert double.processed() == ["a", "b"]
    assert sink.flush("nobody", quiet=True) == Flushed()


@pytest.mark.parametrize("persistent", [False, True])
def test_what_the_model_failed_on_is_told_as_lost(persistent: bool) -> None:
    """Exactly the turns of that flush: not those that were processed before, nor those that came after."""
    with MemobaseDouble(TOKEN, persistent_chat_blobs=persistent) as double:
        sink = sink_for(double.url)
        deliver(sink, out(turn("before", turn_id="0"), attempt=5))
        assert sink.flush("ann", quiet=True) == Flushed()
        batch = out(turn("a", turn_id="1"), turn("b", turn_id="2"), attempt=10)
        deliver(sink, batch)
        double.switches.model_failing = True
        flushed = sink.flush("ann", quiet=True)
        assert isinstance(flushed, Flushed)
        assert sorted(flushed.lost, key=lambda lost: lost.seq) == [Lost(turn.seq, 1) for turn in batch]
        sink.close()


@pytest.mark.parametrize("persistent", [False, True])
def test_what_was_lost_is_sent_again_and_its_old_blob_deleted(persistent: bool) -> None:
    """Once all turns of that blob are there again; then nothing is failed any longer."""
    with MemobaseDouble(TOKEN, persistent_chat_blobs=persistent) as double:
        sink = sink_for(double.url)
        double.switches.model_failing = True
        turns = turn("a", turn_id="1"), turn("b", turn_id="2")
        deliver(sink, out(*turns, attempt=10))
        sink.flush("ann", quiet=True)
        double.switches.model_failing = False
        first, second = out(*turns, attempt=20, delivery=2)
        deliver(sink, [first])
        assert [blob.state for blob in double.blobs()] == ["failed", "idle"]
        deliver(sink, [second])
        assert [blob.state for blob in double.blobs()] == ["deleted", "idle", "idle"]
        assert sink.flush("ann", quiet=True) == Flushed()
        assert double.processed() == ["a", "b"]
        sink.close()


def test_a_turn_that_the_operator_wants_again_costs_no_other(double: MemobaseDouble, sink: MemobaseSink) -> None:
    """The blob that it was in stays, for there are others in it."""
    first, second = out(turn("a", turn_id="1"), turn("b", turn_id="2"), attempt=10)
    deliver(sink, [first, second])
    deliver(sink, out(turn("a", turn_id="1"), attempt=20, delivery=2))
    assert [blob.state for blob in double.blobs()] == ["idle", "idle"]


def test_what_the_server_failed_on_by_itself_is_found_at_the_next_flush(
    double: MemobaseDouble, sink: MemobaseSink
) -> None:
    """An insert above 1,024 tokens sets a flush off, whose failure nobody is told."""
    double.switches.model_failing = True
    (one,) = out(turn("word " * 2000))
    assert is_delivered(deliver(sink, [one]))
    assert [blob.state for blob in double.blobs()] == ["failed"]
    double.switches.model_failing = False
    flushed = sink.flush("ann", quiet=True)
    assert isinstance(flushed, Flushed)
    assert flushed.lost == (Lost(one.seq, 1),)


def test_what_the_server_failed_on_by_itself_costs_no_other_turn(lasting: MemobaseDouble) -> None:
    """A server that keeps blobs does not tell which one that was; what is processed afterwards is not lost for it."""
    sink = sink_for(lasting.url)
    lasting.switches.model_failing = True
    deliver(sink, out(turn("word " * 2000, turn_id="0"), attempt=5))
    assert [blob.state for blob in lasting.blobs()] == ["failed"]
    lasting.switches.model_failing = False
    for i in range(1, 3):
        deliver(sink, out(turn("a", turn_id=str(i)), attempt=10 * i))
        assert sink.flush("ann", quiet=True) == Flushed()
    lasting.switches.model_failing = True
    one = msgspec.structs.replace(*out(turn("b", turn_id="b"), attempt=50), seq=40)
    deliver(sink, [one])
    flushed = sink.flush("ann", quiet=True)
    assert isinstance(flushed, Flushed)
    assert flushed.lost == (Lost(one.seq, 1),)
    sink.close()


@pytest.mark.parametrize("persistent", [False, True])
def test_what_a_flush_lost_whose_end_nobody_saw_is_told_by_the_next(persistent: bool) -> None:
    """The connection breaks while the model fails: the turn is not forgotten."""
    with MemobaseDouble(TOKEN, persistent_chat_blobs=persistent) as double, FaultProxy(double.url) as proxy:
        sink = sink_for(proxy.url)
        deliver(sink, out(turn("before", turn_id="0"), attempt=5))
        assert sink.flush("ann", quiet=True) == Flushed()
        one = msgspec.structs.replace(*out(turn("a", turn_id="1"), attempt=10), seq=9)
        deliver(sink, [one])
        double.switches.model_failing = True
        proxy.rule = lambda method, path, _: RESET_AFTER if method == "POST" and "/buffer/" in path else None
        assert isinstance(sink.flush("ann", quiet=True), Refused)
        proxy.rule, double.switches.model_failing = lambda *_: None, False
        deliver(sink, out(turn("b", turn_id="2"), attempt=20))
        flushed = sink.flush("ann", quiet=True)
        assert isinstance(flushed, Flushed)
        assert flushed.lost == (Lost(one.seq, 1),)
        sink.close()


@pytest.mark.parametrize("persistent", [False, True])
def test_a_part_that_the_model_failed_on_is_told_by_the_next_flush(persistent: bool) -> None:
    """Each part is flushed before the next, which nobody but the sink sees."""
    with MemobaseDouble(TOKEN, persistent_chat_blobs=persistent, auto_flush_tokens=100_000) as double:
        sink = sink_for(double.url, tokens=1000)
        deliver(sink, out(turn("before", turn_id="0"), attempt=5))
        sink.flush("ann", quiet=True)
        double.switches.model_failing = True
        said = turn("A sentence that is long enough to count. " * 150)
        long = msgspec.structs.replace(*out(said, attempt=10), seq=9)
        assert is_delivered(deliver(sink, [long]))
        double.switches.model_failing = False
        deliver(sink, out(turn("b", turn_id="2"), attempt=20))
        flushed = sink.flush("ann", quiet=True)
        assert isinstance(flushed, Flushed)
        assert flushed.lost == (Lost(long.seq, 1),)
        sink.close()


# What is told of it.


@pytest.mark.parametrize("row", ["bad-text", "unparsable", "quota", "down", "schema", "unauthorized", "no-answer"])
def test_no_error_holds_a_word_of_what_was_said(double: MemobaseDouble, sink: MemobaseSink, row: str) -> None:
    """The server echoes SQL with the messages in it; neither they nor the token are told."""
    deliver(sink, out(turn("hi", turn_id="0")))
    double.meet(row)
    outcome = deliver(sink, out(turn("xyzzy plugh")))
    assert isinstance(outcome, Refused)
    for word in ("xyzzy", "plugh", "INSERT", "SQL", TOKEN + '"'):
        assert word not in outcome.error


@pytest.mark.parametrize(
    "said", ["UniqueViolation", "ForeignKeyViolation", "Sorry, we have encountered", "disallowed special token"]
)
def test_what_people_say_is_not_taken_for_what_the_server_says(
    double: MemobaseDouble, sink: MemobaseSink, said: str
) -> None:
    """The echo of a message in `errmsg` decides nothing: the error is the one that the server has."""
    deliver(sink, out(turn("hi", turn_id="0")))
    double.meet("bad-text")
    outcome = deliver(sink, out(turn(said)))
    assert isinstance(outcome, Refused)
    assert (outcome.kind, outcome.error) == ("rejected", "Memobase cannot store a character of the text")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"url": "ftp://x"}, "must begin with http"),
        ({"url": "http://x", "tokens": 20_000}, "a flush drops what is more"),
        ({"url": "http://x", "tokens": 1}, "tokens must be from"),
        ({"url": "http://x", "connections": 0}, "connections at least 1"),
        ({"url": "http://x", "flush_after": 3}, "did you mean 'flush_after_seconds'"),
        ({}, "missing key `url`"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, object], told: str) -> None:
    """In a sentence that says what they may be."""
    with pytest.raises(ConfigError, match=told.replace("(", r"\(")):
        MemobaseSink.from_options(options, where="here", folder=Path())


def test_the_address_may_name_the_version_of_the_api(double: MemobaseDouble) -> None:
    """As it does in some guides."""
    sink = sink_for(double.url + "/api/v1/")
    assert sink.check() is None
    sink.close()


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(1, 3000), min_size=1, max_size=8))
def test_a_last_page_is_found_however_many_blobs_there_are(counts: list[int]) -> None:
    """Newest first, each once: the server's list is oldest first, in pages."""
    api = MemobaseApi.__new__(MemobaseApi)
    for count in counts:
        ids = [str(i) for i in range(count)]
        api._page = lambda user, page, ids=ids: ids[100 * page : 100 * page + 100]  # type: ignore[method-assign,misc]
        assert list(api.newest_blob_ids("u")) == ids[::-1]
        assert api.count_blobs("u") == count
