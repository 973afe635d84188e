"""One pass over a log: any number of folds, up to any point, live or from a file."""

import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from eventlog import Entry, Event, EventLog, Problem, SinkResumed
from projections import DELIVERY, SOURCES, STATISTICS, Fold, Live, fold_all, replay
from turnlog.testing import FakeClock, logs, make_entries
from turnlog.testing.clock import START

from .support import turn


@dataclass
class Seen:
    last_seq: int = 0
    seqs: list[int] = field(default_factory=list)
    others: list[int] = field(default_factory=list)


SEEN = Fold(
    name="seen",
    version=1,
    initial=Seen,
    handlers={"SinkResumed": lambda state, entry: state.seqs.append(entry.view(SinkResumed) and entry.seq)},
    otherwise=lambda state, entry: state.others.append(entry.seq),
)


def note(number: int) -> Event:
    return SinkResumed(sink=f"s{number}")


def fill(directory: Path, count: int) -> EventLog:
    """A log of so many events after its header, a second apart, the header at START."""
    clock = FakeClock(START - timedelta(seconds=1))

    def tick() -> datetime:
        clock.advance(1)
        return clock.now()

    log = EventLog.open(directory, durability="os", clock=tick)
    for number in range(count):
        log.append(note(number))
    return log


@given(logs())
def test_many_folds_in_one_pass_are_as_many_passes(entries: list[Entry]) -> None:
    """Folds do not know of each other."""
    together = fold_all(entries, DELIVERY, SOURCES, STATISTICS, SEEN)
    alone = tuple(fold_all(entries, fold)[0] for fold in (DELIVERY, SOURCES, STATISTICS, SEEN))
    assert together == alone


def test_no_folds_read_the_log_all_the_same() -> None:
    """A pass without folds is no special case."""
    assert fold_all(make_entries([note(1)])) == ()


def test_an_entry_is_taken_in_once_and_in_order() -> None:
    """What is not newer than the last seq is passed over."""
    entries = make_entries([note(number) for number in range(3)])
    (state,) = fold_all([*entries, *entries, entries[1]], SEEN)
    assert state == Seen(last_seq=3, seqs=[1, 2, 3])


def test_a_broken_event_is_one_of_any_other_type() -> None:
    """A line of a known type that breaks its own rules goes where unknown types go."""

    class Broken(Event, frozen=True, tag="SinkResumed", kw_only=True):
        sink: int = 5

    (state,) = fold_all(make_entries([note(1), Broken(), turn("t")]), SEEN)
    assert state == Seen(last_seq=3, seqs=[1], others=[2, 3])


def test_replay_goes_up_to_a_seq_or_a_time(tmp_path: Path) -> None:
    """`until` is inclusive: the past as it was at that line, or at that moment."""
    with fill(tmp_path, 5) as log:
        assert replay(log, SEEN)[0].last_seq == 6
        assert [replay(log, SEEN, until=seq)[0].last_seq for seq in (0, 1, 4, 99)] == [0, 1, 4, 6]
        times = [START + timedelta(seconds=seconds) for seconds in (-1, 0, 2.5, 3, 99)]
        assert [replay(log, SEEN, until=time)[0].last_seq for time in times] == [0, 1, 3, 4, 6]
        assert replay(log, SEEN, until=datetime(2026, 11, 20, 10, 0, 3, tzinfo=UTC))[0].last_seq == 4


def test_replay_passes_over_damage_and_tells_it(tmp_path: Path) -> None:
    """The events around a damaged line count, and the caller learns of the line."""
    with fill(tmp_path, 5) as log:
        path = next(log.folder.iterdir())
        lines = path.read_bytes().splitlines(keepends=True)
        lines[3] = lines[3].replace(b"s2", b"s9")
        path.write_bytes(b"".join(lines))
        problems: list[Problem] = []
        (state,) = replay(log, SEEN, problems=problems)
    assert state.seqs == [2, 3, 5, 6]
    assert [(problem.kind, problem.seq) for problem in problems] == [("checksum", 4)]


@settings(max_examples=20)
@given(st.lists(st.integers(0, 3), max_size=6))
def test_live_is_a_replay_at_every_step(steps: list[int]) -> None:
    """Catching up after every few events, with the log written by another handle, ends where a replay ends."""
    with tempfile.TemporaryDirectory() as name:
        log = EventLog.open(Path(name), read_only=True)
        live = Live(log, SEEN, STATISTICS)
        assert live.catch_up() == 0
        for step in steps:
            with EventLog.open(Path(name), durability="os") as writer:
                writer.append_many([note(number) for number in range(step)])
            before = live.states[0].last_seq
            assert live.catch_up() == live.states[0].last_seq - before
            assert live.states == replay(log, SEEN, STATISTICS)
        live.close()
