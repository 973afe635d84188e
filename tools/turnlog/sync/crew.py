"""The sinks of a configuration in one engine: each under its lease, given up and added again while the others go on."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path

from msgspec import Struct

from eventlog import EventLogError
from turnlog.clock import Clock, SystemClock
from turnlog.config import Config, SinkConfig
from turnlog.errors import Busy, ConfigError, TurnlogError
from turnlog.recorder import TurnRecorder
from turnlog.redaction import redact_turn
from turnlog.sinks.base import Sink
from turnlog.sinks.registry import open_sink
from turnlog.sync.delivery import Terms
from turnlog.sync.engine import Engine, OnEvents
from turnlog.sync.enrolment import enrol_sinks
from turnlog.sync.lease import lease

Say = Callable[[str], None]
"""Tells a person something, in a sentence."""

_AGAIN_SECONDS, _AGAIN_SECONDS_MAX = 1.0, 60.0
"""When a sink that broke is added again: at first, and at most; it doubles from one to the other."""

_WELL_SECONDS = 60.0
"""A sink that has not broken for so long breaks for the first time again."""


class Hooks(Struct, frozen=True):
    """Whom to tell of a run: `events` every event that is appended, `trouble` what it waits for, `engine` its engine.

    `waits` says that a sink which cannot be delivered to, because another process does or because its code broke, is
    waited for, as long as the run goes on.
    """

    events: OnEvents = lambda _: None
    trouble: Say = lambda _: None
    engine: Callable[[Engine], None] = lambda _: None
    waits: bool = False


class Absence(Struct, frozen=True):
    """Why a sink of the configuration is not delivered to, and since when; `failures` counts how often it broke.

    `error` is what happened, None for a sink that is just about to be added; it is tried at `again` (monotonic).
    """

    error: Exception | None
    since: datetime
    failures: int = 0
    again: float = 0.0

    def __str__(self) -> str:
        if self.error is None:
            return ""
        if isinstance(self.error, TurnlogError):
            return str(self.error)
        return f"its code broke: {type(self.error).__name__}"  # what it says may be a message's text


class Crew:
    """An engine and the sinks that it delivers to; `absent` are those of the configuration that it cannot deliver to.

    All is done in the engine's thread, by `join`, but for `change`, which any thread may call.
    """

    def __init__(self, engine: Engine, recorder: TurnRecorder, config: Config, clock: Clock, hooks: Hooks) -> None:
        self.engine = engine
        self.absent: dict[str, Absence] = {}
        self._recorder = recorder
        self._config = self._wanted = config
        self._clock = clock
        self._hooks = hooks
        self._sinks: dict[str, SinkConfig] = {}
        self._held: dict[str, ExitStack] = {}
        self._leaving: dict[str, float] = {}  # by when they are let go, whatever is under way
        self._broken: dict[str, tuple[int, float]] = {}  # how often in a row, and when last

    def add(self, sink: SinkConfig) -> None:
        """Deliver to a sink, or wait until that may be. Raises TurnlogError if it cannot be."""
        self._sinks[sink.name] = sink
        try:
            self._add(sink)
        except Busy as busy:
            if not self._hooks.waits:
                remedy = "try again when it is done, or wait for it with `turnlog sync --follow --wait`"
                raise Busy(f"{busy}; {remedy}") from busy
            self._miss(sink.name, busy)

    def expect_all(self) -> None:
        """Have all sinks of the configuration added by `join`, each as soon as it can be."""
        self._sinks = {sink.name: sink for sink in self._config.sinks}
        self.absent = {name: self._expected() for name in self._sinks}

    def change(self, config: Config) -> None:
        """Deliver to the sinks of another configuration, as it says; returns at once, whatever a sink is at."""
        self._wanted = config
        self.engine.wake()

    def join(self) -> bool:
        """Deliver to those sinks that have become free; whether there is none left to wait for.

        Raises EventLogError if the log cannot be written; then it is to be called again.
        """
        if self._wanted is not self._config:
            self._apply(self._wanted)
        for name, deadline in list(self._leaving.items()):
            if self.engine.let_go(name, at_once=time.monotonic() >= deadline):
                self._release(name)
        for name, absence in list(self.absent.items()):
            if time.monotonic() >= absence.again:
                self._try(name)
        return not self.absent and not self._leaving

    def close(self) -> None:
        """Let go of all sinks, once the engine has stopped."""
        self._sinks.clear()
        for name in list(self._held):
            self._release(name)

    def _add(self, sink: SinkConfig) -> None:
        known = self.engine.state.sinks.get(sink.name)
        _check_type(sink, known.kind if known else "")
        with ExitStack() as own:
            own.enter_context(lease(self._recorder.log.directory, sink.name))
            opened = own.enter_context(closing(open_sink(self._config, sink)))
            self.engine.add(sink.name, opened, terms(self._config, sink, opened))
            self._held[sink.name] = own.pop_all()

    def _try(self, name: str) -> None:
        try:
            self._add(self._sinks[name])
        except EventLogError:  # that is the log's trouble
            raise
        except Exception as error:  # noqa: BLE001 - a sink may have any bug
            self._miss(name, error)
        else:
            del self.absent[name]

    def _miss(self, name: str, error: Exception) -> None:
        """A sink cannot be delivered to: one that is another's is asked for every time, others ever more rarely."""
        before, now = self.absent.get(name), time.monotonic()
        failures, last = self._broken.get(name, (0, now))
        if not isinstance(error, Busy):
            failures = failures + 1 if now - last < _WELL_SECONDS + _AGAIN_SECONDS_MAX else 1
            self._broken[name] = failures, now
        again = 0.0 if isinstance(error, Busy) else now + _again_seconds(failures)
        since = before.since if before is not None and before.error is not None else self._clock.now()
        absence = self.absent[name] = Absence(error, since, failures, again)
        if before is None or str(before) != str(absence):
            end = "waiting for its end" if isinstance(error, Busy) else "trying again"
            self._hooks.trouble(f"{absence}; {end}" if isinstance(error, TurnlogError) else f"{name}: {absence}; {end}")

    def note_broken(self, name: str, error: Exception) -> None:
        """The engine goes on without this sink, because its code broke."""
        self._release(name)
        self.absent.pop(name, None)
        if name in self._sinks:
            self._miss(name, error)

    def _apply(self, config: Config) -> None:
        """Let go of the sinks that are no longer wanted, or wanted otherwise; the others get the new terms."""
        enrol_sinks(self._recorder, config.sinks)
        self.engine.catch_up()
        before, self._sinks = self._sinks, {sink.name: sink for sink in config.sinks}
        same = {n for n, sink in self._sinks.items() if before.get(n) == sink and config.folder == self._config.folder}
        self._config = config
        self.engine.sweep_seconds, self.engine.grace_seconds = config.sync.interval_seconds, config.sync.grace_seconds
        deadline = time.monotonic() + config.sync.grace_seconds
        for name in self._held:
            if name not in same:
                self._leaving.setdefault(name, deadline)
        self.absent = {name: self._expected() for name in self._sinks if name not in self._held}
        for name, delivery in self.engine.sinks.items():
            if name in same and name not in self._leaving:
                delivery.change_terms(terms(config, self._sinks[name], delivery.sink))
        self.engine.ask_again()

    def _release(self, name: str) -> None:
        """Let go of a sink and its lease; if it is wanted, it is added anew."""
        self._leaving.pop(name, None)
        held = self._held.pop(name, None)
        if name in self._sinks:
            self.absent[name] = self._expected()
        if held is not None:
            with suppress(Exception):  # of the sink; its lease is let go all the same
                held.close()

    def _expected(self) -> Absence:
        return Absence(None, self._clock.now())


def _again_seconds(failures: int) -> float:
    return min(_AGAIN_SECONDS_MAX, _AGAIN_SECONDS * 2.0 ** min(failures - 1, 16))


@contextmanager
def open_crew(directory: Path, config: Config, *, clock: Clock | None, hooks: Hooks) -> Iterator[Crew]:
    """An engine for the sinks of a configuration, which are enrolled; none is added yet."""
    with TurnRecorder(directory) as recorder, ExitStack() as ending:  # it syncs every append, whatever recording does
        enrol_sinks(recorder, config.sinks)
        clock = clock or SystemClock()
        engine = Engine(recorder.log, clock=clock, on_events=hooks.events, on_trouble=hooks.trouble)
        engine.sweep_seconds, engine.grace_seconds = config.sync.interval_seconds, config.sync.grace_seconds
        crew = Crew(engine, recorder, config, clock, hooks)
        ending.callback(crew.close)
        ending.callback(engine.close)
        engine.on_broken = crew.note_broken if hooks.waits else None
        hooks.engine(engine)
        engine.catch_up()
        yield crew


def terms(config: Config, sink: SinkConfig, opened: Sink) -> Terms:
    """How the configuration wants an opened sink to be delivered to."""
    redacts = opened.remote if sink.redact is None else sink.redact
    return Terms(
        retries=config.sync.policy(),
        probes=config.sync.probing(),
        on_doubt=sink.on_doubt,
        redact=redact_turn if redacts else None,
        reopen=lambda: open_sink(config, sink),
    )


def _check_type(sink: SinkConfig, enrolled: str) -> None:
    """A name stands for one sink for ever: what was delivered to it was not delivered to another."""
    if enrolled not in ("", sink.type):
        raise ConfigError(
            f"the sink {sink.name!r} was enrolled with the type {enrolled!r} and is configured as {sink.type!r}; "
            "give the new one a name of its own"
        )
