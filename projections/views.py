"""Events as the folds here see them: the fields that they need and no others, so that no more is ever decoded.

What makes an event unreadable in the log (an empty name, a revision 0) makes it unreadable here.
"""

from datetime import datetime
from typing import Annotated, Any

from msgspec import Meta, Struct

from eventlog import TurnRef

Name = Annotated[str, Meta(min_length=1)]
Seqs = Annotated[tuple[int, ...], Meta(min_length=1)]
Time = Annotated[datetime, Meta(tz=True)]


class View(Struct, tag_field="type", kw_only=True, gc=False):
    """Some fields of an event."""


class Turn(View, tag="TurnRecorded", kw_only=True):
    """Whose turn it is, and what it takes the place of."""

    turn_id: Name
    revision: Annotated[int, Meta(ge=1)] = 1
    supersedes: int | None = None
    source: Name = "live"
    user: Name = "default"
    conversation: Name = "default"
    started_at: Time | None = None
    ended_at: Time | None = None
    delivered_to: tuple[str, ...] = ()


class TimedTurn(Turn, tag="TurnRecorded", kw_only=True):
    """The same, and when the log took it."""

    at: datetime


class Attempted(View, tag="SyncAttempted", kw_only=True):
    """Which turns are being sent where."""

    sink: Name
    turns: Seqs


class TimedAttempt(Attempted, tag="SyncAttempted", kw_only=True):
    """The same, and since when."""

    at: datetime


class Succeeded(View, tag="SyncSucceeded", kw_only=True):
    """Which turns a sink has, since when."""

    at: datetime
    attempt: int
    sink: Name
    turns: Seqs
    reconciled: bool = False
    buffered: int = 0


class Failed(View, tag="SyncFailed", kw_only=True):
    """Which turns a sink does not have, and what follows."""

    at: datetime
    attempt: int
    sink: Name
    turns: Seqs
    kind: Name
    error: str = ""
    status: int | None = None
    retry_after: float | None = None
    final: bool = False
    turns_max: int = 0
    hold: bool = False


class Revoked(View, tag="DeliveryRevoked", kw_only=True):
    """Which turns a sink has lost."""

    sink: Name
    turns: Seqs


class Enrolled(View, tag="SinkEnrolled", kw_only=True):
    """A sink, and from where on turns are owed to it."""

    sink: Name
    kind: str = ""
    since_seq: int = 1


class Retired(View, tag="SinkRetired", kw_only=True):
    """A sink to which nothing is owed any more."""

    sink: Name


class Paused(View, tag="SinkPaused", kw_only=True):
    """Why a sink takes nothing, and until when."""

    at: datetime
    sink: Name
    kind: Name
    reason: str = ""
    until: Time | None = None


class Resumed(View, tag="SinkResumed", kw_only=True):
    """A sink that takes turns again."""

    sink: Name


class Flushed(View, tag="SinkFlushed", kw_only=True):
    """Up to which turn a user's buffer was emptied."""

    sink: Name
    user: Name
    up_to: int


class _Decision(View, kw_only=True):
    sink: Name
    turns: Annotated[tuple[TurnRef, ...], Meta(min_length=1)]


class Retried(_Decision, tag="RetryRequested", kw_only=True):
    """Turns that the operator wants sent."""


class Skipped(_Decision, tag="TurnSkipped", kw_only=True):
    """Turns that the operator does not want sent."""


class Advanced(View, tag="SourceAdvanced", kw_only=True):
    """How far a stream of a source was read."""

    at: datetime
    source: Name
    stream: Name
    cursor: Any = None
    fingerprint: str = ""


class Quarantined(View, tag="LineQuarantined", kw_only=True):
    """Where something could not be read."""

    source: Name
    stream: Name
    position: Name
    reason: Name


class Noted(View, tag="ConversationNoted", kw_only=True):
    """What is said of a conversation beside its turns."""

    source: Name
    conversation: Name
    title: str | None = None
    notes: dict[str, Any] = {}


class Raised(View, tag="NoticeRaised", kw_only=True):
    """What waits for a person, and until when."""

    at: datetime
    source: Name
    notice: Name
    kind: Name
    program: str = ""
    title: str = ""
    link: str = ""
    raised_at: Time | None = None
    expires_at: Time | None = None
