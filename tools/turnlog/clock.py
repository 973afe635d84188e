"""The time, as something that is handed in, so that a test can stand still or jump."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Tells the time."""

    def now(self) -> datetime:
        """The time of day, in UTC."""

    def sleep(self, seconds: float) -> None:
        """Let time pass."""

    def wait(self, wait: Callable[[float], None], seconds: float) -> None:
        """Let time pass by calling `wait(seconds)`, which returns earlier if something happens."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The time of day, in UTC."""
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        time.sleep(seconds)

    def wait(self, wait: Callable[[float], None], seconds: float) -> None:
        """Let time pass, unless something happens before."""
        wait(seconds)


def as_utc(value: datetime) -> datetime:
    """A time in UTC; one that does not say where it is from is taken to be in UTC already."""
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def age_seconds(then: datetime, now: datetime) -> float:
    """How long ago `then` was, never less than nothing."""
    return max(0.0, (now - then) / timedelta(seconds=1))
