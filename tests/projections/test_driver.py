"""One pass over a log: any number of folds, up to any point, live or from a file."""

import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventlog import Entry, Event, EventLog, Problem, SegmentOpened, SinkResumed
from eventlog.codec import encode_line
from projections import DELIVERY, SOURCES, STATISTICS, Checkpoints, Fold, Live, fold_all, replay
from projections.bulk import BulkDecoder
from turnlog.testing import FakeClock, logs, make_entries, wild_logs
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


FOLDS = (DELIVERY, SOURCES, STATISTICS)


def test_every_fold_that_is_shipped_is_decoded_in_bulk() -> None:
    """Alone and together: each has declared what its handlers read."""
    assert all(BulkDecoder(*folds).can_decode for folds in (FOLDS, *((fold,) for fold in FOLDS)))
    assert not BulkDecoder(DELIVERY, SEEN).can_decode


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


@given(logs() | wild_logs(), st.integers(0, 3), st.data())
def test_decoding_in_bulk_gives_the_same(entries: list[Entry], cuts: int, data: st.DataObject) -> None:
    """Whatever is in a log, and however it is cut into segments: a replay is what its entries say one by one."""
    places = sorted(data.draw(st.integers(0, len(entries))) for _ in range(cuts))
    with tempfile.TemporaryDirectory() as name:
        write_segments(Path(name), entries, places)
        log = EventLog.open(name, read_only=True)
        assert replay(log, *FOLDS) == fold_all(log.read(), *FOLDS)
        live = Live(log, *FOLDS)
        live.catch_up()
        assert live.catch_up() == 0
        assert live.states == replay(log, *FOLDS)


def write_segments(directory: Path, entries: list[Entry], places: list[int]) -> None:
    """The lines of some entries as a log whose segments are sealed but for the last one."""
    (directory / "log").mkdir()
    before: tuple[str, bytes] | None = None
    for begin, end in pairwise([0, *places, len(entries)]):
        lines = [entry.line + b"\n" for entry in entries[begin:end]]
        if before is not None and lines:
            name, data = before
            checksum = f"{crc32(data):08x}"
            header = SegmentOpened(format=1, segment=name, length=len(data), checksum=checksum, whole=True)
            lines.insert(0, encode_line(header, seq=entries[begin - 1].seq, at=START))
        if lines:
            before = f"{entries[begin].seq:020d}.jsonl", b"".join(lines)
            (directory / "log" / before[0]).write_bytes(before[1])


def test_damage_in_a_sealed_segment_costs_a_replay_what_is_damaged(tmp_path: Path) -> None:
    """A segment that is not what its seal says is gone through line by line; one cut into blocks is not."""
    with EventLog.open(tmp_path, durability="os", segment_bytes=200_000) as log:
        log.append_many([turn(f"t{number}", text="x" * 300) for number in range(1500)])
        log.append_many([turn(f"u{number}", text="x" * 300) for number in range(1500)])
    assert replay(log, STATISTICS)[0].turns == 3000
    first = min(log.folder.iterdir())
    data = bytearray(first.read_bytes())
    data[len(data) // 2] ^= 1
    first.write_bytes(data)
    problems: list[Problem] = []
    assert replay(log, STATISTICS, problems=problems)[0].turns == 2999
    assert [problem.kind for problem in problems] == ["checksum"]


def test_damage_from_before_the_seal_is_found_all_the_same(tmp_path: Path) -> None:
    """A seal that was made over a damaged line vouches for no line."""
    with EventLog.open(tmp_path, durability="os", segment_bytes=20_000) as log:
        log.append_many([turn(f"t{number}", user="alice", text="x" * 300) for number in range(10)])
        (segment,) = log.folder.iterdir()
        segment.write_bytes(segment.read_bytes().replace(b'"user":"alice"', b'"user":"clice"', 1))
        for number in range(60):
            log.append(turn(f"u{number}", text="x" * 300))
    problems: list[Problem] = []
    (state,) = replay(log, STATISTICS, problems=problems)
    assert (state.turns, [problem.kind for problem in problems]) == (69, ["checksum"])


def test_what_came_in_between_is_not_built_upon(tmp_path: Path) -> None:
    """Interrupted in the middle of a block, a state is neither saved nor gone on with."""
    with EventLog.open(tmp_path, durability="os") as log:
        log.append_many([turn(f"t{number}", text="x" * 300) for number in range(2000)])
    calls, interrupt = [0], [1500]

    def count(state: Any, entry: Entry) -> None:
        calls[0] += 1
        if calls[0] == interrupt[0]:
            raise KeyboardInterrupt
        STATISTICS.handlers["TurnRecorded"](state, entry)

    handlers = {"TurnRecorded": count}
    fold = Fold("interrupted", 1, STATISTICS.initial, handlers, STATISTICS.otherwise, STATISTICS.views[:1])
    live = Live(log, fold, checkpoints=Checkpoints(log))
    with pytest.raises(KeyboardInterrupt):
        live.catch_up()
    live.close()
    assert not (tmp_path / "checkpoints").exists()
    assert live.catch_up() == 2001
    assert live.states[0].turns == 2000
    live.close()


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
