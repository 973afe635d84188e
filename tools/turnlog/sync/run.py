"""One run over all sinks: each under its lease, side by side."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from msgspec import Struct, field

from eventlog import Event, EventLog, Problem, SinkEnrolled
from eventlog.codec import decode_line, encode_line
from projections import DELIVERY, Delivery, Index, SinkState, replay
from projections.delivery import DEAD, OPEN
from turnlog.clock import Clock, SystemClock
from turnlog.config import Config, SinkConfig
from turnlog.convert import nearest
from turnlog.errors import ConfigError, TurnlogError, WrongUsage
from turnlog.recorder import Recorder
from turnlog.sinks.base import Sink
from turnlog.sinks.registry import open_sink
from turnlog.sync.contents import Contents
from turnlog.sync.engine import SinkEngine, SyncCounts
from turnlog.sync.enrolment import enrol_sinks
from turnlog.sync.lease import lease
from turnlog.sync.planner import plan
from turnlog.sync.sending import size

OnEvents = Callable[[Sequence[Event]], None]


class SyncResult(Struct):
    """What a run did over all sinks, what a person should know, and the exit code that says so."""

    counts: SyncCounts = field(default_factory=SyncCounts)
    problems: list[str] = field(default_factory=list)
    exit_code: int = 0


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
    stop: threading.Event | None = None,
    on_events: OnEvents = lambda _: None,
) -> SyncResult:
    """Enrol new sinks, then deliver to the configured ones (or those named) until nothing may be sent now.

    What is wrong with one sink (its lease is taken, its configuration is broken) is told in the result and keeps no
    other from its turns. Raises WrongUsage for an unknown name, AppendFailed, LogUnavailable.
    """
    chosen = _choose(config, names)
    result = SyncResult()
    with Recorder(directory) as recorder:  # it syncs every append, whatever the configuration says of recording
        enrol_sinks(recorder, config.sinks)

        def work(sink: SinkConfig) -> SyncCounts | TurnlogError:
            try:
                return _sync_sink(recorder.log, config, sink, clock or SystemClock(), stop, on_events)
            except TurnlogError as error:
                return error

        with ThreadPoolExecutor(max(1, len(chosen))) as workers:
            outcomes = dict(zip((sink.name for sink in chosen), workers.map(work, chosen), strict=True))
        for outcome in outcomes.values():
            _add(result, outcome)
        _note_what_is_left(result, recorder.log, config, outcomes, names)
    return result


def _sync_sink(
    log: EventLog,
    config: Config,
    sink: SinkConfig,
    clock: Clock,
    stop: threading.Event | None,
    on_events: OnEvents,
) -> SyncCounts:
    with lease(log.directory, sink.name), closing(open_sink(config, sink)) as opened:
        engine = SinkEngine(log, sink.name, opened, policy=config.sync.policy(), clock=clock, on_events=on_events)
        with closing(engine):
            _check_type(sink, engine.enrolled_type())
            return engine.run_once(stop=stop)


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
    requests = []
    for chosen in sinks:
        known = state.sinks[chosen.name]
        with closing(open_sink(config, chosen)) as sink:

            def size_of(ordinal: int, sink: Sink = sink) -> int:
                return size(sink, contents.item(state.turns.seqs[ordinal]))

            planned = plan(
                state,
                known,
                now=SystemClock().now(),
                policy=config.sync.policy(),
                limits=sink.limits,
                slots=sink.connections,
                size_of=size_of,
            )
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


def _add(result: SyncResult, outcome: SyncCounts | TurnlogError) -> None:
    if isinstance(outcome, TurnlogError):
        result.problems.append(str(outcome))
        result.exit_code = max(result.exit_code, outcome.exit_code)
        return
    for name in SyncCounts.__struct_fields__:
        setattr(result.counts, name, getattr(result.counts, name) + getattr(outcome, name))


def _note_what_is_left(
    result: SyncResult,
    log: EventLog,
    config: Config,
    outcomes: Mapping[str, SyncCounts | TurnlogError],
    names: Sequence[str],
) -> None:
    """Count what is left at every sink (or those named), say why, and end 1 if it is; also what is dead."""
    damage: list[Problem] = []
    (state,) = replay(log, DELIVERY, problems=damage)
    if damage:
        result.problems.append(f"{len(damage)} damaged places in the log were passed over; see `turnlog verify`")
        result.exit_code = max(result.exit_code, 1)
    result.counts.pending = 0
    for sink in state.sinks.values():
        if sink.retired or (names and sink.name not in names):
            continue
        left, dead = sum(sink.counts[code] for code in OPEN), sink.counts[DEAD]
        result.counts.pending += left
        result.problems += _reasons(sink, left, dead, outcomes.get(sink.name))
        if left or dead:
            result.exit_code = max(result.exit_code, 1)
    if not config.sinks and not result.problems:
        result.problems.append("no sink is configured, so nothing was delivered; see README.md, Configuration")


def _reasons(sink: SinkState, left: int, dead: int, outcome: SyncCounts | TurnlogError | None) -> Iterator[str]:
    """Why turns are not at a sink, where the run did not say so already."""
    if outcome is None and left:
        yield (
            f"turns that wait for the sink {sink.name!r}, which is not configured: {left}; configure it again, or give "
            f"it up with `turnlog sinks retire {sink.name}`"
        )
    if sink.pause is not None and isinstance(outcome, SyncCounts):
        yield f"the sink {sink.name!r} is paused ({sink.pause.kind}): {sink.pause.reason}"
    if dead:
        yield f"turns that are dead at {sink.name!r}: {dead}; see `turnlog pending --state dead`"
