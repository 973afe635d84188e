"""The growing segment extended ahead: what others see of it, and what crashes and power cuts leave in it."""

import os
from pathlib import Path
from typing import Any

import pytest

from eventlog import EventLog, TornTailClosed
from eventlog.files import Files
from eventlog.growing import PAD_BYTES

from .support import assert_clean, contents, fill, kinds, lines_of, note, open_log, said, segment_files, verify

BLOCK = 512


def padded(directory: Path, events: int, text: str = "") -> tuple[EventLog, Path, bytes]:
    """A log that a handle has extended ahead and not closed, its file, and its text."""
    log = open_log(directory)
    for number in range(events):
        log.append(note(number, text))
    (path,) = segment_files(directory)
    return log, path, path.read_bytes().rstrip(b"\n") + b"\n"


def put(path: Path, data: bytes, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def test_only_a_second_append_extends_it(tmp_path: Path) -> None:
    """A command that records one turn writes that and no more; a clean close leaves no blank."""
    with open_log(tmp_path) as log:
        log.append(note(1))
        (path,) = segment_files(tmp_path)
        assert not path.read_bytes().endswith(b"\n\n")
        log.append(note(2))
        assert path.stat().st_size % PAD_BYTES == 0
        assert path.read_bytes().endswith(b"\n\n")
        fill(tmp_path, [note(3)])  # another handle, which did not extend it, leaves the blanks alone
        assert path.stat().st_size % PAD_BYTES == 0
        assert said(tmp_path) == [(seq, note(seq - 1)) for seq in (2, 3, 4)]
        assert_clean(tmp_path)
    assert not path.read_bytes().endswith(b"\n\n")
    assert_clean(tmp_path)


def test_what_others_appended_is_not_cut(tmp_path: Path) -> None:
    """The end is found again before the blanks are cut off: also behind lines that the handle never saw."""
    log, path, _ = padded(tmp_path, 3)
    other = open_log(tmp_path)
    other.append_many([note(number, "x" * 900) for number in range(3, 40)])
    log.close()
    assert not path.read_bytes().endswith(b"\n\n")
    assert other.append(note(40)) == 42
    other.close()
    assert [event for _, event in said(tmp_path)][-1] == note(40)
    assert_clean(tmp_path)


def test_a_line_that_was_cut_short_before_blanks_is_a_torn_tail(tmp_path: Path) -> None:
    """Cut at any byte: nothing is lost, `verify` is fine before and after, and the next writer names it."""
    log, path, text = padded(tmp_path, 3)
    line = lines_of(text)[-1].replace(b'"seq":4', b'"seq":5')
    for cut in range(1, len(line) - 2):
        put(path, line[:cut] + b"\n" * len(line), len(text))
        report = verify(tmp_path)
        assert (report.ok, kinds(report.problems)) == (True, {"torn_tail"})
        assert [seq for seq, _ in contents(tmp_path)] == [1, 2, 3, 4]
    assert log.append(note(9)) == 6
    assert isinstance(contents(tmp_path)[4][1], TornTailClosed)
    assert_clean(tmp_path)
    log.close()
    assert_clean(tmp_path)


def test_damage_before_blanks_is_damage(tmp_path: Path) -> None:
    """A flipped bit in the last line is told although blanks follow, but for one that leaves a brace open."""
    log, path, text = padded(tmp_path, 3)
    begin = len(text) - len(lines_of(text)[-1])
    for at in range(begin, len(text) - 1):
        for bit in range(8):
            flipped = bytes([text[at] ^ (1 << bit)])
            put(path, flipped, at)
            excused = text[at : at + 1] in (b"{", b"}") or flipped == b"{"
            assert excused or not verify(tmp_path).ok, (at - begin, bit)
        put(path, text[at : at + 1], at)
    assert_clean(tmp_path)
    log.close()


def test_a_single_flip_never_passes_in_a_closed_log(tmp_path: Path) -> None:
    """After a clean close nothing is excused."""
    log, path, text = padded(tmp_path, 2)
    log.close()
    for at in range(len(text) - 1):
        put(path, bytes([text[at] ^ 1]), at)
        assert not verify(tmp_path).ok
        put(path, text[at : at + 1], at)
    assert_clean(tmp_path)


class Rebooted(Files):
    """A system that was started again."""

    def boot_id(self) -> bytes:
        return b"another boot"


@pytest.mark.parametrize("lost", [1, 3])
def test_a_gap_far_from_the_end_is_named_after_a_reboot(tmp_path: Path, lost: int) -> None:
    """Blocks that were blank before the power went, with many whole lines behind: only a new boot's writer looks."""
    log, path, text = padded(tmp_path, 400, "x" * 300)
    hole = (len(text) // 8) // BLOCK * BLOCK
    put(path, b"\n" * BLOCK * lost, hole)
    before = contents(tmp_path)
    report = verify(tmp_path)
    assert (report.ok, kinds(report.problems)) == (True, {"torn_tail"})
    log.close()
    fill(tmp_path, [note(1)])
    assert not [event for _, event in contents(tmp_path) if isinstance(event, TornTailClosed)]
    fill(tmp_path, [note(2)], files=Rebooted())
    closed = [event for _, event in contents(tmp_path) if isinstance(event, TornTailClosed)]
    missing = set(range(1, before[-1][0] + 1)) - {seq for seq, _ in before}
    assert {seq for event in closed for seq in event.missing} == missing
    assert contents(tmp_path)[: len(before)] == before
    assert_clean(tmp_path)
    fill(tmp_path, [note(3)], files=Rebooted())
    assert_clean(tmp_path)


def test_a_reader_looks_twice_before_it_judges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that is seen behind one that is just being written makes neither a gap nor damage of it."""
    log, path, text = padded(tmp_path, 20, "x" * 300)
    lines = lines_of(text)
    begin = sum(map(len, lines[:-3]))
    for half in (b"", lines[-3][:100]):  # not yet there when the first pages were read, or in part
        put(path, (half + b"\n" * len(lines[-3]))[: len(lines[-3])], begin)
        pread, looks = os.pread, []

        def racing(*arguments: Any, pread: Any = pread, looks: list[int] = looks) -> bytes:
            data = pread(*arguments)
            looks.append(1)
            if len(looks) == 1:
                put(path, lines[-3], begin)
            return data  # type: ignore[no-any-return]

        with monkeypatch.context() as patched:
            reader = log.reader(gt=10)
            assert next(iter(reader.read())).seq == 11
            patched.setattr("eventlog.segments.os.pread", racing)
            seqs = [entry.seq for entry in reader.read()]
        assert seqs == list(range(12, 22))
        assert reader.problems == []
        reader.close()
    log.close()


def test_only_blanks_are_cut_off(tmp_path: Path) -> None:
    """A handle that thinks that nothing follows does not take away what another has appended behind a damaged blank."""
    log, path, text = padded(tmp_path, 2)
    put(path, b"\x0b", len(text) + 1000)
    other = open_log(tmp_path)
    kept = [(other.append(note(number)), note(number)) for number in (10, 11, 12)]
    log.close()
    other.close()
    assert [pair for pair in said(tmp_path) if pair in kept] == kept


def test_a_long_torn_line_is_judged_at_once(tmp_path: Path) -> None:
    """With ten thousands of quotes behind one that is open: the end is found without trying each of them anew."""
    log, path, text = padded(tmp_path, 2)
    put(path, b'{"crc":"' + b'\\"a\\":{}' * 30_000 + b"}", len(text))
    assert log.append(note(3)) > 3
    assert [event for _, event in said(tmp_path)][-1] == note(3)
    log.close()


def test_verify_looks_twice_before_it_judges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was being written at the first look is no damage; what is still there at the second is."""
    log, path, text = padded(tmp_path, 20, "x" * 300)
    line = lines_of(text)[10]
    begin = text.index(line)
    pread, looks = os.pread, []

    def racing(*arguments: Any) -> bytes:
        data = pread(*arguments)
        looks.append(arguments[2])
        if len(looks) == 3:
            put(path, line, begin)
        return data

    put(path, line[:100] + b"#" * (len(line) - 101), begin)
    assert not verify(tmp_path).ok
    monkeypatch.setattr("eventlog.segments.os.pread", racing)
    report = verify(tmp_path)
    assert report.ok
    assert report.problems == []
    log.close()
