"""Hypothesis strategies for every event, by its type."""

from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from eventlog import (
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
    TurnRecorded,
    TurnRef,
    TurnSkipped,
)

text = st.text(max_size=20)
names = st.text(min_size=1, max_size=12)
seqs = st.integers(1, 2**63 - 1)
times = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))
floats = st.floats(allow_nan=False, allow_infinity=False)
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | floats | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
json_objects = st.dictionaries(text, json_values, max_size=3)


def maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


def tuples(values: st.SearchStrategy[Any], at_least: int = 1) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(values, min_size=at_least, max_size=3).map(tuple)


parts = st.builds(
    Part,
    type=names,
    id=maybe(text),
    name=maybe(text),
    text=maybe(text),
    data=json_values,
    digest=maybe(text),
    media_type=maybe(text),
    size_bytes=maybe(seqs),
)
messages = st.builds(
    Message,
    role=st.sampled_from(ROLES),
    content=text,
    id=maybe(text),
    at=maybe(times),
    name=maybe(text),
    parts=tuples(parts, 0),
)
refs = st.builds(TurnRef, seq=seqs, user=text, conversation=text)

BY_TYPE: dict[str, st.SearchStrategy[Event]] = {
    "TurnRecorded": st.builds(
        TurnRecorded,
        turn_id=names,
        revision=seqs,
        supersedes=maybe(seqs),
        source=names,
        user=names,
        conversation=names,
        started_at=maybe(times),
        ended_at=maybe(times),
        delivered_to=tuples(names, 0),
        model=maybe(text),
        usage=maybe(json_objects),
        meta=json_objects,
        messages=tuples(messages),
    ),
    "SyncAttempted": st.builds(SyncAttempted, sink=names, turns=tuples(seqs), worker=text),
    "SyncSucceeded": st.builds(
        SyncSucceeded, attempt=seqs, sink=names, turns=tuples(seqs), receipt=json_values, reconciled=st.booleans()
    ),
    "SyncFailed": st.builds(
        SyncFailed,
        attempt=seqs,
        sink=names,
        turns=tuples(seqs),
        kind=st.sampled_from(FAILURE_KINDS),
        error=text,
        status=maybe(seqs),
        retry_after=maybe(floats),
        final=st.booleans(),
        turns_max=st.integers(0, 1000),
    ),
    "DeliveryRevoked": st.builds(DeliveryRevoked, sink=names, turns=tuples(seqs), reason=text),
    "SinkEnrolled": st.builds(SinkEnrolled, sink=names, kind=text, since_seq=seqs),
    "SinkRetired": st.builds(SinkRetired, sink=names, reason=text),
    "SinkPaused": st.builds(SinkPaused, sink=names, kind=names, reason=text, until=maybe(times)),
    "SinkResumed": st.builds(SinkResumed, sink=names, reason=text),
    "SinkFlushed": st.builds(SinkFlushed, sink=names, user=names, up_to=seqs),
    "RetryRequested": st.builds(RetryRequested, sink=names, turns=tuples(refs), reason=text),
    "TurnSkipped": st.builds(TurnSkipped, sink=names, turns=tuples(refs), reason=text),
    "SourceAdvanced": st.builds(SourceAdvanced, source=names, stream=names, cursor=json_values, fingerprint=text),
    "LineQuarantined": st.builds(
        LineQuarantined,
        source=names,
        stream=names,
        position=names,
        reason=names,
        raw=maybe(text),
        blob=maybe(text),
        digest=text,
    ),
    "ConversationNoted": st.builds(
        ConversationNoted, source=names, conversation=names, title=maybe(text), notes=json_objects
    ),
    "NoticeRaised": st.builds(
        NoticeRaised,
        source=names,
        notice=names,
        kind=names,
        program=text,
        title=text,
        link=text,
        raised_at=maybe(times),
        expires_at=maybe(times),
    ),
    "SegmentOpened": st.builds(
        SegmentOpened, format=st.just(1), segment=maybe(names), length=maybe(seqs), checksum=maybe(text)
    ),
    "TornTailClosed": st.builds(TornTailClosed, segment=names, offset=seqs, length=seqs, missing=tuples(seqs, 0)),
}

said_by_callers = sorted(set(EVENT_TYPES) - {"SegmentOpened", "TornTailClosed"})
"""The types that a caller appends; the other two are the log's own."""

events = st.sampled_from(said_by_callers).flatmap(lambda kind: BY_TYPE[kind])
