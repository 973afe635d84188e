"""The clock that a test moves."""

import inspect
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from eventlog import EventLog, SinkResumed
from turnlog.clock import Clock
from turnlog.testing import FakeClock
from turnlog.testing.clock import START


def test_it_is_a_clock() -> None:
    """It has the methods of `turnlog.clock.Clock`, with the same arguments."""
    for name in ("now", "sleep"):
        assert inspect.signature(getattr(FakeClock, name)) == inspect.signature(getattr(Clock, name))


def test_it_stands_still_until_it_is_told_otherwise() -> None:
    """Only `sleep`, `advance` and `set` move it, and what was slept is kept."""
    clock = FakeClock()
    assert clock.now() == clock.now() == START
    clock.sleep(1.5)
    clock.advance(-0.5)
    assert clock.now() == START + timedelta(seconds=1)
    clock.set(datetime(2030, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))))
    assert clock.now() == datetime(2030, 1, 1, tzinfo=UTC)
    assert clock.now().tzinfo is UTC
    assert clock.slept == [1.5]


def test_it_sleeps_no_less_than_nothing() -> None:
    """As time.sleep does."""
    with pytest.raises(ValueError, match="non-negative"):
        FakeClock().sleep(-1)


def test_it_stamps_events(tmp_path: Path) -> None:
    """A log may have it as its clock."""
    clock = FakeClock()
    with EventLog.open(tmp_path, durability="os", clock=clock.now) as log:
        log.append(SinkResumed(sink="s"))
        clock.advance(60)
        log.append(SinkResumed(sink="s"))
        assert [entry.at - START for entry in log.read(gt=1)] == [timedelta(0), timedelta(seconds=60)]


def test_many_threads_may_move_it() -> None:
    """No step is lost."""
    clock = FakeClock()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(clock.sleep, [1.0] * 400))
    assert clock.now() == START + timedelta(seconds=400)
