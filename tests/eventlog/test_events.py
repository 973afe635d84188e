"""The rules that an event keeps from the moment it is made."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import eventlog
from eventlog import (
    EVENT_TYPES,
    ROLES,
    InvalidEvent,
    Message,
    RetryRequested,
    SinkPaused,
    SyncAttempted,
    SyncFailed,
    TurnRecorded,
    TurnRef,
    TurnSkipped,
)
from eventlog.codec import decode_fields, encode_event
from eventlog.events import has_free_form

from .strategies import BY_TYPE

HELLO = (Message("user", "你好"),)
NAMED: dict[str, tuple[str, ...]] = {
    "TurnRecorded": ("turn_id", "source", "user", "conversation"),
    "SyncAttempted": ("sink",),
    "SyncSucceeded": ("sink",),
    "SyncFailed": ("sink", "kind"),
    "DeliveryRevoked": ("sink",),
    "SinkEnrolled": ("sink",),
    "SinkRetired": ("sink",),
    "SinkPaused": ("sink", "kind"),
    "SinkResumed": ("sink",),
    "SinkFlushed": ("sink", "user"),
    "RetryRequested": ("sink",),
    "TurnSkipped": ("sink",),
    "SourceAdvanced": ("source", "stream"),
    "LineQuarantined": ("source", "stream", "position", "reason"),
    "ConversationNoted": ("source", "conversation"),
    "NoticeRaised": ("source", "notice", "kind"),
}
FIELDS = [(kind, field) for kind, fields in NAMED.items() for field in fields]
WITH_TURNS = [kind for kind, cls in EVENT_TYPES.items() if "turns" in cls.__struct_fields__]


def made_again(event: Any, **changes: Any) -> Any:
    """Another event with these fields instead, made by a call, so that it is checked."""
    return type(event)(**{name: getattr(event, name) for name in event.__struct_fields__} | changes)


def test_all_is_sorted_and_real() -> None:
    """`eventlog.__all__` is sorted like ruff sorts it (constants, classes) and names only what is there."""
    constants = [name for name in eventlog.__all__ if name.isupper()]
    classes = [name for name in eventlog.__all__ if not name.isupper()]
    assert eventlog.__all__ == sorted(constants) + sorted(classes)
    assert all(hasattr(eventlog, name) for name in eventlog.__all__)
    assert set(EVENT_TYPES) <= set(eventlog.__all__)


def test_every_type_is_tagged_with_its_class_name() -> None:
    """The tag in the log is the class name, for every type that the design lists."""
    assert {cls.__struct_config__.tag for cls in EVENT_TYPES.values()} == set(EVENT_TYPES) == set(BY_TYPE)
    assert all(cls.__name__ == tag for tag, cls in EVENT_TYPES.items())


@pytest.mark.parametrize(("kind", "field"), FIELDS)
@settings(max_examples=8)
@given(data=st.data())
def test_a_name_is_never_empty(kind: str, field: str, data: st.DataObject) -> None:
    """An event whose id or name is empty, or is no text, cannot be made."""
    event = data.draw(BY_TYPE[kind])
    wrong = data.draw(st.sampled_from(["", None, 7, b"x"]))
    with pytest.raises(InvalidEvent, match=field):
        made_again(event, **{field: wrong})


@pytest.mark.parametrize("kind", WITH_TURNS)
@settings(max_examples=8)
@given(data=st.data())
def test_what_is_said_of_turns_names_at_least_one(kind: str, data: st.DataObject) -> None:
    """An attempt, an outcome or a decision about no turn at all cannot be made."""
    event = data.draw(BY_TYPE[kind])
    with pytest.raises(InvalidEvent, match="turns must be at least one"):
        made_again(event, turns=data.draw(st.sampled_from([(), []])))


ODD_VALUES = [0, -1, 1.5, True, None, "", "x", b"x", [], (), [1], ["x"], (True,), (HELLO[0],), {}, {"a": 1}, object()]


@pytest.mark.parametrize("kind", sorted(BY_TYPE))
@settings(max_examples=40)
@given(data=st.data())
def test_what_can_be_made_can_be_read_again(kind: str, data: st.DataObject) -> None:
    """A value of a wrong type is refused when the event is made, or at the latest when it is appended."""
    event = data.draw(BY_TYPE[kind])
    field = data.draw(st.sampled_from(event.__struct_fields__))
    try:
        changed = made_again(event, **{field: data.draw(st.sampled_from(ODD_VALUES))})
    except InvalidEvent:
        return
    if not has_free_form(changed):
        read = decode_fields(encode_event(changed)[1], EVENT_TYPES[kind])
        assert type(read) is type(changed)


@pytest.mark.parametrize("messages", [(), []])
def test_a_turn_has_a_message(messages: Any) -> None:
    """A turn without messages cannot be made."""
    with pytest.raises(InvalidEvent, match="messages must be at least one"):
        TurnRecorded(turn_id="t1", messages=messages)


@given(revision=st.integers(max_value=0))
def test_revisions_count_from_one(revision: int) -> None:
    """A turn's first revision is 1; there is none before."""
    with pytest.raises(InvalidEvent, match="revision must be at least 1"):
        TurnRecorded(turn_id="t1", revision=revision, messages=HELLO)


@given(role=st.text())
def test_roles_are_a_closed_set(role: str) -> None:
    """A message is said by the user, the assistant, the system or a tool."""
    if role in ROLES:
        assert Message(role, "x").role == role
    else:
        with pytest.raises(InvalidEvent, match="role"):
            Message(role, "x")


@pytest.mark.parametrize("content", [None, b"x", ["x"]])
def test_content_is_text(content: Any) -> None:
    """What is not text belongs into a message's parts."""
    with pytest.raises(InvalidEvent, match="content must be text"):
        Message("user", content)


def _made_with_time(value: Any) -> list[Any]:
    return [
        lambda: Message("user", "x", at=value),
        lambda: TurnRecorded(turn_id="t", messages=HELLO, started_at=value),
        lambda: TurnRecorded(turn_id="t", messages=HELLO, ended_at=value),
        lambda: SinkPaused(sink="s", kind="unavailable", until=value),
    ]


@given(
    when=st.datetimes()
    | st.datetimes(
        timezones=st.integers(-720, 720).filter(bool).map(lambda minutes: timezone(timedelta(minutes=minutes)))
    )
    | st.just("2026-11-20T10:00:00Z")
)
def test_times_are_in_utc(when: Any) -> None:
    """A time without zone, in another zone, or that is text, is refused wherever an event has a time."""
    for make in _made_with_time(when):
        with pytest.raises(InvalidEvent, match="must be a time in UTC"):
            make()


def test_utc_by_any_name_is_utc() -> None:
    """A zone that is UTC under another name is taken."""
    for zone in (UTC, timezone.utc, timezone(timedelta(0), "Zulu")):  # noqa: UP017 - the old name is the point
        made = [make() for make in _made_with_time(datetime(2026, 11, 20, tzinfo=zone))]
        assert made == [make() for make in _made_with_time(datetime(2026, 11, 20, tzinfo=UTC))]


def test_lists_become_tuples() -> None:
    """An event cannot be changed through a list that it was made with."""
    messages, parts = [Message("user", "x")], [eventlog.Part("thinking")]
    event = TurnRecorded(turn_id="t", messages=messages, delivered_to=["a"])  # type: ignore[arg-type]
    messages.clear()
    assert event.messages == (Message("user", "x"),)
    assert event.delivered_to == ("a",)
    assert Message("user", parts=parts).parts == tuple(parts)  # type: ignore[arg-type]
    assert SyncAttempted(sink="s", turns=[1, 2]).turns == (1, 2)  # type: ignore[arg-type]
    assert SyncFailed(attempt=1, sink="s", turns=[1], kind="failed").turns == (1,)  # type: ignore[arg-type]
    for kind in (RetryRequested, TurnSkipped):
        assert kind(sink="s", turns=[TurnRef(seq=1)]).turns == (TurnRef(seq=1),)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", sorted(EVENT_TYPES))
@settings(max_examples=8)
@given(data=st.data())
def test_events_are_immutable(kind: str, data: st.DataObject) -> None:
    """No field of an event can be set after it was made."""
    event = data.draw(BY_TYPE[kind])
    with pytest.raises(AttributeError, match="immutable"):
        setattr(event, event.__struct_fields__[0], "x")


def test_defaults_are_not_shared() -> None:
    """Two turns do not share the dict that neither of them was given."""
    first, second = (TurnRecorded(turn_id="t", messages=HELLO) for _ in range(2))
    first.meta["seen"] = True
    assert second.meta == {}
