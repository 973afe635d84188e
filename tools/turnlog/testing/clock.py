"""A clock that stands still until it is told otherwise."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

START = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
"""When a `FakeClock` begins, unless told otherwise."""


class FakeClock:
    """A `turnlog.clock.Clock` that a test moves; `sleep` returns at once and moves it too. For any number of threads.

    `FakeClock().now` also serves as the clock of an `EventLog`, so that events and engine agree about the time.
    `slept` is what was slept, in seconds, in order.
    """

    def __init__(self, start: datetime = START) -> None:
        self.slept: list[float] = []
        self._now = start
        self._lock = threading.Lock()

    def now(self) -> datetime:
        """The time of day, in UTC."""
        return self._now

    def sleep(self, seconds: float) -> None:
        """Let time pass. Raises ValueError for less than nothing, as time.sleep does."""
        if seconds < 0:
            raise ValueError("sleep length must be non-negative")
        self.slept.append(seconds)
        self.advance(seconds)

    def wait(self, wait: Callable[[float], None], seconds: float) -> None:
        """Let time pass at once, for nothing else is under way."""
        wait(0.0)
        self.sleep(seconds)

    def advance(self, seconds: float) -> None:
        """Go on by so many seconds; back by less than nothing, as a clock that is set right does."""
        with self._lock:
            self._now += timedelta(seconds=seconds)

    def set(self, now: datetime) -> None:
        """Jump to a time, which says its zone."""
        with self._lock:
            self._now = now.astimezone(UTC)
