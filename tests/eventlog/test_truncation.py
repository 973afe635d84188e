"""What a crash leaves at the end of a log: any beginning of what was being written."""

from pathlib import Path

import pytest

from eventlog import EventLog, TornTailClosed
from eventlog.codec import CANCEL

from .support import (
    assert_clean,
    contents,
    fill,
    kinds,
    lines_of,
    note,
    open_log,
    restore,
    said,
    segment_files,
    snapshot,
    turn,
    verify,
)

EVENTS = [note(1), turn(2), note(3, "你好"), turn(4), note(5)]


def _written(directory: Path, *, segment_bytes: int = 1 << 20) -> tuple[str, bytes]:
    """A log's last segment: its name and its bytes."""
    fill(directory, EVENTS, segment_bytes=segment_bytes)
    last = segment_files(directory)[-1]
    return last.name, last.read_bytes()


def _cut(directory: Path, files: dict[str, bytes], name: str, length: int) -> bytes:
    """The log with one segment cut to `length`; returns the cut segment."""
    restore(directory, {**files, name: files[name][:length]})
    return files[name][:length]


def _last_three_lines(data: bytes) -> range:
    return range(len(data) - sum(map(len, lines_of(data)[-3:])), len(data) + 1)


def test_a_log_cut_anywhere_goes_on(tmp_path: Path) -> None:
    """Cut at every byte of its last three lines, a log keeps all before the cut and goes on with the right seq.

    The gap is named by a TornTailClosed, after which nothing is left to say against the log; a line that lacks
    only its newline is completed.
    """
    name, data = _written(tmp_path)
    files, original = snapshot(tmp_path), contents(tmp_path)
    for length in _last_three_lines(data):
        cut = _cut(tmp_path, files, name, length)
        lines = lines_of(cut)
        completed = bool(lines) and not lines[-1].endswith(b"\n") and cut + b"\n" == data[: length + 1]
        kept = cut.count(b"\n") + completed
        torn = not completed and not cut.endswith(b"\n")
        assert fill(tmp_path, [note(9)]) == [kept + torn + 1], length
        found = contents(tmp_path)
        assert found[:kept] == original[:kept]
        gap = TornTailClosed(segment=name, offset=len(cut) - len(lines[-1]), length=len(lines[-1]))
        assert [event for _, event in found[kept:]] == ([gap] if torn else []) + [note(9)]
        assert [seq for seq, _ in found] == list(range(1, len(found) + 1))
        assert snapshot(tmp_path)[name].startswith(cut)
        assert_clean(tmp_path)


def test_a_torn_tail_is_no_damage(tmp_path: Path) -> None:
    """Read before anybody closed it, a cut log gives every whole line, without a problem, and verifies."""
    name, data = _written(tmp_path)
    files, original = snapshot(tmp_path), contents(tmp_path)
    for length in _last_three_lines(data):
        cut = _cut(tmp_path, files, name, length)
        problems: list[object] = []
        log = EventLog.open(tmp_path, read_only=True)
        found = [(entry.seq, entry.event) for entry in log.read(problems=problems)]  # type: ignore[arg-type]
        assert found == original[: cut.count(b"\n")]
        assert problems == []
        report = verify(tmp_path)
        assert report.ok
        assert kinds(report.problems) == (set() if cut.endswith(b"\n") else {"torn_tail"})
        assert report.events == cut.count(b"\n")


def test_a_new_segment_cut_anywhere_is_begun_again(tmp_path: Path) -> None:
    """A segment cut at any byte, to nothing at all too, still begins with a SegmentOpened that seals the one before."""
    name, data = _written(tmp_path, segment_bytes=600)
    files = snapshot(tmp_path)
    assert len(files) > 1
    first_seq = int(name[:20])
    for length in range(len(data) + 1):
        cut = _cut(tmp_path, files, name, length)
        before = len(contents(tmp_path))
        assert_ok_to_read = verify(tmp_path)
        assert assert_ok_to_read.ok
        fill(tmp_path, [note(9)], segment_bytes=1 << 20)
        found = contents(tmp_path)
        assert found[-1][1] == note(9)
        assert [seq for seq, _ in found] == list(range(1, len(found) + 1))
        assert len(found) > before
        opened = dict(found)[first_seq]
        assert opened.segment == sorted(files)[-2]
        assert opened.length == len(files[opened.segment])
        assert snapshot(tmp_path)[name].startswith(cut)
        assert_clean(tmp_path)


@pytest.mark.parametrize("length", [0, 1, 40, 100])
def test_the_first_segment_cut_in_its_header(tmp_path: Path, length: int) -> None:
    """A crash during the very first write leaves a log that begins with seq 1 all the same."""
    fill(tmp_path, [note(1)])
    (name, data), *_ = snapshot(tmp_path).items()
    restore(tmp_path, {name: data[:length]})
    assert fill(tmp_path, [note(2)]) == [2 + (length > 0)]
    assert contents(tmp_path)[0][1].segment is None
    assert_clean(tmp_path)


def test_a_crash_while_a_tail_is_closed(tmp_path: Path) -> None:
    """Cut again at every byte of what closes a torn tail, the log still explains itself: gaps and all.

    Between the newline and the TornTailClosed, the closed line would look like damage if it were not marked.
    """
    name, data = _written(tmp_path)
    torn = snapshot(tmp_path)[name][: -len(lines_of(data)[-1]) // 2]
    restore(tmp_path, {name: torn})
    fill(tmp_path, [note(9)])
    closed = snapshot(tmp_path)[name]
    assert kinds(verify(tmp_path).problems) == set()
    assert closed.startswith(torn + CANCEL + b"\n")
    end = closed.index(b"\n", len(torn) + 2) + 1
    for length in range(len(torn), end + 1):
        restore(tmp_path, {name: closed[:length]})
        assert verify(tmp_path).ok, length
        fill(tmp_path, [note(10)])
        assert said(tmp_path)[-1][1] == note(10)
        assert snapshot(tmp_path)[name].startswith(closed[:length])
        assert [seq for seq, _ in contents(tmp_path)] == list(range(1, len(contents(tmp_path)) + 1))
        assert_clean(tmp_path)


def test_a_crash_after_a_crash_after_a_crash(tmp_path: Path) -> None:
    """Each time the writer dies while it closes what the one before left, and at last one event names it all."""
    name, data = _written(tmp_path)
    torn = data[:-30]
    for cut in (20, 5, 60, 1, 44):
        restore(tmp_path, {name: torn})
        fill(tmp_path, [note(9)])
        closed = snapshot(tmp_path)[name]
        torn = closed[: len(torn) + 2 + cut]
    restore(tmp_path, {name: torn})
    fill(tmp_path, [note(10)])
    found = [event for _, event in contents(tmp_path) if isinstance(event, TornTailClosed)]
    whole = len(b"".join(lines_of(data)[:-1]))
    assert found == [TornTailClosed(segment=name, offset=whole, length=len(torn) - whole)]
    assert_clean(tmp_path)


def _fills_of_a_power_cut(data: bytes, start: int) -> list[bytes]:
    """The segment with its bytes from `start` on lost in ways in which a disk loses them."""
    line_end = data.index(b"\n", start)
    return [
        data[:start] + bytes(len(data) - start),  # never written
        data[:start] + bytes(line_end - start) + b"\n",  # the newline was in the next block
        data[:start] + bytes(8) + data[start + 8 : line_end + 1],  # a hole
        data[:start] + bytes(len(data) - start - 1) + b"\n",
    ]


def test_blocks_that_were_not_written(tmp_path: Path) -> None:
    """NULs in the place of the last line or its end are a torn tail; the seqs lost with them are named."""
    name, data = _written(tmp_path)
    last = len(data) - len(lines_of(data)[-1])
    for start in (last, last + 1, last + 20, len(data) - 9):
        for torn in _fills_of_a_power_cut(data, start):
            restore(tmp_path, {name: torn})
            assert verify(tmp_path).ok
            assert len(contents(tmp_path)) == len(EVENTS)
            seq = fill(tmp_path, [note(9)])[0]
            gaps = [event for _, event in contents(tmp_path) if isinstance(event, TornTailClosed)]
            assert [(gap.offset, gap.missing) for gap in gaps] == [(last, (6,) if torn.endswith(b"\n") else ())]
            assert seq == 7 + torn.endswith(b"\n")
            assert_clean(tmp_path)


def test_a_header_torn_and_begun_again_but_not_explained(tmp_path: Path) -> None:
    """Killed between the second header and the TornTailClosed, a writer leaves a torn tail, which is then named."""
    fill(tmp_path, [note(1)])
    (name, data), *_ = snapshot(tmp_path).items()
    header = lines_of(data)[0]
    restore(tmp_path, {name: header[:50] + CANCEL + b"\n" + header})
    report = verify(tmp_path)
    assert [(problem.kind, problem.offset) for problem in report.problems] == [("torn_tail", 0)]
    assert report.ok
    assert [seq for seq, _ in contents(tmp_path)] == [1]
    assert fill(tmp_path, [note(2)]) == [3]
    assert contents(tmp_path)[1] == (2, TornTailClosed(segment=name, offset=0, length=51))
    assert_clean(tmp_path)


def test_lost_blocks_that_end_where_a_line_begins(tmp_path: Path) -> None:
    """A whole line behind NULs that took its newline is lost with them, to readers before and after the mending."""
    fill(tmp_path, [note(number) for number in range(5)])
    (name, data), *_ = snapshot(tmp_path).items()
    last = len(data) - len(lines_of(data)[-1])
    restore(tmp_path, {name: data[: last - 30] + bytes(30) + data[last:]})
    assert [seq for seq, _ in contents(tmp_path)] == [1, 2, 3, 4]
    assert verify(tmp_path).ok
    fill(tmp_path, [note(9)])
    assert [type(event).__name__ for _, event in contents(tmp_path)[4:]] == ["TornTailClosed", "SinkResumed"]
    assert_clean(tmp_path)


@pytest.mark.parametrize("before", [3, 2000])
def test_blocks_lost_among_unsynced_lines(tmp_path: Path, before: int) -> None:
    """Where whole lines stand behind the lost blocks, the next writer names the gap and the seqs lost with it."""
    with open_log(tmp_path) as log:
        log.append_many([note(number) for number in range(before)])
        log.append_many([note(number) for number in range(before, before + 8)])
    (name, data), *_ = snapshot(tmp_path).items()
    original, lines = contents(tmp_path), lines_of(data)
    start = sum(map(len, lines[:-6])) + 20  # within a line, to within the next but one
    end = sum(map(len, lines[:-4])) + 50
    restore(tmp_path, {name: data[:start] + bytes(end - start) + data[end:]})
    kept = original[:-6] + original[-3:]
    assert contents(tmp_path) == kept
    seq = fill(tmp_path, [note(9)])[0]
    missing = (before + 4, before + 5, before + 6)
    gap = TornTailClosed(segment=name, offset=start - 20, length=sum(map(len, lines[-6:-3])) - 1, missing=missing)
    assert contents(tmp_path) == [*kept, (seq - 1, gap), (seq, note(9))]
    assert seq == original[-1][0] + 2
    assert_clean(tmp_path)
    assert fill(tmp_path, [note(10)]) == [seq + 1]
    assert_clean(tmp_path)


@pytest.mark.parametrize("size", [30_000, 70_000, 1_000_000])
def test_tails_behind_and_of_long_lines(tmp_path: Path, size: int) -> None:
    """The end is found however long the lines there are, and however much of one was written."""
    name, _ = _written(tmp_path)
    fill(tmp_path, [turn(number, "x" * size) for number in range(3)])
    full = snapshot(tmp_path)[name]
    ends = [0]
    for line in lines_of(full):
        ends.append(ends[-1] + len(line))
    for cut in (ends[-1] - 1, ends[-1] - 2, ends[-2] + 100, ends[-2] + size // 2, ends[-2] + 1, ends[-2], ends[-3] + 9):
        restore(tmp_path, {name: full[:cut]})
        torn = cut not in (*ends, ends[-1] - 1)
        seq = full[: cut + 1].count(b"\n") + 1 + torn
        assert fill(tmp_path, [note(9)]) == [seq]
        assert contents(tmp_path, gt=seq - 1) == [(seq, note(9))]
        assert_clean(tmp_path)


def test_a_segment_extended_with_newlines(tmp_path: Path) -> None:
    """Blank lines between and behind events are passed over by readers and by the next writer."""
    name, data = _written(tmp_path)
    restore(tmp_path, {name: data.replace(b"\n", b"\n\n\n") + b"\n" * 5000})
    assert len(contents(tmp_path)) == len(EVENTS) + 1
    assert_clean(tmp_path)
    assert fill(tmp_path, [note(9)]) == [len(EVENTS) + 2]
    with open_log(tmp_path) as log, open_log(tmp_path) as other:
        log.append(note(10))
        with segment_files(tmp_path)[0].open("ab") as file:
            file.write(b"\n" * 100)
        assert other.append(note(11)) == log.append(note(12)) - 1
    assert_clean(tmp_path)
