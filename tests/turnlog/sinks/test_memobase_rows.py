"""Each row of Memobase's table of errors: what the sink makes of it; and a server that is wrong in a row is noticed."""

from collections.abc import Callable
from contextlib import closing

import pytest

from turnlog.sinks.base import Flushed, Refused
from turnlog.sinks.http import HttpClient
from turnlog.sinks.memobase_api import QUOTA_SECONDS, MemobaseApi, ModelFailed, user_uuid
from turnlog.testing.memobase import MemobaseDouble
from turnlog.testing.memobase_rows import ERROR_ROWS

from .memobase_support import TOKEN, deliver, is_delivered, out, sink_for, turn

ANN = user_uuid("ann")

Fact = Callable[[MemobaseDouble], None]
FACTS: dict[str, Fact] = {}


def fact(row: str) -> Callable[[Fact], Fact]:
    def note(check: Fact) -> Fact:
        FACTS[row] = check
        return check

    return note


def refused(double: MemobaseDouble, kind: str, *, token: str | None = TOKEN) -> Refused:
    """The refusal of a turn, which nothing is stored of."""
    with closing(sink_for(double.url, token=token)) as sink:
        stored = len(double.blobs())
        outcome = deliver(sink, out(turn("hi", turn_id="refused")))
        assert isinstance(outcome, Refused), outcome
        assert outcome.kind == kind
        assert len(double.blobs()) == stored
        return outcome


def delivered(double: MemobaseDouble, *texts: str, turn_id: str = "t") -> None:
    """A turn is taken, and is where the next flush finds it."""
    with closing(sink_for(double.url)) as sink:
        assert is_delivered(deliver(sink, out(turn(*texts, turn_id=turn_id))))
    assert [(blob.user, blob.state) for blob in double.blobs()[-1:]] == [(ANN, "idle")]


def api(double: MemobaseDouble) -> MemobaseApi:
    client = HttpClient(double.url, TOKEN, connect_seconds=2, read_seconds=10, idempotent=False)
    return MemobaseApi(client)


def existing_user(double: MemobaseDouble) -> None:
    delivered(double, "hi", turn_id="0")


@fact("unauthorized")
def unauthorized(double: MemobaseDouble) -> None:
    """A wrong token pauses the sink; the check says so, too."""
    refused(double, "unauthorized", token="wrong")
    with closing(sink_for(double.url, token="wrong")) as sink:
        told = sink.check()
        assert told is not None
        assert told.kind == "unauthorized"
    double.switches.suspended = True
    refused(double, "unauthorized")


@fact("schema")
def schema(double: MemobaseDouble) -> None:
    """What is not of the schema is refused for good."""
    double.meet("schema")
    assert refused(double, "rejected").status == 422


@fact("unparsable")
def unparsable(double: MemobaseDouble) -> None:
    """So is what cannot be parsed."""
    existing_user(double)
    double.meet("unparsable")
    assert refused(double, "rejected").status == 400


@fact("unknown-user")
def unknown_user(double: MemobaseDouble) -> None:
    """The user is created, and the turn is there."""
    delivered(double, "hi")
    assert len(double.blobs()) == 1
    assert list(double.users) == [ANN]


@fact("user-exists")
def user_exists(double: MemobaseDouble) -> None:
    """Somebody else created the user in between: that is fine, and costs nothing that is there."""
    existing_user(double)
    double.meet("unknown-user")
    delivered(double, "ho")
    assert [blob.state for blob in double.blobs()] == ["idle", "idle"]
    assert double.counters["POST /users"] == 2


@fact("bad-text")
def bad_text(double: MemobaseDouble) -> None:
    """Text is mended before it is sent; what the database refuses all the same is refused for good."""
    delivered(double, "NUL \0", turn_id="\0")
    double.meet("bad-text")
    refused(double, "rejected")


@fact("special-token")
def special_token(double: MemobaseDouble) -> None:
    """No special token is ever sent; one that is met is refused for good, for each try leaves an orphan."""
    delivered(double, "<|endoftext|> and <|endofprompt|>")
    double.meet("special-token")
    with closing(sink_for(double.url)) as sink:
        outcome = deliver(sink, out(turn("hi")))
        assert isinstance(outcome, Refused)
        assert outcome.kind == "rejected"


@fact("down")
def down(double: MemobaseDouble) -> None:
    """The sink is away, nothing was stored, and it is tried again."""
    existing_user(double)
    double.switches.database_down = True
    refused(double, "unavailable")
    with closing(sink_for(double.url)) as sink:
        told = sink.check()
        assert told is not None
        assert told.kind == "unavailable"


@fact("model-failed")
def model_failed(double: MemobaseDouble) -> None:
    """A flush tells it, and the blob is kept as failed."""
    delivered(double, "hi")
    double.switches.model_failing = True
    with pytest.raises(ModelFailed):
        api(double).flush(ANN, wait=True)
    with closing(sink_for(double.url)) as sink:
        flushed = sink.flush("ann", quiet=True)
        assert isinstance(flushed, Flushed)
        assert len(flushed.lost) == 1
    assert [blob.state for blob in double.blobs()] == ["failed"]


@fact("too-big")
def too_big(double: MemobaseDouble) -> None:
    """A flush tells it; what is too big has failed, and so have its neighbours: they are not lost."""
    delivered(double, "hi")
    body = b'{"blob_type":"chat","blob_data":{"messages":[{"role":"user","content":"%s"}]}}' % (b"word " * 20_000)
    api(double).insert(ANN, body)
    with pytest.raises(ModelFailed):
        api(double).flush(ANN, wait=True)
    assert [blob.state for blob in double.blobs()] == ["failed", "failed"]


@fact("quota")
def quota(double: MemobaseDouble) -> None:
    """The sink is waited for until there may be tokens again."""
    existing_user(double)
    double.switches.quota_used_up = True
    assert refused(double, "throttled").retry_after == QUOTA_SECONDS


@fact("no-answer")
def no_answer(double: MemobaseDouble) -> None:
    """It is in doubt, and was stored: asking tells."""
    existing_user(double)
    double.meet("no-answer")
    with closing(sink_for(double.url)) as sink:
        batch = out(turn("hi", turn_id="doubtful"), attempt=2000)
        outcome = deliver(sink, batch)
        assert isinstance(outcome, Refused)
        assert outcome.kind == "in_doubt"
        assert is_delivered(sink.find(batch[0]))


@fact("server-down")
def server_down(double: MemobaseDouble) -> None:
    """Nobody listens: the sink is away."""
    existing_user(double)
    double.refuse()
    refused(double, "unavailable")


def test_there_is_a_fact_for_each_row() -> None:
    """No row of the table is left out."""
    assert tuple(FACTS) == ERROR_ROWS


@pytest.mark.parametrize("row", ERROR_ROWS)
def test_the_sink_does_what_the_row_asks_for(row: str) -> None:
    """Against a server that behaves as the real one was seen to."""
    with MemobaseDouble(TOKEN, auto_flush_tokens=10**9) as double:
        FACTS[row](double)


@pytest.mark.parametrize("row", ERROR_ROWS)
def test_a_server_that_is_wrong_in_the_row_is_noticed(row: str) -> None:
    """The same fact fails: it is one that can."""
    with MemobaseDouble(TOKEN, auto_flush_tokens=10**9, wrong=frozenset({row})) as double:  # noqa: SIM117 - only this is to fail
        with pytest.raises((AssertionError, pytest.fail.Exception)):
            FACTS[row](double)
