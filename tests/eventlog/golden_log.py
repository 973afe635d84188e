"""What the golden log of format 1 holds: every event type, written by one clock, with a crash in between.

The files under golden/format-1 were written by `write` once, when the format was settled. They are read for ever and
never written again: a change that cannot read them, or that writes other bytes, needs a new format number.
"""

from datetime import UTC, datetime
from pathlib import Path

from eventlog import (
    ConversationNoted,
    DeliveryRevoked,
    Event,
    EventLog,
    LineQuarantined,
    Message,
    NoticeRaised,
    Part,
    RetryRequested,
    SinkEnrolled,
    SinkFlushed,
    SinkPaused,
    SinkResumed,
    SinkRetired,
    SourceAdvanced,
    SyncAttempted,
    SyncFailed,
    SyncSucceeded,
    TurnRecorded,
    TurnRef,
    TurnSkipped,
)

from .support import Ticker, segment_files

_NAMES = ("format-1", "format-1-whole", "format-1-buffered", "format-1-notices")
GOLDEN_LOGS = [Path(__file__).parent / "golden" / name for name in _NAMES]
"""From the oldest to the newest, which alone has every event type."""

LATER_TYPES = {NoticeRaised: "format-1-notices"}
"""Event types that came with one of them, and are in none before it."""

SEGMENT_BYTES = 2000
TORN = b'{"crc":"0badf00d","type":"TurnRecorded","seq":12,"at":"2026-11-20T10:0'

_NOON = datetime(2026, 11, 20, 12, 0, 0, 250_000, tzinfo=UTC)

_FULL_TURN = TurnRecorded(
    turn_id="0193-完整",
    source="claude_code",
    user="小明",
    conversation="项目讨论",
    started_at=_NOON,
    ended_at=datetime(2026, 11, 20, 12, 0, 9, tzinfo=UTC),
    delivered_to=("memobase",),
    model="m-1",
    usage={"input_tokens": 12, "output_tokens": 3.5, "cached": None},
    meta={"cwd": "/home/小明", "flags": [True, False], "replaced": "\ufffd"},
    messages=(
        Message("system", "You are terse."),
        Message("user", '看看 "这个" 文件\n\t\\ \x00\x7f \u2028 🙂', id="m1", at=_NOON, name="小明"),
        Message(
            "assistant",
            parts=(
                Part("thinking", text="嗯…"),
                Part("tool_call", id="c1", name="read", data={"path": "a.txt", "limit": 18446744073709551616}),
            ),
        ),
        Message("tool", parts=(Part("tool_result", id="c1", data=["行一", -1.5e-7]),)),
        Message("assistant", "好", parts=(Part("attachment", digest="ab" * 32, media_type="image/png", size_bytes=3),)),
    ),
)

BEFORE_THE_CRASH: list[Event] = [
    SinkEnrolled(sink="memobase", kind="memobase", since_seq=1),
    TurnRecorded(turn_id="t-1", messages=(Message("user", "你好"), Message("assistant", "你好！"))),
    _FULL_TURN,
    SyncAttempted(sink="memobase", turns=(3, 4), worker="host:12"),
    SyncFailed(
        attempt=5,
        sink="memobase",
        turns=(3, 4),
        kind="throttled",
        error="太多请求",
        status=429,
        retry_after=1.5,
        turns_max=1,
    ),
    SinkPaused(sink="memobase", kind="throttled", reason="429", until=_NOON),
    SinkResumed(sink="memobase", reason="probe"),
    SourceAdvanced(source="save_data", stream="/数据/a.jsonl", cursor={"line": 40, "at": 0.1}, fingerprint="f00d"),
    LineQuarantined(source="save_data", stream="a.jsonl", position="41", reason="no JSON", raw="{坏", digest="d1"),
]
AFTER_THE_CRASH: list[Event] = [
    SyncAttempted(sink="memobase", turns=(3,)),
    SyncSucceeded(attempt=13, sink="memobase", turns=(3,), receipt={"3": ["id-1", 2]}, reconciled=True),
    SinkFlushed(sink="memobase", user="default", up_to=3),
    SyncAttempted(sink="memobase", turns=(4,), worker="host:12"),
    SyncFailed(attempt=16, sink="memobase", turns=(4,), kind="rejected", error="no", status=422, final=True),
    RetryRequested(sink="memobase", turns=(TurnRef(seq=4, user="小明", conversation="项目讨论"),), reason="修好了"),
    TurnSkipped(sink="memobase", turns=(TurnRef(seq=4),), reason="不要"),
    DeliveryRevoked(sink="memobase", turns=(3,), reason="restored from a backup"),
    TurnRecorded(turn_id="t-1", revision=2, supersedes=3, messages=(Message("user", "你好吗"),)),
    LineQuarantined(source="save_data", stream="a.jsonl", position="42", reason="too large", blob="cd" * 32),
    ConversationNoted(source="claude_code", conversation="项目讨论", title="标题", notes={"branch": "main"}),
    SinkRetired(sink="memobase", reason="gone"),
    NoticeRaised(
        source="mailbox",
        notice="<1@邮件>",
        kind="export_ready",
        program="chatgpt",
        title="导出好了",
        link="https://chatgpt.com/export/1?a=b&c=d",
        raised_at=_NOON,
        expires_at=datetime(2026, 11, 21, 12, 0, tzinfo=UTC),
    ),
]


def events_in(golden: Path) -> list[Event]:
    """What was appended to a golden log: everything but what came later."""
    order = [path.name for path in GOLDEN_LOGS]
    later = {kind for kind, name in LATER_TYPES.items() if order.index(name) > order.index(golden.name)}
    return [event for event in BEFORE_THE_CRASH + AFTER_THE_CRASH if type(event) not in later]


def write(directory: Path) -> None:
    """Write the log: some events, a crash within a line, then the rest, one by one and at the end as a batch."""
    clock = Ticker()
    with EventLog.open(directory, clock=clock, segment_bytes=SEGMENT_BYTES) as log:
        for event in BEFORE_THE_CRASH:
            log.append(event)
    with segment_files(directory)[-1].open("ab") as file:
        file.write(TORN)
    with EventLog.open(directory, clock=clock, segment_bytes=SEGMENT_BYTES) as log:
        for event in AFTER_THE_CRASH[:-4]:
            log.append(event)
        log.append_many(AFTER_THE_CRASH[-4:])
