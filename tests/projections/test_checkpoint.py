"""A state that was saved: worth nothing unless it is exactly what the log says, and never in the way."""

import errno
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventlog import Entry, EventLog, SinkEnrolled, TurnRecorded
from eventlog.events import Event
from projections import DELIVERY, SOURCES, STATISTICS, Checkpoints, Fold, Live, replay
from projections import checkpoint as module
from turnlog.testing import logs
from turnlog.testing.disks import RefusingFiles

from .support import turn

FOLDS: tuple[Fold[Any], ...] = (DELIVERY, SOURCES, STATISTICS)


def fill(directory: Path, count: int, *, segment_bytes: int = 10_000) -> EventLog:
    """A log of a sink and so many turns."""
    log = EventLog.open(directory, durability="os", segment_bytes=segment_bytes)
    log.append(SinkEnrolled(sink="s"))
    log.append_many([turn(f"t{number}") for number in range(count)])
    return log


def copied(entries: list[Entry]) -> list[Event]:
    """The events of drawn entries, without the header, which a log writes by itself."""
    return [entry.event for entry in entries[1:]]  # type: ignore[misc]


@given(entries=logs(), data=st.data())
def test_a_checkpoint_and_the_tail_are_the_whole_log(entries: list[Entry], data: st.DataObject) -> None:
    """Saved at any point and taken up by another process, every fold comes to what the log alone says."""
    events = copied(entries)
    cut = data.draw(st.integers(0, len(events)))
    with tempfile.TemporaryDirectory() as name, EventLog.open(Path(name), durability="os", segment_bytes=2000) as log:
        log.append_many(events[:cut])
        assert Checkpoints(log).save(FOLDS, replay(log, *FOLDS)) == (cut > 0)
        for event in events[cut:]:
            log.append(event)
        assert replay(log, *FOLDS, checkpoints=Checkpoints(log)) == replay(log, *FOLDS)
        assert Checkpoints(log).load(FOLDS)[0].last_seq == (cut + 1 if cut else 0)


def test_folds_saved_at_different_points_go_on_together(tmp_path: Path) -> None:
    """Each takes in what it lacks, and nothing twice."""
    with fill(tmp_path, 50) as log:
        Checkpoints(log).save((STATISTICS,), replay(log, STATISTICS))
        log.append_many([turn(f"u{number}") for number in range(300)])
        Checkpoints(log).save((DELIVERY,), replay(log, DELIVERY))
        log.append(turn("v"))
        assert replay(log, *FOLDS, checkpoints=Checkpoints(log)) == replay(log, *FOLDS)


def test_a_damaged_checkpoint_is_thrown_away(tmp_path: Path) -> None:
    """Whatever byte of it is flipped or missing: it is not used, or it says the same."""
    with fill(tmp_path, 5) as log:
        states = replay(log, DELIVERY)
        Checkpoints(log).save((DELIVERY,), states)
        path = tmp_path / "checkpoints" / "delivery"
        whole = path.read_bytes()
        changed = [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in range(len(whole))]
        for content in [*changed, *(whole[:at] for at in range(0, len(whole), 7)), b"", b"\n", b"{}\n", b"\xff" * 99]:
            path.write_bytes(content)
            assert Checkpoints(log).load((DELIVERY,)) in (states, (DELIVERY.initial(),))
            assert replay(log, DELIVERY, checkpoints=Checkpoints(log)) == states


def test_a_checkpoint_of_another_log_is_thrown_away(tmp_path: Path) -> None:
    """Also of a log that was the same and is now shorter, or has other events at the same seqs."""
    with fill(tmp_path / "a", 5) as log, fill(tmp_path / "b", 3) as shorter:
        Checkpoints(log).save((DELIVERY,), replay(log, DELIVERY))
        (tmp_path / "b" / "checkpoints").mkdir()
        (tmp_path / "a" / "checkpoints" / "delivery").rename(tmp_path / "b" / "checkpoints" / "delivery")
        assert Checkpoints(shorter).load((DELIVERY,)) == (DELIVERY.initial(),)
        shorter.append_many([turn(f"other{number}") for number in range(9)])
        assert Checkpoints(shorter).load((DELIVERY,)) == (DELIVERY.initial(),)


def test_a_log_that_cannot_be_known_again_has_no_checkpoint(tmp_path: Path) -> None:
    """Where the line at its seq is not whole there is nothing to know it by."""
    with fill(tmp_path, 5) as log:
        (state,) = replay(log, DELIVERY)
        state.last_seq = 99
        assert not Checkpoints(log).save((DELIVERY,), (state,))
        assert Checkpoints(log).load((DELIVERY,)) == (DELIVERY.initial(),)


def test_a_checkpoint_of_another_version_is_thrown_away(tmp_path: Path) -> None:
    """A fold whose state has another shape or meaning begins anew."""
    with fill(tmp_path, 5) as log:
        Checkpoints(log).save((DELIVERY,), replay(log, DELIVERY))
        newer = Fold("delivery", DELIVERY.version + 1, DELIVERY.initial, DELIVERY.handlers, views=DELIVERY.views)
        assert Checkpoints(log).load((newer,)) == (DELIVERY.initial(),)
        assert Checkpoints(log).load((DELIVERY,)) != (DELIVERY.initial(),)


@pytest.mark.parametrize("call", ["make_folder", "open", "write", "sync", "rename", "sync_folder"])
def test_a_checkpoint_that_cannot_be_written_stops_nothing(tmp_path: Path, call: str) -> None:
    """It says so, leaves the old one or none, and no unfinished file."""
    with fill(tmp_path, 5) as log:
        files = RefusingFiles()
        files.refuse = {call: errno.ENOSPC}
        states = replay(log, DELIVERY)
        assert not Checkpoints(log, files=files).save((DELIVERY,), states)
        assert replay(log, DELIVERY, checkpoints=Checkpoints(log)) == states
        assert list(tmp_path.glob("checkpoints/*.tmp")) == []


def test_it_is_saved_now_and_then_and_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After so many events, and by `close` if it is worth it; what is read only is never written."""
    monkeypatch.setattr(module, "EVERY_EVENTS", 40)
    monkeypatch.setattr(module, "WORTH_EVENTS", 10)
    with fill(tmp_path, 5) as log:

        def saved() -> int:
            return Checkpoints(log).load((DELIVERY,))[0].last_seq  # type: ignore[no-any-return]

        live = Live(log, DELIVERY, checkpoints=Checkpoints(log))
        live.catch_up()
        assert saved() == 0
        log.append_many([turn(f"u{number}") for number in range(40)])
        live.catch_up()
        assert saved() == live.states[0].last_seq > 40
        log.append_many([turn(f"v{number}") for number in range(12)])
        live.catch_up()
        assert saved() < live.states[0].last_seq
        reading = Live(log, DELIVERY, checkpoints=Checkpoints(log, read_only=True))
        reading.catch_up()
        reading.close()
        assert saved() < live.states[0].last_seq
        live.close()
        assert saved() == live.states[0].last_seq
        live = Live(log, DELIVERY, checkpoints=Checkpoints(log))
        assert live.catch_up() == 0
        live.close()


def test_a_wrong_state_with_a_right_checksum_is_found_by_comparing(tmp_path: Path) -> None:
    """What `replay --check` is for."""
    with fill(tmp_path, 5) as log:
        (state,) = replay(log, DELIVERY)
        state.sinks["s"].set_state(0, 4)
        Checkpoints(log).save((DELIVERY,), (state,))
        assert replay(log, DELIVERY, checkpoints=Checkpoints(log)) != replay(log, DELIVERY)


def test_states_that_a_checkpoint_cannot_hold_are_told(tmp_path: Path) -> None:
    """A fold of one's own may keep what MessagePack knows, arrays and queues; another value is a mistake."""

    class Odd(msgspec.Struct):
        last_seq: int = 0
        value: Any = None

    with fill(tmp_path, 1) as log:
        log.append(TurnRecorded(turn_id="x", messages=turn("y").messages))
        fold = Fold("odd", 1, Odd, {})
        with pytest.raises(TypeError, match="a state holds a object"):
            Checkpoints(log).save((fold,), (Odd(last_seq=1, value=object()),))
