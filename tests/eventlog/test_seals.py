"""Sealing: the blanks are gone, durably, before the next segment says how long the last one is."""

from pathlib import Path

from eventlog import EventLog
from turnlog.testing.disks import RefusingFiles

from .support import assert_clean, note, open_log, segment_files


def test_a_cut_is_synced_before_the_next_segment_is_made(tmp_path: Path) -> None:
    """Also where every line was durable already: a length that comes back after a power cut would break the seal."""
    with EventLog.open(tmp_path) as other:  # it extends the segment further than the next one lets it grow
        other.append(note(1))
        other.append(note(2))
        files = RefusingFiles()
        with EventLog.open(tmp_path, files=files, segment_bytes=600) as log:
            log.append_many([note(number) for number in range(4)])
            files.calls = []
            log.append(note(9))
        assert files.calls[:3] == ["cut", "sync", "open"]
    assert_clean(tmp_path)


def test_a_segment_that_grows_beyond_its_size_is_cut(tmp_path: Path) -> None:
    """Blanks are never written beyond the size of a segment, and none are left in a sealed one."""
    with open_log(tmp_path, segment_bytes=5000) as log:
        for number in range(100):
            log.append(note(number, "x" * 100))
        sizes = [path.stat().st_size for path in segment_files(tmp_path)]
        texts = [len(path.read_bytes().rstrip(b"\n")) + 1 for path in segment_files(tmp_path)]
        assert sizes[:-1] == texts[:-1]
        assert texts[-1] < sizes[-1] <= 5000
    assert [path.stat().st_size for path in segment_files(tmp_path)] == texts
    assert_clean(tmp_path)
