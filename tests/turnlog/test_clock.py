"""The time: UTC, and never running backwards."""

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from turnlog.clock import SystemClock, age_seconds, as_utc

ZONES = st.builds(timezone, st.timedeltas(timedelta(hours=-23), timedelta(hours=23)))
MOMENTS = st.datetimes(datetime(1900, 1, 1), datetime(2900, 1, 1))


def test_the_machines_clock_is_utc() -> None:
    """It tells the time of day, and letting no time pass takes none."""
    clock = SystemClock()
    before = datetime.now(UTC)
    clock.sleep(0)
    now = clock.now()
    assert before <= now <= datetime.now(UTC)
    assert now.utcoffset() == timedelta(0)


@given(MOMENTS, ZONES)
def test_a_time_stays_the_same_moment_in_utc(moment: datetime, zone: timezone) -> None:
    """Whatever zone it comes from."""
    there = moment.replace(tzinfo=zone)
    assert as_utc(there) == there
    assert as_utc(there).tzinfo is UTC


@given(MOMENTS)
def test_a_time_without_a_zone_is_utc(moment: datetime) -> None:
    """It keeps its digits."""
    assert as_utc(moment).replace(tzinfo=None) == moment
    assert as_utc(moment).tzinfo is UTC


@given(MOMENTS, MOMENTS)
def test_an_age_is_never_negative(then: datetime, now: datetime) -> None:
    """A clock that was set back makes nothing younger than new."""
    age = age_seconds(as_utc(then), as_utc(now))
    assert age == max(0.0, (now - then).total_seconds())
