"""The sink `memobase` against a real server: MEMOBASE_URL names it, MEMOBASE_ACCESS_TOKEN is its token.

Users are made for the run and deleted at its end. What a server has processed it deletes, unless its configuration says
`persistent_chat_blobs: true`; tests of more text than it keeps are skipped then.
"""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import ClassVar
from uuid import uuid4

import msgspec
import pytest

from eventlog import TurnRecorded
from turnlog.sinks.base import Delivered, Outcome, OutgoingTurn, Refused, Sink, Unknown
from turnlog.sinks.http import Answer, HttpClient
from turnlog.sinks.memobase import MemobaseOptions, MemobaseSink
from turnlog.sinks.memobase_api import API, Fields, MemobaseApi, user_uuid
from turnlog.testing.sink_contract import SinkContract

from ..turnlog.sinks.memobase_support import out, told, turn

URL = os.environ.get("MEMOBASE_URL", "")
TOKEN = os.environ.get("MEMOBASE_ACCESS_TOKEN") or os.environ.get("MEMOBASE_TOKEN")
RUN = f"turnlog-test-{uuid4()}"

pytestmark = pytest.mark.skipif(not URL, reason="MEMOBASE_URL names no server")


class OwnUsers(MemobaseSink):
    """Has a user of this run for each conversation, so that one test's blobs are no other's."""

    inserted: ClassVar[Counter[str]] = Counter()

    def deliver(self, batch: Sequence[OutgoingTurn]) -> Sequence[Outcome]:
        outcomes = super().deliver([self._own(turn) for turn in batch])
        for outcome in outcomes[:1]:
            if isinstance(outcome, Delivered):
                self.inserted[self._own(batch[0]).event.user] += len(outcome.receipt["blobs"])
        return outcomes

    def find(self, turn: OutgoingTurn) -> Delivered | Unknown | None:
        return super().find(self._own(turn))

    def _own(self, turn: OutgoingTurn) -> OutgoingTurn:
        event = msgspec.structs.replace(turn.event, user=f"{RUN} {turn.event.conversation}")
        return msgspec.structs.replace(turn, event=event)


def client() -> HttpClient:
    return HttpClient(URL.rstrip("/").removesuffix(API), TOKEN, connect_seconds=5, read_seconds=60, idempotent=False)


def options() -> MemobaseOptions:
    return MemobaseOptions(URL, connections=2)


@pytest.fixture(autouse=True, scope="module")
def _delete_users() -> Iterator[None]:
    yield
    http = client()
    for user in OwnUsers.inserted:
        http.request("DELETE", f"{API}/users/{user_uuid(user)}")
    http.close()


class TestMemobase(SinkContract):
    """What every sink does."""

    def make_sink(self) -> Sink:
        return OwnUsers(options(), token=TOKEN)

    def received(self, sink: Sink) -> dict[str, list[str]]:
        http, blobs = client(), []
        api = MemobaseApi(http)
        for user, count in OwnUsers.inserted.items():
            uuid = user_uuid(user)
            ids = list(api.newest_blob_ids(uuid))[::-1]
            if len(ids) < count:
                continue  # processed, and deleted
            for blob_id in ids:
                answer = http.request("GET", f"{API}/blobs/{uuid}/{blob_id}")
                assert isinstance(answer, Answer)
                data = msgspec.json.decode(answer.body)["data"]
                messages = (data.get("blob_data") or data)["messages"]
                blobs.append((msgspec.convert(data["fields"], Fields), messages))
        http.close()
        return told(blobs)

    def told(self, turn: TurnRecorded) -> list[str]:
        """A message without text is told by its parts."""
        return [message.content for message in turn.messages if message.content or not message.parts]

    def _texts(self, sink: Sink, conversation: str) -> list[str]:
        there = self.received(sink)
        if conversation not in there and OwnUsers.inserted[f"{RUN} {conversation}"]:
            pytest.skip("the server has processed this already, and deletes what it has processed")
        return there.get(conversation, [])


def test_a_flush_is_told() -> None:
    """Of a user of whom something is idle, and again, when nothing is."""
    sink = OwnUsers(options(), token=TOKEN)
    sink.deliver(out(turn("Hello, my name is Ann.", conversation="flush")))
    for _ in range(2):
        flushed = sink.flush(f"{RUN} flush", quiet=True)
        assert not isinstance(flushed, Refused), flushed
    sink.close()


def test_a_wrong_token_is_refused() -> None:
    """By the check, which then says so."""
    sink = OwnUsers(options(), token="no-such-token")
    refused = sink.check()
    assert refused is not None
    assert refused.kind == "unauthorized"
    sink.close()
