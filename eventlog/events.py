"""The facts that a log holds: frozen structs, one per kind of fact.

An event's tag is its class name and never changes; a new field has a default; an event type or field that this
version does not know is kept in the log and passed over (`UnknownEvent`). Times are UTC.

The fields' types are the rules that an event keeps; `checks` holds what is made to them.
"""

from collections.abc import Callable
from datetime import datetime
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta, Struct, convert

from eventlog.checks import CheckedWhenMade

Name = Annotated[str, Meta(min_length=1, description="a text that is not empty")]

UtcTime = Annotated[datetime, Meta(tz=True, description="a time in UTC")]

Some = Meta(min_length=1, description="at least one")

Seqs = Annotated[tuple[int, ...], Some]
"""Turns, by their seqs."""

ROLES = ("user", "assistant", "system", "tool")
"""Who can say a message."""

if TYPE_CHECKING:
    Role = str  # callers have their roles from the sources' files
else:
    Role = Literal[ROLES]

FAILURE_KINDS = ("unavailable", "throttled", "unauthorized", "failed", "rejected", "in_doubt")
"""What a `SyncFailed` can say of its cause; the delivery fold gives each its meaning."""


class Part(Struct, frozen=True, omit_defaults=True):
    """One structured piece of a message, in the order in which the source had them.

    `type` names the piece (`tool_call`, `tool_result`, `thinking`, `attachment`, or whatever the source called
    it): an open set, so that a piece nobody knows yet is kept like the others.
    """

    type: str
    id: str | None = None
    name: str | None = None
    text: str | None = None
    data: Any = None
    digest: str | None = None
    media_type: str | None = None
    size_bytes: int | None = None


class Message(Struct, frozen=True, omit_defaults=True, metaclass=CheckedWhenMade):
    """One message of a turn: who said what, and the structured parts beside the text."""

    role: Role
    content: str = ""
    id: str | None = None
    at: UtcTime | None = None
    name: str | None = None
    parts: tuple[Part, ...] = ()


class Event(Struct, frozen=True, tag=True, tag_field="type", kw_only=True, metaclass=CheckedWhenMade):
    """What every event has in common: a tag, `"type"`, that is the name of its class."""


class TurnHeader(Event, frozen=True, tag="TurnRecorded", kw_only=True):
    """A `TurnRecorded` without its content: what most folds need, decoded at a fraction of the cost."""

    turn_id: Name
    revision: Annotated[int, Meta(ge=1, description="at least 1")] = 1
    supersedes: int | None = None
    source: Name = "live"
    user: Name = "default"
    conversation: Name = "default"
    started_at: UtcTime | None = None
    ended_at: UtcTime | None = None
    delivered_to: tuple[str, ...] = ()


class TurnRecorded(TurnHeader, frozen=True, tag="TurnRecorded", kw_only=True):
    """This was said: one exchange, whole, with at least one message."""

    model: str | None = None
    usage: dict[str, Any] | None = None
    meta: dict[str, Any] = {}
    messages: Annotated[tuple[Message, ...], Some]

    @property
    def header(self) -> TurnHeader:
        """The same without its content."""
        return convert(self, TurnHeader, from_attributes=True)


class SyncAttempted(Event, frozen=True, kw_only=True):
    """These turns are being sent now, in one request; the event's own seq is the attempt's id."""

    sink: Name
    turns: Seqs
    worker: str = ""


class SyncSucceeded(Event, frozen=True, kw_only=True):
    """The sink has them. `receipt` is the sink's proof, of the request or by seq (as text).

    `buffered` is how much of them waits in a buffer of the sink for a SinkFlushed, in the sink's own units; `redacted`
    counts, by kind, the secrets that were taken out of what was sent.
    """

    attempt: int
    sink: Name
    turns: Seqs
    receipt: Any = None
    reconciled: bool = False
    buffered: int = 0
    redacted: dict[str, int] = {}


class SyncFailed(Event, frozen=True, kw_only=True):
    """The sink does not have them, or not for certain.

    `final` (no more tries) and `turns_max` (above 0: nobody is blamed yet, the next request with these turns
    holds at most so many of them) are decisions, taken when the event is written, so that a changed
    configuration never changes the past; `hold`, another one, says that the operator is to decide. `retry_after` is
    in seconds.
    """

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


class DeliveryRevoked(Event, frozen=True, kw_only=True):
    """The sink lost what it had taken: the turns are owed again."""

    sink: Name
    turns: Seqs
    reason: str = ""


class SinkEnrolled(Event, frozen=True, kw_only=True):
    """From `since_seq` on, turns are owed to this sink."""

    sink: Name
    kind: str = ""
    since_seq: int = 1


class SinkRetired(Event, frozen=True, kw_only=True):
    """Nothing is owed to this sink any longer."""

    sink: Name
    reason: str = ""


class SinkPaused(Event, frozen=True, kw_only=True):
    """The sink itself is the problem; no turn is blamed. With `until` the pause ends by itself."""

    sink: Name
    kind: Name
    reason: str = ""
    until: UtcTime | None = None


class SinkResumed(Event, frozen=True, kw_only=True):
    """The sink takes turns again."""

    sink: Name
    reason: str = ""


class SinkFlushed(Event, frozen=True, kw_only=True):
    """A sink's buffer was flushed for a user, up to the turn with this seq."""

    sink: Name
    user: Name
    up_to: int


class TurnRef(Struct, frozen=True, kw_only=True):
    """A turn as an operator's decision names it."""

    seq: int
    user: str = ""
    conversation: str = ""


class RetryRequested(Event, frozen=True, kw_only=True):
    """The operator wants these turns sent (again), whatever became of them."""

    sink: Name
    turns: Annotated[tuple[TurnRef, ...], Some]
    reason: str = ""


class TurnSkipped(Event, frozen=True, kw_only=True):
    """The operator does not want these turns sent to this sink."""

    sink: Name
    turns: Annotated[tuple[TurnRef, ...], Some]
    reason: str = ""


class SourceAdvanced(Event, frozen=True, kw_only=True):
    """This stream of a source was read up to here."""

    source: Name
    stream: Name
    cursor: Any = None
    fingerprint: str = ""


class LineQuarantined(Event, frozen=True, kw_only=True):
    """Something in a source could not be read; it is kept here (`raw`) or in the blob folder (`blob`)."""

    source: Name
    stream: Name
    position: Name
    reason: Name
    raw: str | None = None
    blob: str | None = None
    digest: str = ""


class ConversationNoted(Event, frozen=True, kw_only=True):
    """Something about a conversation: its title, a membership, a branch. Never a delivery."""

    source: Name
    conversation: Name
    title: str | None = None
    notes: dict[str, Any] = {}


class NoticeRaised(Event, frozen=True, kw_only=True):
    """Something waits for a person to act on it, such as an export that only they can download.

    `notice` names it within its source, which raises it once. `program` is the source whose next import settles it;
    `link` is where to act, empty if that is not known, and works for the person alone; after `expires_at` it is void.
    """

    source: Name
    notice: Name
    kind: Name
    program: str = ""
    title: str = ""
    link: str = ""
    raised_at: UtcTime | None = None
    expires_at: UtcTime | None = None


class SegmentOpened(Event, frozen=True, kw_only=True):
    """A segment begins. It seals the one before it: its name, its length in bytes, its CRC-32.

    `checksum` is None for the first segment, and after a sync error, when nobody can vouch for the old one. `whole`
    says that every line of the old one was right when it was sealed, so that its checksum stands for theirs.
    """

    format: int
    segment: str | None = None
    length: int | None = None
    checksum: str | None = None
    whole: bool = False


class TornTailClosed(Event, frozen=True, kw_only=True):
    """A crash left a gap here: `length` bytes at `offset` of `segment`; `missing` are the seqs lost with it."""

    segment: str
    offset: int
    length: int
    missing: tuple[int, ...] = ()


class UnknownEvent(Struct, frozen=True):
    """A whole line whose type this version does not know, or whose fields it cannot make sense of.

    `fields` is the line as a dict without its frame; `error` says why a known type could not be read.
    """

    type: str
    fields: dict[str, Any]
    error: str = ""


EVENT_TYPES: dict[str, type[Event]] = {
    cls.__name__: cls
    for cls in (
        TurnRecorded,
        SyncAttempted,
        SyncSucceeded,
        SyncFailed,
        DeliveryRevoked,
        SinkEnrolled,
        SinkRetired,
        SinkPaused,
        SinkResumed,
        SinkFlushed,
        RetryRequested,
        TurnSkipped,
        SourceAdvanced,
        LineQuarantined,
        ConversationNoted,
        NoticeRaised,
        SegmentOpened,
        TornTailClosed,
    )
}
"""Every event type by its tag."""


_TAGS = {kind: tag for tag, kind in EVENT_TYPES.items()}


def tag_of(kind: type[Event]) -> str:
    """The tag under which events of this struct stand in the log."""
    return _TAGS.get(kind) or str(kind.__struct_config__.tag)


def has_free_form(event: Event) -> bool:
    """Whether an event holds values that its fields' types say nothing about; all others were checked when made."""
    free = _FREE_FORM.get(type(event))
    return free is None or bool(free(event))


_parts = attrgetter("parts")

_FREE_FORM: dict[type[Event], Callable[[Any], Any]] = dict.fromkeys(EVENT_TYPES.values(), lambda _event: False) | {
    TurnRecorded: lambda event: event.usage or event.meta or any(map(_parts, event.messages)),
    SyncSucceeded: lambda event: event.receipt is not None or event.redacted,
    RetryRequested: lambda _event: True,
    TurnSkipped: lambda _event: True,
    SourceAdvanced: lambda event: event.cursor is not None,
    ConversationNoted: lambda event: event.notes,
}
