"""The parts of the daemon: each in a thread of its own, started again when it breaks, while the others go on.

A part says `beat` whenever it gets on, at least every few seconds. One that has not done so for long is stuck: nobody
can end a thread, but it is named, and the service manager is not told any longer that all is well.
"""

import logging
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from eventlog import EventLogError
from turnlog.daemon.status import PartState, PartStatus
from turnlog.errors import TurnlogError

BEAT_SECONDS = 5.0
"""A part that has nothing to do wakes up at least so often to say so."""

STUCK_SECONDS = 60.0
"""A part that has not got on for so long is stuck: a disk may take tens of seconds for a sync, and not a minute."""

FIRST_RETRY_SECONDS, RETRY_SECONDS_MAX = 1.0, 60.0
"""How long a part that broke is left alone: at first, and at most; it doubles from one to the other."""

WELL_SECONDS = 60.0
"""A part that has run for so long is well: if it breaks then, that is the first time."""

_logger = logging.getLogger("turnlog.daemon")


class Pulse:
    """What a part is given: how to say that it gets on, and to learn that it is to end."""

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self.is_ready = False
        self.trouble: str | None = None
        self.beaten = time.monotonic()
        self._when_stopped: Callable[[], object] = lambda: None

    def beat(self) -> None:
        """The part gets on."""
        self.beaten = time.monotonic()

    def ready(self) -> None:
        """The part has begun its work."""
        self.beat()
        self.is_ready = True

    def wait_for(self, trouble: str | None) -> None:
        """What keeps the part from getting on; None when nothing does any longer."""
        if trouble is not None and trouble != self.trouble:
            _logger.warning("%s", trouble)
        elif trouble is None and self.trouble is not None:
            _logger.info("that is over: %s", self.trouble)
        self.trouble = trouble

    def when_stopped(self, call: Callable[[], object]) -> None:
        """Have this called when the part is to end, or at once; it must not wait for anything."""
        self._when_stopped = call
        if self.stopping.is_set():
            call()

    def stop(self) -> None:
        """Have the part end; from any thread."""
        self.stopping.set()
        self._when_stopped()


Run = Callable[[Pulse], None]
"""What a part does, until its pulse is told to stop. Whatever it raises, it is called again a little later."""


class Part:
    """One part, and the thread that runs it at the moment."""

    def __init__(self, name: str, run: Run, stuck_seconds: float) -> None:
        self.name = name
        self.restarts = 0
        self.error: str | None = None
        self._run = run
        self._stuck_seconds = stuck_seconds
        self._failures = 0
        self._start()

    def _start(self) -> None:
        self.pulse = Pulse()
        self._began, self._since = time.monotonic(), datetime.now(UTC)
        self._retry_at: datetime | None = None
        self._retry_monotonic = 0.0
        self._thread = threading.Thread(target=self._work, args=(self.pulse,), name=self.name, daemon=True)
        self._thread.start()

    def _work(self, pulse: Pulse) -> None:
        try:
            self._run(pulse)
            error = "it ended by itself"
        except BaseException as raised:  # noqa: BLE001 - whatever breaks a part breaks no other
            error = told(raised)
        if not pulse.stopping.is_set():
            self._note_failure(error)

    def _note_failure(self, error: str) -> None:
        self._failures = 1 if time.monotonic() - self._began >= WELL_SECONDS else self._failures + 1
        delay = min(RETRY_SECONDS_MAX, FIRST_RETRY_SECONDS * 2.0 ** min(self._failures - 1, 16))
        self.error, self._since = error, datetime.now(UTC)
        self._retry_monotonic = time.monotonic() + delay
        self._retry_at = self._since + timedelta(seconds=delay)
        _logger.error("%s broke and is started again in %.0f s: %s", self.name, delay, error)

    def tend(self) -> None:
        """Start it again if it broke and it is time."""
        if self._retry_at is not None and time.monotonic() >= self._retry_monotonic:
            self._thread.join()
            self.restarts += 1
            self._start()

    @property
    def is_ready(self) -> bool:
        """Whether it has begun its work."""
        return self.pulse.is_ready and self._retry_at is None

    @property
    def is_stuck(self) -> bool:
        """Whether it has begun its work and has not got on for long."""
        return self.is_ready and self._thread.is_alive() and time.monotonic() - self.pulse.beaten > self._stuck_seconds

    def join(self, seconds: float) -> bool:
        """Wait for its end, which `stop` asked for; whether it has come."""
        self._thread.join(max(0.0, seconds))
        return not self._thread.is_alive()

    def status(self) -> PartStatus:
        """How it is."""
        return PartStatus(
            self.name, self._state(), self._since, self.restarts, self.error, self.pulse.trouble, self._retry_at
        )

    def _state(self) -> PartState:
        if self._retry_at is not None:
            return "restarting"
        if self.pulse.stopping.is_set():
            return "stopped"
        if self.is_stuck:
            return "stuck"
        return "running" if self.pulse.is_ready else "starting"


class Supervisor:
    """All parts by name. One thread starts, tends and stops them; any may ask how they are."""

    def __init__(self, *, stuck_seconds: float = STUCK_SECONDS) -> None:
        self._parts: dict[str, Part] = {}
        self._stuck_seconds = stuck_seconds

    def start(self, name: str, run: Run) -> None:
        """Have a part run until it is stopped."""
        self._parts[name] = Part(name, run, self._stuck_seconds)

    def tend(self) -> None:
        """Start again what broke; to be called every second."""
        for part in self._parts.values():
            part.tend()

    def ask_to_stop(self, names: Iterable[str]) -> list[Part]:
        """Have parts end, and forget them; nobody waits for them here."""
        parts = [part for name in names if (part := self._parts.pop(name, None)) is not None]
        for part in parts:
            with suppress(Exception):
                part.pulse.stop()
        return parts

    def stop(self, seconds: float) -> list[str]:
        """Have all parts end, and wait so long for that; the names of those that have not."""
        parts, deadline = self.ask_to_stop(list(self._parts)), time.monotonic() + seconds
        return [part.name for part in parts if not part.join(deadline - time.monotonic())]

    @property
    def names(self) -> list[str]:
        """The parts that there are."""
        return list(self._parts)

    @property
    def is_ready(self) -> bool:
        """Whether every part has begun its work, or broken in the attempt."""
        return all(part.is_ready or part.error is not None for part in list(self._parts.values()))

    def stuck(self) -> list[str]:
        """The parts that do not get on."""
        return [part.name for part in list(self._parts.values()) if part.is_stuck]

    def statuses(self) -> tuple[PartStatus, ...]:
        """How all are."""
        return tuple(part.status() for part in list(self._parts.values()))


def told(error: BaseException) -> str:
    """An error in a sentence that may be logged: our own and the system's speak of no message, others may."""
    if isinstance(error, TurnlogError | EventLogError | OSError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    where = f" in {frames[-1].filename.rpartition('/')[2]}, line {frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{where}"
