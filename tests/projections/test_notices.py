"""What waits for a person: raised once, until its time is over or an import settles it."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from eventlog import Entry, Event, NoticeRaised, SourceAdvanced
from projections import NOTICES, Notices, fold_all, open_notices
from turnlog.testing import make_entries, wild_logs
from turnlog.testing.clock import START

from .support import turn

DAY = timedelta(days=1)


def notices(entries: list[Entry]) -> Notices:
    (state,) = fold_all(entries, NOTICES)
    assert isinstance(state, Notices)
    return state


def raised(name: str, program: str = "chatgpt", **fields: Any) -> NoticeRaised:
    return NoticeRaised(source="mailbox", notice=name, kind="export_ready", program=program, **fields)


def still_open(events: list[Event], now: datetime = START) -> list[str]:
    return [notice.notice for notice in open_notices(notices(make_entries(events)), now)]


def test_a_notice_is_open_until_its_time_is_over() -> None:
    """At the very moment it is over; without an end it stays."""
    events: list[Event] = [raised("ends", expires_at=START + DAY), raised("stays")]
    assert still_open(events, START + DAY - timedelta(microseconds=1)) == ["ends", "stays"]
    assert still_open(events, START + DAY) == ["stays"]


def test_the_most_urgent_comes_first() -> None:
    """By the end, then by when they were raised; those without an end are last."""
    events = [raised("b", expires_at=START + 2 * DAY), raised("z"), raised("y"), raised("a", expires_at=START + DAY)]
    assert still_open(list(events)) == ["a", "b", "z", "y"]


def test_an_import_of_its_program_settles_a_notice() -> None:
    """One that was read to its end after the notice; an import before it, or of another program, does not."""
    advanced = SourceAdvanced(source="chatgpt", stream="a.zip")
    assert still_open([raised("one"), raised("two", "claude"), advanced]) == ["two"]
    assert still_open([advanced, raised("one")]) == ["one"]
    assert still_open([raised("one"), turn("a", source="chatgpt")]) == ["one"]


def test_what_is_over_is_forgotten() -> None:
    """When the next notice comes, so that memory does not grow with history."""
    past = [raised(str(number), expires_at=START - DAY) for number in range(100)]
    assert len(notices(make_entries(past)).unsettled) == 1


def test_a_notice_keeps_what_was_said_of_it() -> None:
    """Its seq, its title, where to act and since when; the log's time stands in where none is said."""
    told = {"title": "ready", "link": "https://claude.ai/x", "expires_at": datetime(2027, 1, 1, tzinfo=UTC)}
    (notice,) = open_notices(notices(make_entries([turn("a"), raised("n", "claude", **told)])), START)
    assert (notice.seq, notice.raised_at) == (2, START + timedelta(seconds=1))
    assert {name: getattr(notice, name) for name in told} == told


@given(wild_logs(), st.integers(-400, 400))
def test_only_what_was_raised_is_open(entries: list[Entry], days: int) -> None:
    """Whatever stands in a log: each open notice is an event in it, not settled after it, and not over."""
    now = START + timedelta(days=days)
    for notice in open_notices(notices(entries), now):
        (entry,) = (entry for entry in entries if entry.seq == notice.seq)
        assert isinstance(entry.event, NoticeRaised)
        assert notice.expires_at is None or notice.expires_at > now
        later = [e.event for e in entries if e.seq > notice.seq and isinstance(e.event, SourceAdvanced)]
        assert notice.program not in [event.source for event in later]
