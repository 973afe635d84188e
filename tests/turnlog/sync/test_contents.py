"""Turns read back from the log."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventlog import EventLog
from projections import Index
from turnlog import Recorder
from turnlog.sync import contents as module
from turnlog.sync.contents import Contents


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> EventLog:
    """A log of sixty turns in three lanes, with other events between them, in several segments."""
    directory = tmp_path_factory.mktemp("log")
    with Recorder(directory, durability="os") as recorder:
        for number in range(60):
            recorder.record(
                user="u", conversation=f"c{number % 3}", messages=[{"role": "user", "content": "x" * number}]
            )
    return EventLog.open(directory, read_only=True)


def open_contents(log: EventLog) -> Contents:
    index = Index(log, None)
    index.refresh()
    return Contents(log, index)


seqs = st.lists(st.integers(-1, 64), max_size=30)


@settings(max_examples=30)
@given(asked=seqs, cache=st.sampled_from([1, 400, 10**9]), ahead=st.sampled_from([1, 5, 2048]))
def test_any_turn_is_found_in_any_order(log: EventLog, asked: list[int], cache: int, ahead: int) -> None:
    """Whatever is kept and whatever is read anew, the turn is the one at that seq; elsewhere there is none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_CACHE_BYTES", cache)
        patch.setattr(module, "_AHEAD", ahead)
        contents = open_contents(log)
        for seq in asked:
            item, entry = contents.content(seq), log.get(seq) if seq > 0 else None
            if seq % 7 == 0:
                contents.forget()
                assert contents.kept_bytes == 0
            if entry is None or entry.type != "TurnRecorded":
                assert item is None
            else:
                assert item is not None
                assert (item.event, item.recorded_at) == (entry.event, entry.at)
                assert item.line_bytes == len(entry.line)
                assert contents.places([seq])[seq].round_index == (seq - 2) // 3


@given(asked=seqs, cache=st.sampled_from([1, 1000, 10**9]), ahead=st.sampled_from([1, 5, 2048]))
def test_what_is_kept_is_bounded(log: EventLog, asked: list[int], cache: int, ahead: int) -> None:
    """The kept lines stay within the limit, and are counted right however often they are read."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_CACHE_BYTES", cache)
        patch.setattr(module, "_AHEAD", ahead)
        contents = open_contents(log)
        for seq in asked:
            contents.content(seq)
            kept = sum(len(entry.line) for entry in contents._kept.values())
            assert contents._kept_bytes == kept
            assert kept <= cache or len(contents._kept) == 1
        contents.close()


def test_lanes_that_are_interleaved_are_read_once(log: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three lanes read one after the other cost one pass over the log, not three."""
    contents, passes = open_contents(log), []
    reader = log.reader
    monkeypatch.setattr(log, "reader", lambda **options: passes.append(options) or reader(**options))
    for first in range(3):
        for seq in range(2 + first, 62, 3):
            contents.content(seq)
    assert len(passes) == 1


def test_a_damaged_line_is_a_refusal(tmp_path: Path) -> None:
    """A turn whose line was damaged after it was folded cannot be sent, and the sentence says where to look."""
    with Recorder(tmp_path, durability="os") as recorder:
        seq = recorder.record(user="u", messages=[{"role": "user", "content": "hello"}]).seq
        recorder.record(user="u", messages=[{"role": "user", "content": "bye"}])
        contents = Contents(recorder.log, recorder.index)
        path = next(recorder.log.folder.iterdir())
        path.write_bytes(path.read_bytes().replace(b"hello", b"jello"))
        assert contents.content(seq) is None
