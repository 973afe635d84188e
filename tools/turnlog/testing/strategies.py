"""Hypothesis strategies for what a log holds: messages, turns, every type of event, retry policies.

Whole logs are in `turnlog.testing.logs`. Names and seqs are drawn from small sets unless others are given, so that
events hit one another.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from eventlog import (
    FAILURE_KINDS,
    ROLES,
    ConversationNoted,
    DeliveryRevoked,
    Entry,
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
    TurnRecorded,
    TurnRef,
    TurnSkipped,
)
from eventlog.codec import decode_line, encode_line
from projections import RetryPolicy
from turnlog.testing.clock import START

SINKS = ("alpha", "beta")
USERS = ("ann", "bob")
CONVERSATIONS = ("c1", "c2")
SOURCES = ("live", "claude_code")

Strategy = st.SearchStrategy

texts = st.text(max_size=12) | st.sampled_from(["你好，世界", "🌊" * 3, "a\nb\u2028\x00\x7f", '"\\'])
names = st.text(min_size=1, max_size=8)
times = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - UTC is added
some_seqs = st.integers(1, 40)


def _maybe(values: Strategy[Any]) -> Strategy[Any]:
    return st.none() | values


def _tuples(values: Strategy[Any], *, at_least: int = 1) -> Strategy[tuple[Any, ...]]:
    return st.lists(values, min_size=at_least, max_size=3).map(tuple)


_numbers = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
_json_values: Strategy[Any] = st.recursive(
    st.none() | st.booleans() | _numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=5,
)


def json_values() -> Strategy[Any]:
    """Anything that JSON can hold, nested a little."""
    return _json_values


def parts() -> Strategy[Part]:
    """Structured pieces of a message; none is called as a role, so that who sees only names can tell what is what."""
    others = names.filter(lambda name: name not in ROLES)
    kinds = st.sampled_from(["tool_call", "tool_result", "thinking", "attachment"]) | others
    return st.builds(Part, type=kinds, id=_maybe(names), name=_maybe(names), text=_maybe(texts), data=json_values())


def messages() -> Strategy[Message]:
    """One message."""
    return st.builds(
        Message,
        role=st.sampled_from(ROLES),
        content=texts,
        id=_maybe(names),
        at=_maybe(times),
        name=_maybe(names),
        parts=_tuples(parts(), at_least=0),
    )


def turns(
    *,
    turn_ids: Strategy[str] = names,
    sources: Strategy[str] = st.sampled_from(SOURCES),  # noqa: B008 - a strategy never changes
    users: Strategy[str] = st.sampled_from(USERS),  # noqa: B008
    conversations: Strategy[str] = st.sampled_from(CONVERSATIONS),  # noqa: B008
) -> Strategy[TurnRecorded]:
    """One turn, as it is recorded for the first time."""
    return st.builds(
        TurnRecorded,
        turn_id=turn_ids,
        source=sources,
        user=users,
        conversation=conversations,
        started_at=_maybe(times),
        ended_at=_maybe(times),
        model=_maybe(names),
        usage=_maybe(st.dictionaries(names, json_values(), max_size=2)),
        meta=st.dictionaries(names, json_values(), max_size=2),
        messages=st.lists(messages(), min_size=1, max_size=3).map(tuple),
    )


def short_turns() -> Strategy[TurnRecorded]:
    """One turn in which little is said: what matters to a log is whose it is, and which older one it follows."""
    return st.builds(
        TurnRecorded,
        turn_id=st.sampled_from(["t1", "t2", "t3", "t4"]),
        revision=st.integers(1, 4),
        supersedes=_maybe(st.integers(-1, 15)),
        source=st.sampled_from(SOURCES),
        user=st.sampled_from(USERS),
        conversation=st.sampled_from(CONVERSATIONS),
        delivered_to=st.lists(st.sampled_from(SINKS), max_size=2).map(tuple),
        messages=st.just((Message("user", "hi"),)),
    )


def policies() -> Strategy[RetryPolicy]:
    """How patient to be: from not at all to a lot."""
    return st.builds(
        RetryPolicy,
        max_attempts=st.integers(1, 5),
        base_seconds=st.floats(0, 10) | st.just(2.0),
        max_seconds=st.floats(0, 1000) | st.just(300.0),
    )


def attempts(*, sinks: Strategy[str], seqs: Strategy[int]) -> Strategy[SyncAttempted]:
    """Turns that are being sent."""
    return st.builds(SyncAttempted, sink=sinks, turns=_tuples(seqs), worker=texts)


def outcomes(*, sinks: Strategy[str], seqs: Strategy[int]) -> Strategy[SyncSucceeded | SyncFailed]:
    """What came of attempts."""
    turns_of = {"sink": sinks, "turns": _tuples(seqs)}
    waits = _maybe(st.floats(0, 1e6) | st.floats(allow_nan=False, allow_infinity=False))
    return st.one_of(
        st.builds(
            SyncSucceeded,
            **turns_of,
            attempt=seqs,
            receipt=json_values(),
            reconciled=st.booleans(),
            buffered=st.integers(-1, 9),
            redacted=st.just({}) | st.just({"jwt": 1}),
        ),
        st.builds(
            SyncFailed,
            **turns_of,
            attempt=seqs,
            kind=st.sampled_from(FAILURE_KINDS) | names,
            error=texts,
            status=_maybe(st.integers(100, 599)),
            retry_after=waits,
            final=st.booleans(),
            turns_max=st.integers(-1, 3),
            hold=st.booleans(),
        ),
    )


def decisions(*, sinks: Strategy[str], seqs: Strategy[int]) -> Strategy[Event]:
    """What is decided about sinks and turns."""
    refs = _tuples(st.builds(TurnRef, seq=seqs, user=texts, conversation=texts))
    kinds = st.sampled_from([*FAILURE_KINDS, "operator"])
    return st.one_of(
        st.builds(SinkEnrolled, sink=sinks, kind=texts, since_seq=st.just(1) | seqs),
        st.builds(SinkRetired, sink=sinks, reason=texts),
        st.builds(SinkPaused, sink=sinks, kind=kinds, reason=texts, until=_maybe(times)),
        st.builds(SinkResumed, sink=sinks, reason=texts),
        st.builds(DeliveryRevoked, sink=sinks, turns=_tuples(seqs), reason=texts),
        st.builds(SinkFlushed, sink=sinks, user=st.sampled_from(USERS) | names, up_to=seqs),
        st.builds(RetryRequested, sink=sinks, turns=refs, reason=texts),
        st.builds(TurnSkipped, sink=sinks, turns=refs, reason=texts),
    )


def notes(*, seqs: Strategy[int]) -> Strategy[Event]:
    """Everything else that stands in a log."""
    sources, segments = st.sampled_from(SOURCES), _maybe(names)
    said: list[Strategy[Event]] = [
        st.builds(ConversationNoted, source=sources, conversation=names, title=_maybe(texts), notes=st.just({})),
        st.builds(
            NoticeRaised, source=sources, notice=names, kind=names, program=sources, title=texts,
            expires_at=_maybe(times),
        ),
    ]  # fmt: skip
    return st.one_of(
        st.builds(SourceAdvanced, source=sources, stream=names, cursor=json_values(), fingerprint=texts),
        st.builds(
            LineQuarantined, source=sources, stream=names, position=names, reason=names, raw=_maybe(texts), digest=texts
        ),
        st.sampled_from(said).flatmap(lambda kind: kind),  # one choice, so that deliveries are moved as often as before
        st.builds(SegmentOpened, format=st.just(1), segment=segments, length=_maybe(seqs), checksum=segments),
        st.builds(TornTailClosed, segment=names, offset=seqs, length=seqs, missing=_tuples(seqs, at_least=0)),
    )


def events(
    *,
    sinks: Strategy[str] = st.sampled_from(SINKS),  # noqa: B008 - a strategy never changes
    seqs: Strategy[int] = some_seqs,
) -> Strategy[Event]:
    """An event of any type, those that move deliveries more often than the others."""
    return st.one_of(
        turns(),
        short_turns(),
        attempts(sinks=sinks, seqs=seqs),
        outcomes(sinks=sinks, seqs=seqs),
        decisions(sinks=sinks, seqs=seqs),
        notes(seqs=seqs),
    )


def make_entry(event: Event, *, seq: int, at: datetime = START) -> Entry:
    """The event as it would be read back from a log: through its line."""
    entry = decode_line(encode_line(event, seq=seq, at=at)[:-1])
    if entry is None:
        raise ValueError(f"{event!r} makes no whole line")
    return entry


def make_entries(
    events: Iterable[Event] | Sequence[Event], *, first_seq: int = 1, start: datetime = START, step_seconds: float = 1.0
) -> list[Entry]:
    """The events as they would be read back, a step in time between each two."""
    step = timedelta(seconds=step_seconds)
    return [make_entry(event, seq=first_seq + i, at=start + i * step) for i, event in enumerate(events)]
