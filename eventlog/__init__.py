"""Facts: what happened, as immutable events in a locked, append-only JSONL log.

The only code that touches log files. It knows no network, no policy, and no clock but the one it stamps events with;
it imports nothing from `projections` or `turnlog`. The format is specified in `eventlog.codec`.
"""

from eventlog.blobs import Blobs
from eventlog.codec import Encoded, Entry, prepare
from eventlog.errors import (
    AppendFailed,
    EventLogError,
    InvalidEvent,
    LogClosed,
    LogUnavailable,
    NewerFormat,
    ReadOnlyLog,
)
from eventlog.events import (
    EVENT_TYPES,
    FAILURE_KINDS,
    ROLES,
    ConversationNoted,
    DeliveryRevoked,
    Event,
    LineQuarantined,
    Message,
    NoticeRaised,
    Part,
    RetryRequested,
    SegmentOpened,
    SinkEnrolled,
    SinkFlushed,
    SinkPaused,
    SinkResumed,
    SinkRetired,
    SourceAdvanced,
    SyncAttempted,
    SyncFailed,
    SyncSucceeded,
    TornTailClosed,
    TurnHeader,
    TurnRecorded,
    TurnRef,
    TurnSkipped,
    UnknownEvent,
)
from eventlog.locks import Lock
from eventlog.log import Durability, EventLog
from eventlog.reader import Problem, Reader
from eventlog.verify import Report
from eventlog.wake import Waiter

__all__ = [
    "EVENT_TYPES",
    "FAILURE_KINDS",
    "ROLES",
    "AppendFailed",
    "Blobs",
    "ConversationNoted",
    "DeliveryRevoked",
    "Durability",
    "Encoded",
    "Entry",
    "Event",
    "EventLog",
    "EventLogError",
    "InvalidEvent",
    "LineQuarantined",
    "Lock",
    "LogClosed",
    "LogUnavailable",
    "Message",
    "NewerFormat",
    "NoticeRaised",
    "Part",
    "Problem",
    "ReadOnlyLog",
    "Reader",
    "Report",
    "RetryRequested",
    "SegmentOpened",
    "SinkEnrolled",
    "SinkFlushed",
    "SinkPaused",
    "SinkResumed",
    "SinkRetired",
    "SourceAdvanced",
    "SyncAttempted",
    "SyncFailed",
    "SyncSucceeded",
    "TornTailClosed",
    "TurnHeader",
    "TurnRecorded",
    "TurnRef",
    "TurnSkipped",
    "UnknownEvent",
    "Waiter",
    "prepare",
]
