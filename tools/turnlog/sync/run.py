"""Runs over the sinks of a configuration: each under its lease, side by side in one engine."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from msgspec import Struct, field

from eventlog import EventLog, SinkEnrolled
from eventlog.codec import decode_line, encode_line
from projections import DELIVERY, Delivery, Index, SinkState, replay
from projections.delivery_state import DEAD, OPEN
from turnlog.clock import Clock, SystemClock
from turnlog.config import Config, SinkConfig
from turnlog.convert import nearest
from turnlog.errors import Busy, ConfigError, TurnlogError, WrongUsage
from turnlog.recorder import TurnRecorder
from turnlog.redaction import redact_turn
from turnlog.sinks.base import Sink
from turnlog.sinks.registry import open_sink
from turnlog.sync.contents import Contents
from turnlog.sync.counts import Latencies, SyncCounts
from turnlog.sync.delivery import SinkDelivery, Terms
from turnlog.sync.engine import Engine, OnEvents
from turnlog.sync.enrolment import enrol_sinks
from turnlog.sync.lease import lease

Say = Callable[[str], None]
"""Tells a person something, in a sentence."""


class SyncResult(Struct):
    """What a run did over all sinks, what a person should know, and the exit code that says so."""

    counts: SyncCounts = field(default_factory=SyncCounts)
    problems: list[str] = field(default_factory=list)
    exit_code: int = 0
    latencies: Latencies = field(default_factory=Latencies)

    def note(self, problem: TurnlogError | str, exit_code: int = 1) -> None:
        """Something that needs attention."""
        self.problems.append(str(problem))
        self.exit_code = max(self.exit_code, problem.exit_code if isinstance(problem, TurnlogError) else exit_code)


class PlannedRequest(Struct, frozen=True):
    """A request that would be sent first: to which sink, with the turns of these seqs."""

    sink: str
    turns: tuple[int, ...]


class Hooks(Struct, frozen=True):
    """Whom to tell of a run: `events` every event that is appended, `trouble` what it waits for, `engine` its engine.

    `waits` says that a sink which another process delivers to is waited for, as long as the run goes on.
    """

    events: OnEvents = lambda _: None
    trouble: Say = lambda _: None
    engine: Callable[[Engine], None] = lambda _: None
    waits: bool = False


def sync_once(
    directory: Path,
    config: Config,
    names: Sequence[str] = (),
    *,
    clock: Clock | None = None,
    hooks: Hooks = Hooks(),  # noqa: B008 - frozen
) -> SyncResult:
    """Enrol new sinks, then deliver to the configured ones (or those named) until nothing may be sent now.

    What is wrong with one sink (its lease is taken, its configuration is broken) is told in the result and keeps no
    other from its turns. Raises WrongUsage for an unknown name, AppendFailed, LogUnavailable.
    """
    with _open_crew(directory, config, names, clock=clock, hooks=hooks) as (crew, result):
        result.counts = crew.engine.run_once()
        _conclude(result, crew.engine, config, names)
    return result


def sync_follow(
    directory: Path,
    config: Config,
    names: Sequence[str] = (),
    *,
    clock: Clock | None = None,
    hooks: Hooks = Hooks(),  # noqa: B008 - frozen
) -> SyncResult:
    """The same, and go on in real time until the engine is stopped; ends at once if there is no sink to deliver to."""
    with _open_crew(directory, config, names, clock=clock, hooks=hooks) as (crew, result):
        engine, sync = crew.engine, config.sync
        for problem in result.problems:
            hooks.trouble(problem)
        result.problems.clear()
        if engine.sinks or crew.waiting:
            result.counts = engine.follow(
                sweep_seconds=sync.interval_seconds, grace_seconds=sync.grace_seconds, join=crew.join
            )
        for busy in crew.waiting.values():
            result.note(busy)
        _conclude(result, engine, config, names)
    return result


class _Crew:
    """An engine and the sinks that it delivers to, each under its lease; `waiting` are those that others deliver to."""

    def __init__(self, engine: Engine, config: Config, held: ExitStack, directory: Path, hooks: Hooks) -> None:
        self.engine = engine
        self.waiting: dict[str, Busy] = {}
        self._config = config
        self._held = held
        self._directory = directory
        self._hooks = hooks
        self._sinks: dict[str, SinkConfig] = {}

    def add(self, sink: SinkConfig) -> None:
        """Deliver to a sink, or wait until that may be. Raises TurnlogError if it cannot be."""
        known = self.engine.state.sinks.get(sink.name)
        _check_type(sink, known.kind if known else "")
        try:
            with ExitStack() as own:
                own.enter_context(lease(self._directory, sink.name))
                opened = own.enter_context(closing(open_sink(self._config, sink)))
                self.engine.add(sink.name, opened, _terms(self._config, sink, opened))
                self._held.push(own.pop_all())
        except Busy as busy:
            if not self._hooks.waits:
                remedy = "try again when it is done, or wait for it with `turnlog sync --follow --wait`"
                raise Busy(f"{busy}; {remedy}") from busy
            if sink.name not in self.waiting:
                self._hooks.trouble(f"{busy}; waiting for its end")
            self.waiting[sink.name], self._sinks[sink.name] = busy, sink

    def join(self) -> bool:
        """Deliver to those sinks that have become free; whether there is none left to wait for."""
        for name in list(self.waiting):
            before = self.waiting[name]
            try:
                self.add(self._sinks[name])
            except TurnlogError as error:  # its configuration is broken: it would be so in a second, too
                self._hooks.trouble(str(error))
                del self.waiting[name]
            else:
                if self.waiting[name] is before:
                    del self.waiting[name]
        return not self.waiting


@contextmanager
def _open_crew(
    directory: Path, config: Config, names: Sequence[str], *, clock: Clock | None, hooks: Hooks
) -> Iterator[tuple[_Crew, SyncResult]]:
    """An engine with the configured sinks (or those named), and a result that tells which could not be had."""
    chosen, result = _choose(config, names), SyncResult()
    with TurnRecorder(directory) as recorder, ExitStack() as held:  # it syncs every append, whatever recording does
        enrol_sinks(recorder, config.sinks)
        log, clock = recorder.log, clock or SystemClock()
        engine = Engine(log, clock=clock, on_events=hooks.events, on_trouble=hooks.trouble)
        hooks.engine(engine)
        engine.catch_up()
        crew = _Crew(engine, config, held, log.directory, hooks)
        for sink in chosen:
            try:
                crew.add(sink)
            except TurnlogError as error:
                result.note(error)
        try:
            yield crew, result
        finally:
            engine.close()


def _terms(config: Config, sink: SinkConfig, opened: Sink) -> Terms:
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


def plan_all(directory: Path, config: Config, names: Sequence[str] = ()) -> list[PlannedRequest]:
    """The requests that `sync_once` would begin with, without touching anything."""
    sinks = _choose(config, names)
    log = EventLog.open(directory, read_only=True)
    (state,) = replay(log, DELIVERY)
    _enrol_in(state, config.sinks)
    index = Index(log, None)
    index.refresh()
    contents = Contents(log, index)
    clock = SystemClock()
    requests = []
    for chosen in sinks:
        with closing(open_sink(config, chosen)) as sink:
            terms = _terms(config, chosen, sink)
            delivery = SinkDelivery(
                chosen.name, sink, terms, state=lambda: state, contents=contents, clock=clock, finished=lambda _: None
            )
            planned = delivery.plan(clock.now(), len(state.turns))
        requests += [PlannedRequest(chosen.name, tuple(state.turns.seqs[o] for o in turns)) for turns in planned]
    return requests


def _enrol_in(state: Delivery, sinks: Sequence[SinkConfig]) -> None:
    """Enrol new sinks in the state alone, as `enrol_sinks` would in the log."""
    now = state.last_seq + 1
    for sink in sinks:
        if sink.name not in state.sinks:
            event = SinkEnrolled(sink=sink.name, kind=sink.type, since_seq=1 if sink.backfill else now)
            entry = decode_line(encode_line(event, seq=state.last_seq + 1, at=SystemClock().now())[:-1])
            assert entry is not None  # noqa: S101 - it was just encoded
            DELIVERY.apply(state, entry)


def _choose(config: Config, names: Sequence[str]) -> list[SinkConfig]:
    known = [sink.name for sink in config.sinks]
    for name in names:
        if name not in known:
            raise WrongUsage(f"no sink {name!r} is configured{nearest(name, known)}")
    return [sink for sink in config.sinks if not names or sink.name in names]


def _conclude(result: SyncResult, engine: Engine, config: Config, names: Sequence[str]) -> None:
    """Count what is left at every sink (or those named), say why, and end 1 if it is; also what is dead."""
    state = engine.catch_up()
    if engine.problems:
        result.note(f"{len(engine.problems)} damaged places in the log were passed over; see `turnlog verify`")
    result.counts.pending = 0
    for delivery in engine.sinks.values():
        result.latencies.add(delivery.latencies)
    for sink in state.sinks.values():
        if sink.retired or (names and sink.name not in names):
            continue
        left, dead = sum(sink.counts[code] for code in OPEN), sink.counts[DEAD]
        result.counts.pending += left
        result.problems += _reasons(sink, left, dead, config, engine)
        if left or dead:
            result.exit_code = max(result.exit_code, 1)
    if not config.sinks and not result.problems:
        result.problems.append("no sink is configured, so nothing was delivered; see README.md, Configuration")


def _reasons(sink: SinkState, left: int, dead: int, config: Config, engine: Engine) -> Iterator[str]:
    """Why turns are not at a sink, where the run did not say so already."""
    if left and sink.name not in [configured.name for configured in config.sinks]:
        yield (
            f"turns that wait for the sink {sink.name!r}, which is not configured: {left}; configure it again, or give "
            f"it up with `turnlog sinks retire {sink.name}`"
        )
    if sink.pause is not None and sink.name in engine.sinks:
        yield f"the sink {sink.name!r} is paused ({sink.pause.kind}): {sink.pause.reason}"
    if dead:
        yield f"turns that are dead at {sink.name!r}: {dead}; see `turnlog pending --state dead`"
