"""What a sink needs beside turns: to be asked whether it is back, and to have its buffers flushed."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from itertools import islice, takewhile
from typing import Any

from eventlog import DeliveryRevoked, Event, SinkFlushed, SinkPaused, SinkResumed
from projections import ProbePolicy, SinkState, is_open, is_probed, next_probe_at
from turnlog.sinks.base import Flushed, FlushingSink, Lost, Refused, Sink
from turnlog.sync.sending import check, flush

_DOUBLINGS_MAX = 8
"""A user whose turns were lost by flush after flush is flushed ever more rarely, up to 256 times."""

_AGAIN_SECONDS = 30.0
"""When a flush that failed is tried again."""

Submit = Callable[[Callable[[], Any], Callable[[Any], list[Event]]], None]
"""Has a job done by a worker, and then its result turned into events."""

PauseAfter = Callable[[Sequence[object], datetime], list[Event]]
"""The pause of the sink that some outcomes call for, if they do, see `outcomes.pause_after`."""


class Probing:
    """Asks a sink that is away whether it is back."""

    def __init__(self, policy: ProbePolicy, state: Callable[[], SinkState]) -> None:
        self.policy = policy
        self._state = state
        self._at_once = False
        self._asking = False
        self._asked_at: datetime | None = None

    def ask_at_once(self) -> None:
        """Ask as soon as can be, whatever the sink is paused for, unless by the operator."""
        self._at_once, self._asking = True, False

    def due_at(self) -> datetime | None:
        """When the sink is to be asked next; None: not by itself."""
        state = self._state()
        if self._asking or state.pause is None:
            return None
        after = state.pause.since if self._asked_at is None else max(self._asked_at, state.pause.since)
        return next_probe_at(state, self.policy, after=after)

    def is_from_the_future(self, now: datetime) -> bool:
        """Whether the clock was set back since the sink was paused or asked, so that it would be asked too late."""
        pause = self._state().pause
        known = (pause.since if pause is not None else None, self._asked_at)
        return any(at is not None and at > now for at in known)

    def begin(self, sink: Sink, now: datetime, submit: Submit) -> None:
        """Ask if it is time."""
        due = self.due_at()
        is_due = self._at_once or (due is not None and due <= now)
        self._at_once = False
        if is_due and not self._asking and is_probed(self._state()):
            self._asking = True
            submit(partial(check, sink), partial(self._answered, now))

    def _answered(self, asked_at: datetime, refused: Refused | None) -> list[Event]:
        self._asking, self._asked_at = False, asked_at
        state = self._state()
        if state.pause is None or not is_probed(state):  # the operator was quicker
            return []
        if refused is None:
            return [SinkResumed(sink=state.name, reason="the check succeeded")]
        if refused.kind != state.pause.kind:
            return [SinkPaused(sink=state.name, kind=refused.kind, reason=refused.error)]
        return []


class Flushing:
    """Flushes the buffers of a sink's users: of those who were quiet, and of those who need room.

    `busy` are the users with a request or a flush under way; `is_news` says whether the log does not know yet that the
    sink has lost a turn.
    """

    def __init__(
        self,
        state: Callable[[], SinkState],
        busy: set[str],
        is_news: Callable[[Lost], bool],
        pause_after: PauseAfter,
    ) -> None:
        self._state = state
        self._busy = busy
        self._is_news = is_news
        self._pause_after = pause_after
        self._again: dict[str, datetime] = {}  # not before this time, where a flush failed
        self._flushed_for_all: set[str] = set()

    def begin_run(self) -> None:
        """A run begins."""
        self._again.clear()
        self._flushed_for_all.clear()

    def due_at(self, sink: Sink, now: datetime) -> datetime | None:
        """When the next user will have been quiet for long enough, or a flush that failed is to be tried again."""
        due = min((again for again in self._again.values() if again > now), default=None)
        for _, quiet_at, flush_at in self._dues(sink):
            if due is not None and due <= quiet_at:
                break  # as all that follow are
            due = flush_at if due is None else min(due, flush_at)
        return due

    def is_waiting(self, user: str, now: datetime) -> bool:
        """Whether a flush of the user failed and it is too early for another one."""
        return self._again.get(user, now) > now

    def begin(self, sink: Sink, now: datetime, slots: int, submit: Submit) -> None:
        """Flush whoever was quiet, at most so many."""
        if slots <= 0 or not is_open(self._state(), now):
            return
        quiet = takewhile(lambda known: known[1] <= now, self._dues(sink))
        for user in list(islice((user for user, _, flush_at in quiet if flush_at <= now), slots)):
            self.flush(sink, user, now, submit, quiet=True)

    def begin_all(self, sink: Sink, now: datetime, submit: Submit) -> bool:
        """Flush everybody who may be flushed for being quiet, as if they were; whether there was anybody.

        Each once a run: what a flush has lost, and is there again, would be lost again and again.
        """
        users = [user for user, *_ in self._dues(sink)] if is_open(self._state(), now) else []
        users = [user for user in users if user not in self._again and user not in self._flushed_for_all]
        self._flushed_for_all.update(users)
        for user in users:
            self.flush(sink, user, now, submit, quiet=True)
        return bool(users)

    def flush(self, sink: Sink, user: str, now: datetime, submit: Submit, *, quiet: bool) -> None:
        """Flush one user, who is busy until that is over; not soon after it failed."""
        if isinstance(sink, FlushingSink) and not self.is_waiting(user, now):
            self._again.pop(user, None)
            self._busy.add(user)
            up_to = self._state().buffers[user].up_to
            submit(partial(flush, sink, user, quiet=quiet), partial(self._flushed, user, up_to, now))

    def _flushed(self, user: str, up_to: int, now: datetime, outcome: Flushed | Refused) -> list[Event]:
        self._busy.discard(user)
        state = self._state()
        if isinstance(outcome, Refused):
            self._again[user] = now + timedelta(seconds=_AGAIN_SECONDS)
            return self._pause_after([outcome], now)
        flushed = SinkFlushed(sink=state.name, user=user, up_to=up_to)
        lost = tuple(one.seq for one in outcome.lost if self._is_news(one))
        # A crash in the middle may keep the first one only: then the buffer is flushed again, and nobody is forgotten.
        return [DeliveryRevoked(sink=state.name, turns=lost, reason=outcome.reason), flushed] if lost else [flushed]

    def _dues(self, sink: Sink) -> Iterator[tuple[str, datetime, datetime]]:
        """Who is to be flushed, when they will have been quiet (the first one is first), and when it is time for it."""
        buffers = self._state().buffers
        after = sink.flush_after_seconds if buffers and isinstance(sink, FlushingSink) else 0.0
        for user, buffer in buffers.items() if after > 0 else ():
            if user not in self._busy:
                quiet_at = buffer.at + timedelta(seconds=after)
                due = buffer.at + timedelta(seconds=after * 2.0 ** min(buffer.again, _DOUBLINGS_MAX))
                yield user, quiet_at, max(due, self._again.get(user, due))
