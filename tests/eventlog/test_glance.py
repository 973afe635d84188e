"""A glance: the checks of a log that cost little."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventlog import EventLog
from eventlog.verify import GLANCE_EVENTS

from .support import fill, kinds, note, segment_files, snapshot


def glance(directory: Path) -> tuple[bool, set[str]]:
    report = EventLog.open(directory, read_only=True).glance()
    return report.ok, kinds(report.problems)


def test_a_healthy_log_is_healthy_at_a_glance(tmp_path: Path) -> None:
    """One segment, of which the last events were looked at; many, of which the last is short."""
    fill(tmp_path / "one", [note(n) for n in range(GLANCE_EVENTS + 200)])
    report = EventLog.open(tmp_path / "one", read_only=True).glance()
    assert (report.ok, report.events, report.segments) == (True, GLANCE_EVENTS, 1)
    fill(tmp_path / "many", [note(n) for n in range(60)], segment_bytes=500)
    report = EventLog.open(tmp_path / "many", read_only=True).glance()
    assert (report.ok, report.segments) == (True, len(segment_files(tmp_path / "many")))
    assert 0 < report.events < 10


def test_a_folder_that_is_not_there_is_an_empty_log(tmp_path: Path) -> None:
    """It is not made."""
    assert glance(tmp_path / "nowhere") == (True, set())
    assert not (tmp_path / "nowhere").exists()


@settings(max_examples=30)
@given(data=st.data())
def test_what_a_glance_finds_is_there(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever bit is damaged: a glance finds it in the last two segments, and finds nothing that verify does not."""
    directory = tmp_path_factory.mktemp("log")
    fill(directory, [note(n) for n in range(12)], segment_bytes=500)
    paths = segment_files(directory)
    path = data.draw(st.sampled_from(paths))
    content = bytearray(path.read_bytes())
    text = len(content.rstrip(b"\n"))
    content[data.draw(st.integers(0, text - 2))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    verified = EventLog.open(directory, read_only=True).verify()
    ok, _ = glance(directory)
    assert ok or not verified.ok
    assert not ok or path not in paths[-2:]


def test_a_segment_that_lost_its_end_is_found_wherever_it_is(tmp_path: Path) -> None:
    """Its length stands in the header of the next."""
    fill(tmp_path, [note(n) for n in range(30)], segment_bytes=500)
    first = segment_files(tmp_path)[0]
    first.write_bytes(first.read_bytes()[:-40])
    assert "seal" in glance(tmp_path)[1]


def test_a_segment_that_is_gone_and_a_strange_file_are_found(tmp_path: Path) -> None:
    """The one by the next one's header, the other by its name."""
    fill(tmp_path, [note(n) for n in range(30)], segment_bytes=500)
    segment_files(tmp_path)[1].unlink()
    (tmp_path / "log" / "notes.txt").write_text("x")
    ok, found = glance(tmp_path)
    assert not ok
    assert {"seal", "foreign"} <= found


def test_a_torn_tail_is_told_and_is_no_damage(tmp_path: Path) -> None:
    """A crash leaves it, the next writer closes it. Looking changes nothing."""
    fill(tmp_path, [note(n) for n in range(3)])
    (path,) = segment_files(tmp_path)
    path.write_bytes(path.read_bytes().rstrip(b"\n") + b'\n{"crc":"00')
    before = snapshot(tmp_path)
    assert glance(tmp_path) == (True, {"torn_tail"})
    assert snapshot(tmp_path) == before
