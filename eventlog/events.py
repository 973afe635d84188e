"""The facts that a log holds: frozen structs, one per kind of fact.

An event's tag is its class name and never changes; a new field has a default; an event type or field that this
version does not know is kept in the log and passed over (`UnknownEvent`). Times are UTC.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from operator import attrgetter
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from msgspec import Struct
from msgspec.structs import astuple, force_setattr

from eventlog.errors import InvalidEvent

_FLOAT_BITS = 1000  # an integer of more bits is no float

ROLES = ("user", "assistant", "system", "tool")
"""Who can say a message."""

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


class Message(Struct, frozen=True, omit_defaults=True):
    """One message of a turn: who said what, and the structured parts beside the text."""

    role: str
    content: str = ""
    id: str | None = None
    at: datetime | None = None
    name: str | None = None
    parts: tuple[Part, ...] = ()

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise InvalidEvent(f"a message has the role {self.role!r}; it must be one of {', '.join(ROLES)}")
        if not isinstance(self.content, str):
            raise InvalidEvent(f"a message's content must be text, not {type(self.content).__name__}")
        _check_types(self)
        _check_utc("at", self.at)
        _freeze(self, "parts")


class Event(Struct, frozen=True, tag=True, tag_field="type", kw_only=True):
    """What every event has in common: a tag, `"type"`, that is the name of its class."""

    def __post_init__(self) -> None:
        _check_types(self)


class TurnHeader(Event, frozen=True, tag="TurnRecorded", kw_only=True):
    """A `TurnRecorded` without its content: what most folds need, decoded at a fraction of the cost."""

    turn_id: str
    revision: int = 1
    supersedes: int | None = None
    source: str = "live"
    user: str = "default"
    conversation: str = "default"
    started_at: datetime | None = None
    ended_at: datetime | None = None
    delivered_to: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_names(self, "turn_id", "source", "user", "conversation")
        _check_utc("started_at", self.started_at)
        _check_utc("ended_at", self.ended_at)
        if self.revision < 1:
            raise InvalidEvent(f"turn {self.turn_id!r} has revision {self.revision}; revisions count from 1")
        _freeze(self, "delivered_to")


class TurnRecorded(TurnHeader, frozen=True, tag="TurnRecorded", kw_only=True):
    """This was said: one exchange, whole, with at least one message."""

    model: str | None = None
    usage: dict[str, Any] | None = None
    meta: dict[str, Any] = {}
    messages: tuple[Message, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        _freeze(self, "messages")
        if not self.messages:
            raise InvalidEvent(f"turn {self.turn_id!r} has no messages; a turn has at least one")


class SyncAttempted(Event, frozen=True, kw_only=True):
    """These turns are being sent now, in one request; the event's own seq is the attempt's id."""

    sink: str
    turns: tuple[int, ...]
    worker: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_delivery(self)


class SyncSucceeded(Event, frozen=True, kw_only=True):
    """The sink has them. `receipt` is the sink's proof, of the request or by seq (as text).

    `buffered` is how much of them waits in a buffer of the sink for a SinkFlushed, in the sink's own units; `redacted`
    counts, by kind, the secrets that were taken out of what was sent.
    """

    attempt: int
    sink: str
    turns: tuple[int, ...]
    receipt: Any = None
    reconciled: bool = False
    buffered: int = 0
    redacted: dict[str, int] = {}

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_delivery(self)


class SyncFailed(Event, frozen=True, kw_only=True):
    """The sink does not have them, or not for certain.

    `final` (no more tries) and `turns_max` (above 0: nobody is blamed yet, the next request with these turns
    holds at most so many of them) are decisions, taken when the event is written, so that a changed
    configuration never changes the past; `hold`, another one, says that the operator is to decide. `retry_after` is
    in seconds.
    """

    attempt: int
    sink: str
    turns: tuple[int, ...]
    kind: str
    error: str = ""
    status: int | None = None
    retry_after: float | None = None
    final: bool = False
    turns_max: int = 0
    hold: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_delivery(self)
        _check_names(self, "kind")
        if isinstance(self.retry_after, int) and self.retry_after.bit_length() > _FLOAT_BITS:
            raise InvalidEvent("SyncFailed.retry_after is more seconds than can be read again")


class DeliveryRevoked(Event, frozen=True, kw_only=True):
    """The sink lost what it had taken: the turns are owed again."""

    sink: str
    turns: tuple[int, ...]
    reason: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_delivery(self)


class SinkEnrolled(Event, frozen=True, kw_only=True):
    """From `since_seq` on, turns are owed to this sink."""

    sink: str
    kind: str = ""
    since_seq: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_names(self, "sink")


class SinkRetired(Event, frozen=True, kw_only=True):
    """Nothing is owed to this sink any longer."""

    sink: str
    reason: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_names(self, "sink")


class SinkPaused(Event, frozen=True, kw_only=True):
    """The sink itself is the problem; no turn is blamed. With `until` the pause ends by itself."""

    sink: str
    kind: str
    reason: str = ""
    until: datetime | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_names(self, "sink", "kind")
        _check_utc("until", self.until)


class SinkResumed(Event, frozen=True, kw_only=True):
    """The sink takes turns again."""

    sink: str
    reason: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_names(self, "sink")


class SinkFlushed(Event, frozen=True, kw_only=True):
    """A sink's buffer was flushed for a user, up to the turn with this seq."""

    sink: str
    user: str
    up_to: int

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_names(self, "sink", "user")


class TurnRef(Struct, frozen=True, kw_only=True):
    """A turn as an operator's decision names it."""

    seq: int
    user: str = ""
    conversation: str = ""


class RetryRequested(Event, frozen=True, kw_only=True):
    """The operator wants these turns sent (again), whatever became of them."""

    sink: str
    turns: tuple[TurnRef, ...]
    reason: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_delivery(self)


class TurnSkipped(Event, frozen=True, kw_only=True):
    """The operator does not want these turns sent to this sink."""

    sink: str
    turns: tuple[TurnRef, ...]
    reason: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_delivery(self)


class SourceAdvanced(Event, frozen=True, kw_only=True):
    """This stream of a source was read up to here."""

    source: str
    stream: str
    cursor: Any = None
    fingerprint: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_names(self, "source", "stream")


class LineQuarantined(Event, frozen=True, kw_only=True):
    """Something in a source could not be read; it is kept here (`raw`) or in the blob folder (`blob`)."""

    source: str
    stream: str
    position: str
    reason: str
    raw: str | None = None
    blob: str | None = None
    digest: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_names(self, "source", "stream", "position", "reason")


class ConversationNoted(Event, frozen=True, kw_only=True):
    """Something about a conversation: its title, a membership, a branch. Never a delivery."""

    source: str
    conversation: str
    title: str | None = None
    notes: dict[str, Any] = {}

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_names(self, "source", "conversation")


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

_TYPE_NAMES = {datetime: "a time in UTC", str: "text"}

_FREE_FORM: dict[type[Event], Callable[[Any], Any]] = dict.fromkeys(EVENT_TYPES.values(), lambda _event: False) | {
    TurnRecorded: lambda event: event.usage or event.meta or any(map(_parts, event.messages)),
    SyncSucceeded: lambda event: event.receipt is not None or event.redacted,
    RetryRequested: lambda _event: True,
    TurnSkipped: lambda _event: True,
    SourceAdvanced: lambda event: event.cursor is not None,
    ConversationNoted: lambda event: event.notes,
}


def _check_types(struct: Struct) -> None:
    """Raise InvalidEvent where a value could be written but not be read again as this struct."""
    kind, values = type(struct), astuple(struct)
    fields, of_tuples, known = _types(kind)
    types = tuple(map(type, values))
    if types not in known:
        for (name, allowed), value in zip(fields, values, strict=True):
            if allowed and (not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed)):
                expected = " or ".join(_TYPE_NAMES.get(each, each.__name__) for each in allowed if each is not NoneType)
                raise InvalidEvent(f"{kind.__name__}.{name} must be {expected}, not {value!r}")
        known.add(types)
    for index, allowed_item in of_tuples:
        if values[index] and not set(map(type, values[index])) <= {allowed_item}:
            name, item = fields[index][0], allowed_item.__name__
            raise InvalidEvent(f"{kind.__name__}.{name} must hold {item} and nothing else, not {values[index]!r}")


@cache
def _types(kind: type[Struct]) -> tuple[list[tuple[str, tuple[type, ...]]], list[tuple[int, type]], set[Any]]:
    """A struct's fields with the types that their values may have (none: any), which of them are tuples of one type,
    and a set to remember in which combinations of types were found to be right.
    """
    hints = get_type_hints(kind)
    names = kind.__struct_fields__
    tuples = [(index, hints[name]) for index, name in enumerate(names) if get_origin(hints[name]) is tuple]
    items = [(index, _allowed(get_args(hint)[0])[0]) for index, hint in tuples]
    return [(name, _allowed(hints[name])) for name in names], items, set()


def _allowed(hint: Any) -> tuple[type, ...]:
    if hint is Any:
        return ()
    if isinstance(hint, UnionType):
        return tuple(each for arg in get_args(hint) for each in _allowed(arg))
    origin = get_origin(hint) or hint
    return {tuple: (tuple, list), float: (float, int)}.get(origin, (origin,))


def _check_names(event: Struct, *fields: str) -> None:
    for field in fields:
        value = getattr(event, field)
        if not isinstance(value, str) or not value:
            raise InvalidEvent(f"{type(event).__name__}.{field} must be a text that is not empty, not {value!r}")


def _check_utc(field: str, value: datetime | None) -> None:
    if value is None or (type(value) is datetime and value.tzinfo is UTC):
        return
    if not isinstance(value, datetime) or value.utcoffset() != timedelta(0):
        raise InvalidEvent(f"{field} must be a time in UTC, not {value!r}")


def _check_delivery(event: Any) -> None:
    _check_names(event, "sink")
    _freeze(event, "turns")
    if not event.turns:
        raise InvalidEvent(f"{type(event).__name__} for sink {event.sink!r} names no turns")


def _freeze(event: Struct, field: str) -> None:
    value = getattr(event, field)
    if isinstance(value, list):
        force_setattr(event, field, tuple(value))
