"""Lines, segments and files that are missing, repeated, moved or foreign."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventlog import EventLog, NewerFormat, Problem, Report, SegmentOpened
from eventlog.codec import FORMAT, encode_event, encode_line, frame

from .support import (
    START,
    assert_clean,
    contents,
    fill,
    kinds,
    lines_of,
    note,
    open_log,
    restore,
    segment_files,
    snapshot,
    verify,
)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, bytes]:
    """A log of three segments with four events and a header each: seqs 1 to 5, 6 to 10, 11 to 15."""
    with EventLog.open(tmp_path, durability="os", segment_bytes=300) as log:
        for first in (1, 5, 9):
            log.append_many([note(number) for number in range(first, first + 4)])
    files = snapshot(tmp_path)
    assert [int(name[:20]) for name in files] == [1, 6, 11]
    assert_clean(tmp_path)
    return files


def _report(directory: Path, files: dict[str, bytes]) -> Report:
    """The report on a log of these files; reading it does not raise and never gives a seq twice."""
    restore(directory, files)
    seqs = [seq for seq, _ in contents(directory)]
    assert seqs == sorted(set(seqs))
    return verify(directory)


def _with_lines(files: dict[str, bytes], name: str, lines: list[bytes]) -> dict[str, bytes]:
    return {**files, name: b"".join(lines)}


def _names(files: dict[str, bytes]) -> tuple[str, str, str]:
    first, second, third = sorted(files)
    return first, second, third


def test_a_missing_line(tmp_path: Path, files: dict[str, bytes]) -> None:
    """A line that was taken out of the growing segment leaves a hole, told with the seqs that are missing."""
    *_, last = _names(files)
    lines = lines_of(files[last])
    report = _report(tmp_path, _with_lines(files, last, lines[:2] + lines[4:]))
    offset = len(lines[0] + lines[1])
    assert report.problems == [Problem("hole", last, 13, offset, "seqs 13 to 14 are missing before this line")]
    assert not report.ok
    assert report.events == 13


def test_a_missing_line_in_a_sealed_segment(tmp_path: Path, files: dict[str, bytes]) -> None:
    """Taken out of a sealed segment, it breaks the seal as well."""
    first, *_ = _names(files)
    lines = lines_of(files[first])
    assert kinds(_report(tmp_path, _with_lines(files, first, lines[:2] + lines[3:])).problems) == {"hole", "seal"}


def test_a_repeated_line(tmp_path: Path, files: dict[str, bytes]) -> None:
    """A line that stands there twice is told as out of order and read once."""
    *_, last = _names(files)
    lines = lines_of(files[last])
    report = _report(tmp_path, _with_lines(files, last, [*lines, lines[2]]))
    assert [(problem.kind, problem.seq) for problem in report.problems] == [("order", 13)]
    assert not report.ok
    assert len(contents(tmp_path)) == 15


def test_reordered_lines(tmp_path: Path, files: dict[str, bytes]) -> None:
    """Lines that changed places are told, each with its kind."""
    *_, last = _names(files)
    lines = lines_of(files[last])
    report = _report(tmp_path, _with_lines(files, last, [lines[0], lines[2], lines[1], *lines[3:]]))
    assert [(problem.kind, problem.seq) for problem in report.problems] == [("hole", 12), ("order", 12)]


@given(data=st.data())
def test_no_arrangement_of_lines_but_the_original_verifies(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Whatever lines of a log are dropped, repeated or moved, verify is ok only if the end alone is missing."""
    directory = tmp_path_factory.mktemp("log")
    fill(directory, [note(number) for number in range(4)])
    (name, original), *_ = snapshot(directory).items()
    lines = lines_of(original)
    chosen = data.draw(st.lists(st.sampled_from(lines), min_size=1, max_size=7))
    assert _report(directory, {name: b"".join(chosen)}).ok == (chosen == lines[: len(chosen)])


@pytest.mark.parametrize("index", [0, 1])
def test_a_deleted_segment(tmp_path: Path, files: dict[str, bytes], index: int) -> None:
    """A segment that is gone leaves a hole, and the next one's seal names it."""
    name = sorted(files)[index]
    report = _report(tmp_path, {other: data for other, data in files.items() if other != name})
    assert kinds(report.problems) == {"hole", "seal"}
    assert any(name in problem.detail for problem in report.problems)
    assert len(contents(tmp_path)) == 10


def test_a_renamed_segment(tmp_path: Path, files: dict[str, bytes]) -> None:
    """A segment under another seq's name is told, and the seal behind it does not fit; all of it is still read."""
    _, second, third = _names(files)
    renamed = f"{7:020d}.jsonl"
    moved = {renamed if name == second else name: data for name, data in files.items()}
    report = _report(tmp_path, moved)
    assert [(problem.kind, problem.segment) for problem in report.problems] == [("name", renamed), ("seal", third)]
    assert len(contents(tmp_path)) == 15


def test_segments_that_changed_names(tmp_path: Path, files: dict[str, bytes]) -> None:
    """Two segments in each other's place are told as misnamed and out of order."""
    first, second, third = _names(files)
    swapped = {first: files[second], second: files[first], third: files[third]}
    assert {"name", "order", "seal", "hole"} <= kinds(_report(tmp_path, swapped).problems)


def test_a_segment_without_its_header(tmp_path: Path, files: dict[str, bytes]) -> None:
    """A segment that begins with another event than a SegmentOpened is told."""
    *_, last = _names(files)
    lines = lines_of(files[last])
    report = _report(tmp_path, _with_lines(files, last, lines[1:]))
    assert kinds(report.problems) == {"hole", "name", "header"}


def test_a_broken_seal(tmp_path: Path, files: dict[str, bytes]) -> None:
    """A sealed segment in which only a blank line was added is not what was sealed."""
    first, second, _ = _names(files)
    report = _report(tmp_path, {**files, first: files[first] + b"\n"})
    assert [(problem.kind, problem.segment, problem.seq) for problem in report.problems] == [("seal", second, 6)]
    assert first in report.problems[0].detail


def test_damage_before_a_segment_is_sealed(tmp_path: Path) -> None:
    """A seal vouches for what was written, not for what stands there when it is made."""
    with open_log(tmp_path, segment_bytes=600) as log:
        log.append_many([note(number) for number in range(3)])
        (first,) = segment_files(tmp_path)
        data = bytearray(first.read_bytes())
        data[data.index(b'"SinkResumed"') + 20] ^= 1
        first.write_bytes(data)
        log.append_many([note(number, "x" * 600) for number in (3, 4)])
        log.append(note(5))
    assert len(segment_files(tmp_path)) == 2
    assert kinds(verify(tmp_path).problems) == {"checksum", "seal"}
    assert [seq for seq, _ in contents(tmp_path)] == [1, 3, 4, 5, 6, 7, 8]


def test_a_sealed_segment_that_lost_its_end(tmp_path: Path, files: dict[str, bytes]) -> None:
    """An unfinished line is a torn tail in the growing segment only; in a sealed one it is damage."""
    first, *_ = _names(files)
    report = _report(tmp_path, {**files, first: files[first][:-5]})
    assert kinds(report.problems) == {"checksum", "seal"}
    assert not report.ok
    assert len(contents(tmp_path)) == 14


def test_a_sealed_segment_that_was_emptied(tmp_path: Path, files: dict[str, bytes]) -> None:
    """A sealed segment of no bytes at all is told, and the others are read."""
    _, second, _ = _names(files)
    assert kinds(_report(tmp_path, {**files, second: b""}).problems) == {"hole", "seal"}
    assert len(contents(tmp_path)) == 10


@pytest.mark.parametrize(
    "name", ["notes.txt", "1.jsonl", f"{1:020d}.jsonl.bak", f"{3:021d}.jsonl", "０" * 20 + ".jsonl", ".hidden"]
)
def test_a_foreign_file(tmp_path: Path, files: dict[str, bytes], name: str) -> None:
    """A file that is no segment is told and changes nothing about what is read."""
    report = _report(tmp_path, {**files, name: b"x"})
    assert [(problem.kind, problem.segment) for problem in report.problems] == [("foreign", name)]
    assert not report.ok
    assert len(contents(tmp_path)) == 15
    assert fill(tmp_path, [note(20)], segment_bytes=1 << 20) == [16]


def test_an_event_that_breaks_its_rules(tmp_path: Path) -> None:
    """A whole line whose event cannot be what it says is told, and read as an UnknownEvent."""
    fill(tmp_path, [note(1)])
    (name, data), *_ = snapshot(tmp_path).items()
    line = encode_line(note(2), seq=3, at=START)
    restore(tmp_path, {name: data + line})
    assert_clean(tmp_path)
    broken = ("SegmentOpened", b'{"type":"SegmentOpened","format":1,"length":"x"}')
    restore(tmp_path, {name: data + frame((broken,), 3, START)})
    report = verify(tmp_path)
    assert [(problem.kind, problem.seq, problem.offset) for problem in report.problems] == [("event", 3, len(data))]
    assert not report.ok
    assert report.events == 3


def _newer(directory: Path, first_seq: int) -> str:
    name = f"{first_seq:020d}.jsonl"
    line = encode_line(SegmentOpened(format=FORMAT + 1), seq=first_seq, at=START)
    (directory / "log").mkdir(exist_ok=True)
    (directory / "log" / name).write_bytes(line + b"what a later version writes\n")
    return name


def test_a_log_of_a_newer_format(tmp_path: Path) -> None:
    """A log of a later format is not opened, read, followed nor verified; the error says what to do."""
    name = _newer(tmp_path, 1)
    log = EventLog.open(tmp_path, read_only=True)
    before = snapshot(tmp_path)
    for use in (
        lambda: EventLog.open(tmp_path),
        lambda: list(log.read()),
        lambda: list(log.read(gt=5)),
        lambda: next(log.follow()),
        lambda: log.get(1),
        log.last_seq,
        log.verify,
    ):
        with pytest.raises(NewerFormat, match="upgrade turnlog") as caught:
            use()
        assert caught.value.segment.name == name
        assert (caught.value.found, caught.value.supported) == (FORMAT + 1, FORMAT)
    assert snapshot(tmp_path) == before


def test_a_newer_segment_behind_older_ones(tmp_path: Path) -> None:
    """The segments before a newer one are read; then the error comes. A writer does not go on behind it."""
    with EventLog.open(tmp_path, durability="os") as log:
        log.append_many([note(1), note(2)])
        _newer(tmp_path, 4)
        before = snapshot(tmp_path)
        with pytest.raises(NewerFormat):
            log.append(note(3))
        reading = log.read()
        assert [next(reading).seq for _ in range(3)] == [1, 2, 3]
        with pytest.raises(NewerFormat):
            next(reading)
    with pytest.raises(NewerFormat):
        EventLog.open(tmp_path)
    assert snapshot(tmp_path) == before


def test_a_later_field_in_a_header_is_no_newer_format(tmp_path: Path) -> None:
    """The format's number alone decides: a header with a field that this version does not know is read, and goes on."""
    header = SegmentOpened(format=FORMAT)
    tag, json = encode_event(header)
    line = frame(((tag, json[:-1] + b',"later":1}'),), 1, START)
    restore(tmp_path, {f"{1:020d}.jsonl": line})
    assert fill(tmp_path, [note(1)]) == [2]
    assert contents(tmp_path) == [(1, header), (2, note(1))]
    assert_clean(tmp_path)
