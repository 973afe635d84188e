"""Damage: bits that flipped in lines that were acknowledged."""

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventlog import EventLog, Problem, SinkResumed, TurnRecorded
from eventlog.codec import decode_line

from .support import contents, fill, kinds, lines_of, note, open_log, restore, snapshot, turn, verify

# J, * and the last byte of 言 (0x8A 0x80: a flipped top bit) are one bit away from a newline; a space from a NUL.
EVENTS = [note(1, "J* 言把"), note(2), note(3, "把 J"), note(4, "* 把")]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, bytes]:
    """A small log of two segments."""
    fill(tmp_path, EVENTS, segment_bytes=330)
    files = snapshot(tmp_path)
    assert len(files) == 2
    return files


def _flips(files: dict[str, bytes]) -> Iterator[tuple[str, int, int]]:
    for name, data in files.items():
        for offset in range(len(data)):
            for bit in range(8):
                yield name, offset, bit


def _flip(directory: Path, files: dict[str, bytes], name: str, offset: int, bit: int) -> None:
    data = bytearray(files[name])
    data[offset] ^= 1 << bit
    restore_one(directory, name, bytes(data))


def restore_one(directory: Path, name: str, data: bytes) -> None:
    (directory / "log" / name).write_bytes(data)


def _untouched(files: dict[str, bytes], name: str, offset: int) -> list[bytes]:
    """The lines that do not hold the byte, nor end with it."""
    result = []
    for segment, data in files.items():
        start = 0
        for line in lines_of(data):
            if segment != name or not start <= offset < start + len(line):
                result.append(line[:-1])
            start += len(line)
    return result


def test_every_flipped_bit_is_found_and_read_around(tmp_path: Path, files: dict[str, bytes]) -> None:
    """Whatever bit of a log flips, newlines included: verify says so, and every other event is still read."""
    log = EventLog.open(tmp_path, read_only=True)
    for name, offset, bit in _flips(files):
        _flip(tmp_path, files, name, offset, bit)
        problems: list[Problem] = []
        found = [entry.line for entry in log.read(problems=problems)]
        assert found == _untouched(files, name, offset), (name, offset, bit)
        report = log.verify()
        assert not report.ok, (name, offset, bit)
        assert report.events == len(found)
        assert [problem for problem in problems if problem not in report.problems] == []
        assert "torn_tail" not in kinds(report.problems)
        restore_one(tmp_path, name, files[name])


def test_nothing_is_written_over_damage(tmp_path: Path, files: dict[str, bytes]) -> None:
    """Opened after any byte was damaged, a log goes on behind it: no seq is given twice, nothing is rewritten."""
    last_seq = contents(tmp_path)[-1][0]
    last = max(files)
    bits = random.Random(1)
    for name, offset, bit in _flips(files):
        if offset < len(files[name]) - 130 * (name == last) and bit != bits.randrange(8):
            continue
        restore(tmp_path, files)
        _flip(tmp_path, files, name, offset, bit)
        damaged = snapshot(tmp_path)
        seq = fill(tmp_path, [note(9)])[0]
        assert seq > last_seq, (name, offset, bit)
        after = snapshot(tmp_path)
        assert all(after[segment].startswith(data) for segment, data in damaged.items())
        lines = _untouched(files, name, offset)
        assert [entry.line for entry in EventLog.open(tmp_path, read_only=True).read()][: len(lines)] == lines
        assert contents(tmp_path)[-1] == (seq, note(9))
        report = verify(tmp_path)
        assert not report.ok
        assert not kinds(report.problems) & {"order", "torn_tail"}


@pytest.mark.parametrize("gt", range(7))
def test_damage_is_read_around_from_any_seq(tmp_path: Path, files: dict[str, bytes], gt: int) -> None:
    """Reading from midway passes over damage too, and tells of what it would have read."""
    log = EventLog.open(tmp_path, read_only=True)
    bits = random.Random(gt)
    for name, offset, bit in _flips(files):
        if bit != bits.randrange(8):
            continue
        _flip(tmp_path, files, name, offset, bit)
        lines = [line for line in _untouched(files, name, offset) if _seq(line) > gt]
        assert [entry.line for entry in log.read(gt=gt)] == lines
        restore_one(tmp_path, name, files[name])


def _seq(line: bytes) -> int:
    entry = decode_line(line)
    assert entry is not None
    return entry.seq


def test_damage_is_told_with_its_place(tmp_path: Path) -> None:
    """A damaged line is told with its segment, its seq and its offset; the damage costs that event alone."""
    fill(tmp_path, [note(number) for number in range(10)])
    (name, data), *_ = snapshot(tmp_path).items()
    lines = lines_of(data)
    offset = sum(map(len, lines[:4]))
    restore_one(tmp_path, name, data.replace(b'"s3"', b'"s4"'))
    report = verify(tmp_path)
    (problem,) = report.problems
    assert (problem.kind, problem.segment, problem.seq, problem.offset) == ("checksum", name, 5, offset)
    assert report.events == 10
    assert [seq for seq, _ in contents(tmp_path)] == [1, 2, 3, 4, 6, 7, 8, 9, 10, 11]


def test_a_closed_tail_excuses_nothing_else(tmp_path: Path) -> None:
    """Damage before a torn tail that was closed is still told, in its segment and in the one before."""
    fill(tmp_path, EVENTS, segment_bytes=330)
    files = snapshot(tmp_path)
    for name, data in files.items():
        damaged = data.replace(b'"sink":"s', b'"sink":"x', 1)
        restore(tmp_path, {**files, name: damaged})
        with (tmp_path / "log" / max(files)).open("ab") as file:
            file.write(b'{"crc":"torn')
        fill(tmp_path, [note(9)], segment_bytes=1 << 20)
        assert [(problem.kind, problem.segment) for problem in verify(tmp_path).problems][:1] == [("checksum", name)]
        restore(tmp_path, {**files, name: b"".join(_without_second_line(data))})
        with (tmp_path / "log" / max(files)).open("ab") as file:
            file.write(b'{"crc":"torn')
        fill(tmp_path, [note(9)], segment_bytes=1 << 20)
        assert ("hole", name) in [(problem.kind, problem.segment) for problem in verify(tmp_path).problems]
        assert "TornTailClosed" in {type(event).__name__ for _, event in contents(tmp_path)}


def _without_second_line(data: bytes) -> list[bytes]:
    lines = lines_of(data)
    return lines[:1] + lines[2:]


def test_only_what_would_be_read_is_told(tmp_path: Path) -> None:
    """Reading behind a damaged line says nothing of it; reading from it on does."""
    fill(tmp_path, [note(number) for number in range(6)])
    (name, data), *_ = snapshot(tmp_path).items()
    restore_one(tmp_path, name, data.replace(b'"s3"', b'"s4"'))  # seq 5
    log = EventLog.open(tmp_path, read_only=True)
    for gt, told in ((0, [5]), (4, [5]), (5, []), (6, [])):
        problems: list[Problem] = []
        assert [entry.seq for entry in log.read(gt=gt, problems=problems)] == [
            seq for seq in range(1, 8) if seq > gt and seq != 5
        ]
        assert [problem.seq for problem in problems] == told


def test_the_seq_of_a_damaged_last_line_stays_taken(tmp_path: Path) -> None:
    """An acknowledged last line that is damaged keeps its seq, and is never taken for what a crash left."""
    fill(tmp_path, [note(1), note(2, "a b")])
    (name, data), *_ = snapshot(tmp_path).items()
    for touched in (data.replace(b"a b", b"a\0b"), data[:-2] + b"x\n", data[:-1] + b"\x0b"):
        restore_one(tmp_path, name, touched)
        assert kinds(verify(tmp_path).problems) == {"checksum"}
        assert fill(tmp_path, [note(3)]) == [4]
        assert contents(tmp_path)[-2:] == [(2, note(1)), (4, note(3))]
        assert kinds(verify(tmp_path).problems) == {"checksum"}


def test_seqs_of_joined_lines_stay_taken(tmp_path: Path) -> None:
    """Where the newline between the last two lines is damaged, both seqs are taken, and the second is read."""
    fill(tmp_path, [note(1), note(2), note(3)])
    (name, data), *_ = snapshot(tmp_path).items()
    middle = len(data) - len(lines_of(data)[-1]) - 1
    restore_one(tmp_path, name, data[:middle] + b"\x0b" + data[middle + 1 :])
    assert fill(tmp_path, [note(4)]) == [5]
    assert contents(tmp_path)[1:] == [(2, note(1)), (4, note(3)), (5, note(4))]


def test_a_line_split_by_a_flipped_bit_costs_one_event(tmp_path: Path) -> None:
    """A bit that makes a newline splits a line in two; the event after it is not taken for one that came again."""
    fill(tmp_path, [note(1), note(2, "J"), note(3), note(4)])
    (name, data), *_ = snapshot(tmp_path).items()
    restore_one(tmp_path, name, data.replace(b'"J"', b'"\n"'))
    assert [seq for seq, _ in contents(tmp_path)] == [1, 2, 4, 5]
    assert kinds(verify(tmp_path).problems) == {"checksum"}


def test_a_damaged_log_is_written_by_many(tmp_path: Path) -> None:
    """A handle that was open when the damage came agrees with one that was opened after it."""
    with open_log(tmp_path) as log:
        log.append_many([note(1), note(2)])
        (name, data), *_ = snapshot(tmp_path).items()
        restore_one(tmp_path, name, data[:-5] + b"x" + data[-4:])
        assert log.append(note(3)) == 4
        with open_log(tmp_path) as other:
            assert [other.append(note(4)), log.append(note(5))] == [5, 6]
    assert kinds(verify(tmp_path).problems) == {"checksum"}


def test_a_file_cut_under_a_writer(tmp_path: Path) -> None:
    """If somebody cuts the file while a writer has it open, the seqs of the lost lines are not given again."""
    with open_log(tmp_path) as log:
        log.append_many([note(1), note(2), note(3)])
        (name, data), *_ = snapshot(tmp_path).items()
        restore_one(tmp_path, name, b"".join(lines_of(data)[:2]))
        assert log.append(note(4)) == 5
    assert kinds(verify(tmp_path).problems) == {"hole"}


def test_a_line_copied_into_content_is_content(tmp_path: Path) -> None:
    """A turn about this very log, lines and all, is one event, also when a bit of it flips."""
    fill(tmp_path, [note(1)])
    line = snapshot(tmp_path)[f"{1:020d}.jsonl"].splitlines()[1].decode()
    about = TurnRecorded(turn_id="t", messages=turn(1, line).messages, meta={"line": line, "parsed": json.loads(line)})
    fill(tmp_path, [about, note(2)])
    (name, data), *_ = snapshot(tmp_path).items()
    assert contents(tmp_path)[2:] == [(3, about), (4, note(2))]
    restore_one(tmp_path, name, data.replace(b'"turn_id":"t"', b'"turn_id":"u"'))
    assert [seq for seq, _ in contents(tmp_path)] == [1, 2, 4]
    assert isinstance(contents(tmp_path)[-1][1], SinkResumed)
