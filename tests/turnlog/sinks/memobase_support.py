"""What the tests of the sink `memobase` share: a double, sinks that deliver to it, and what it was told."""

from collections.abc import Iterable, Sequence

import msgspec

from eventlog import Message, TurnRecorded
from turnlog.sinks.base import Delivered, Outcome, OutgoingTurn
from turnlog.sinks.memobase import MemobaseOptions, MemobaseSink
from turnlog.sinks.memobase_api import Fields
from turnlog.sinks.memobase_text import restore
from turnlog.testing import outgoing
from turnlog.testing.memobase import MemobaseDouble
from turnlog.testing.memobase_blobs import Blob

TOKEN = "token"
FOLDED = ("[system]", "[tool]")


def sink_for(url: str, *, token: str | None = TOKEN, **options: object) -> MemobaseSink:
    """A sink that delivers to a double; waits are short."""
    given = {"connect_seconds": 2.0, "read_seconds": 10.0, **options}
    return MemobaseSink(msgspec.convert({"url": url, **given}, MemobaseOptions), token=token)


def turn(*texts: str, turn_id: str = "t", user: str = "ann", conversation: str = "c") -> TurnRecorded:
    """A turn in which these texts are said, by the user and the assistant in turn."""
    messages = tuple(Message(("user", "assistant")[i % 2], text) for i, text in enumerate(texts))
    return TurnRecorded(turn_id=turn_id, user=user, conversation=conversation, messages=messages)


def out(*turns: TurnRecorded, attempt: int = 1000, delivery: int = 1, tries: int = 0) -> list[OutgoingTurn]:
    """The turns on their way in one request."""
    return [
        msgspec.structs.replace(one, attempt=attempt, delivery=delivery, tries=tries)
        for one in outgoing(turns, attempt=attempt)
    ]


def deliver(sink: MemobaseSink, batch: Sequence[OutgoingTurn]) -> Outcome:
    """Send one request; its one outcome."""
    outcomes = sink.deliver(batch)
    assert len(outcomes) == len(batch)
    assert all(outcome == outcomes[0] for outcome in outcomes)
    return outcomes[0]


def is_delivered(outcome: object) -> bool:
    return isinstance(outcome, Delivered)


def fields_of(blob: Blob) -> Fields:
    return msgspec.convert(blob.fields, Fields)


def texts_by_conversation(double: MemobaseDouble) -> dict[str, list[str]]:
    """All that was ever stored: for each conversation the texts of its messages."""
    return told((fields_of(blob), blob.messages) for blob in double.blobs())


def told(blobs: Iterable[tuple[Fields, Sequence[dict[str, str]]]]) -> dict[str, list[str]]:
    """What blobs tell, in the order of their arrival: for each conversation its messages' texts, parts put together."""
    said: dict[str, list[str]] = {}
    for fields, messages in blobs:
        texts = said.setdefault(restore(fields.conversation), [])
        for i, message in enumerate(messages):
            alias = message.get("alias") or ""
            if alias.startswith("[") and not alias.startswith(FOLDED):
                continue  # a structured part
            if i == 0 and fields.continues:
                texts[-1] += message["content"]
            else:
                texts.append(message["content"])
    return {conversation: [restore(text) for text in texts] for conversation, texts in said.items()}
