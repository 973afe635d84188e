"""Runs over the sinks of a configuration: each under its lease, side by side in one engine."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from msgspec import Struct, field

from eventlog import EventLog, SinkEnrolled
from eventlog.codec import decode_line, encode_line
from projections import DELIVERY, Delivery, Index, SinkState, replay
from projections.delivery_state import DEAD, OPEN
from turnlog.clock import Clock, SystemClock
from turnlog.config import Config, SinkConfig
from turnlog.convert import nearest
from turnlog.errors import TurnlogError, WrongUsage
from turnlog.sinks.registry import open_sink
from turnlog.sync.contents import Contents
from turnlog.sync.counts import Latencies, SyncCounts
from turnlog.sync.crew import Crew, Hooks, open_crew, terms
from turnlog.sync.delivery import SinkDelivery
from turnlog.sync.engine import Engine


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
    with _begin(directory, config, names, clock=clock, hooks=hooks) as (crew, result):
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
    with _begin(directory, config, names, clock=clock, hooks=hooks) as (crew, result):
        for problem in result.problems:
            hooks.trouble(problem)
        result.problems.clear()
        if crew.engine.sinks or crew.absent:
            result.counts = crew.engine.follow(join=crew.join)
        for name, absence in crew.absent.items():
            result.note(absence.error if isinstance(absence.error, TurnlogError) else f"the sink {name!r}: {absence}")
        _conclude(result, crew.engine, config, names)
    return result


@contextmanager
def _begin(
    directory: Path, config: Config, names: Sequence[str], *, clock: Clock | None, hooks: Hooks
) -> Iterator[tuple[Crew, SyncResult]]:
    """An engine with the configured sinks (or those named), and a result that tells which could not be had."""
    chosen, result = _choose(config, names), SyncResult()
    with open_crew(directory, config, clock=clock, hooks=hooks) as crew:
        for sink in chosen:
            try:
                crew.add(sink)
            except TurnlogError as error:
                result.note(error)
        yield crew, result


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
            delivery = SinkDelivery(
                chosen.name,
                sink,
                terms(config, chosen, sink),
                state=lambda: state,
                contents=contents,
                clock=clock,
                finished=lambda _: None,
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
