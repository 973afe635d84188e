"""A writer that dies at every single call, another that dies while it mends that, and then the power goes."""

from pathlib import Path

import pytest

from eventlog import EventLog

from .faults import Killed, MortalFiles
from .support import Ticker, assert_clean, contents, note, said, verify

SEGMENT_BYTES = 500


class Session:
    """One disk, the processes that come and go on it, and what they acknowledged."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.files = MortalFiles()
        self.acknowledged: list[tuple[int, object]] = []
        self._next = 0

    def process(self, appends: int, *, dies_at: int = -1, share: float = 0.0) -> bool:
        """Append some events; False if the process died before it was done."""
        self.files.live_again(dies_at, share)
        try:
            options = {"segment_bytes": SEGMENT_BYTES, "clock": Ticker(), "files": self.files}
            log = EventLog.open(self.directory, **options)  # type: ignore[arg-type]
            for _ in range(appends):
                self._next += 1
                event = note(self._next)
                self.acknowledged.append((log.append(event), event))
            log.close()
        except Killed:
            return False
        return True

    def check(self) -> None:
        """Everything acknowledged is there, in order, and nobody takes a crash for damage."""
        assert verify(self.directory).ok
        found = said(self.directory)
        assert [pair for pair in found if pair in self.acknowledged] == self.acknowledged
        assert [seq for seq, _ in contents(self.directory)] == sorted({seq for seq, _ in found} | self._own(found))

    def _own(self, found: list[tuple[int, object]]) -> set[int]:
        """The seqs of what the log itself wrote."""
        return {seq for seq, _ in contents(self.directory)} - {seq for seq, _ in found}


def _calls(tmp_path: Path) -> int:
    session = Session(tmp_path / "probe")
    assert session.process(6)
    return session.files.calls


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_process_may_die_at_any_call(tmp_path: Path, share: float) -> None:
    """Killed at any call, then killed again while that is mended, a log keeps all that it acknowledged."""
    for first in range(_calls(tmp_path)):
        for second in range(10):
            session = Session(tmp_path / f"{first}-{second}")
            assert not session.process(6, dies_at=first, share=share)
            session.check()
            session.process(2, dies_at=second, share=1 - share)
            session.check()
            assert session.process(2)
            session.check()
            assert_clean(session.directory)


@pytest.mark.parametrize(("kept", "zeroed"), [(0.0, False), (0.6, False), (0.3, True), (1.0, False)])
@pytest.mark.parametrize("share", [0.0, 0.7, 1.0])
def test_the_power_may_go_at_any_call(tmp_path: Path, kept: float, zeroed: bool, share: float) -> None:
    """If all that was not synced is lost, or a part of it, or turns to NULs, what was acknowledged is there."""
    for dies_at in range(_calls(tmp_path)):
        session = Session(tmp_path / f"{dies_at}")
        session.process(6, dies_at=dies_at, share=share)
        session.files.cut_power(kept=kept, zeroed=zeroed)
        session.check()
        session.process(1, dies_at=4, share=share)
        session.files.cut_power(kept=kept, zeroed=zeroed)
        session.check()
        assert session.process(2)
        session.check()
        assert_clean(session.directory)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_power_may_go_after_a_crash_was_mended(tmp_path: Path, share: float) -> None:
    """What a process appended to the remains of a dead one is as durable as anything else."""
    for dies_at in range(_calls(tmp_path)):
        session = Session(tmp_path / f"{dies_at}")
        session.process(6, dies_at=dies_at, share=share)
        assert session.process(1)
        session.files.cut_power(kept=0.0, zeroed=False)
        session.check()
        assert_clean(session.directory)
