"""What is written and read: turns of 815 bytes a line, outcomes of about 155, and a log of both."""

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import cycle, islice
from pathlib import Path

from eventlog import Event, EventLog, Message, SinkEnrolled, SyncAttempted, SyncFailed, SyncSucceeded, TurnRecorded
from eventlog.codec import encode_line

TURN_BYTES = 815
"""A line of a turn with its newline: the median of real ones (facts/performance.md measures with it)."""

SINK = "memory"
_AT = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
_FULL_LOG_EVENTS = 1_000_000
_SEGMENT_BYTES = 64 * 1024 * 1024
_TURNS_A_STRETCH = 100
_QUESTION = 'Why does "retry" send it twice?\nThe log says it was delivered. 能解释一下原因吗？ '
_ANSWER = (
    "The first request reached the server and the answer was lost on its way back, so nobody knew.\n"
    "下一次启动时先问服务器有没有收到，再决定要不要重发。 "
    'Set "reconcile" in the configuration and it asks before it sends again. '
)


def turn(number: int, messages: tuple[Message, ...]) -> TurnRecorded:
    """A turn told apart by its number; eight conversations run side by side, fifty turns each."""
    conversation = number % 8 + 8 * (number // 400)
    return TurnRecorded(
        turn_id=f"01930000-0000-7000-8000-{number:012x}",
        user=f"user-{conversation % 200:03}",
        conversation=f"conversation-{conversation:06}",
        started_at=_AT,
        ended_at=_AT,
        model="a-model-of-some-size",
        messages=messages,
    )


def contents(count: int) -> list[tuple[Message, ...]]:
    """Different messages with which a turn's line has `TURN_BYTES`, with a seq of four digits."""
    return [_content(number) for number in range(count)]


def _content(number: int) -> tuple[Message, ...]:
    start = number % len(_ANSWER)
    text = "".join(islice(cycle(_ANSWER), start, start + TURN_BYTES))
    question = Message(role="user", content=_QUESTION)
    while True:
        messages = (question, Message(role="assistant", content=text))
        missing = TURN_BYTES - len(encode_line(turn(0, messages), seq=1000, at=_AT))
        if missing >= 0:
            return (question, Message(role="assistant", content=text + "." * missing))
        text = text[: min(-1, missing // 3)]  # no character takes more than three bytes here


def turns(count: int) -> list[TurnRecorded]:
    """Different turns of the same size, made before any clock runs."""
    return [turn(number, content) for number, content in enumerate(contents(count))]


def lines(count: int) -> list[bytes]:
    """The lines of `turns`: what is written by those who are measured without encoding anything."""
    return [encode_line(event, seq=1000 + number, at=_AT) for number, event in enumerate(turns(count))]


def write_big_log(directory: Path, events: int) -> None:
    """A log of at least so many events, half turns and half outcomes, all delivered; one million have 489 MB.

    Segments are smaller in a smaller log, so that their number, and the share of the unsealed one, stays the same.
    """
    segment_bytes = _SEGMENT_BYTES * events // _FULL_LOG_EVENTS
    messages, number = contents(512), 0
    with EventLog.open(directory, durability="os", segment_bytes=segment_bytes) as log:
        seq = log.append(SinkEnrolled(sink=SINK, kind="batch"))
        while seq < events:
            stretch = [turn(n, messages[n % 512]) for n in range(number, number + _TURNS_A_STRETCH)]
            seq = _deliver(log, log.append_many(stretch))
            number += _TURNS_A_STRETCH


def _deliver(log: EventLog, seqs: range) -> int:
    """As many outcomes as turns: requests of two and three turns, a quarter of which fail at first."""
    requests = list(_requests(seqs))
    attempts = log.append_many([_attempted(request) for request in requests])
    again = []
    outcomes: list[Event] = []
    for number, (attempt, request) in enumerate(zip(attempts, requests, strict=True)):
        if number % 4 == 0:
            again.append(request)
            outcomes.append(SyncFailed(attempt=attempt, sink=SINK, turns=request, kind="failed", status=500))
        else:
            outcomes.append(_succeeded(attempt, request))
    log.append_many(outcomes)
    attempts = log.append_many([_attempted(request) for request in again])
    return log.append_many([_succeeded(*pair) for pair in zip(attempts, again, strict=True)])[-1]


def _requests(seqs: range) -> Iterator[tuple[int, ...]]:
    remaining, sizes = iter(seqs), cycle((2, 3))
    while request := tuple(islice(remaining, next(sizes))):
        yield request


def _attempted(request: tuple[int, ...]) -> SyncAttempted:
    return SyncAttempted(sink=SINK, turns=request, worker="w1")


def _succeeded(attempt: int, request: tuple[int, ...]) -> SyncSucceeded:
    return SyncSucceeded(attempt=attempt, sink=SINK, turns=request, receipt=f"r{attempt:07}")
