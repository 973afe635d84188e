"""A writer that dies at every single call, another that dies while it mends that, and then the power goes."""

from pathlib import Path
from random import Random

import pytest

from eventlog import EventLog
from turnlog.testing.disks import Disk, Killed, Life, MortalFiles

from .support import Ticker, assert_clean, contents, note, open_log, said, turn, verify

SEGMENT_BYTES = 500
BLOCK_BYTES = 64  # small, so that a line has several


class Session:
    """One disk, the processes that come and go on it, and what they acknowledged."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.disk = Disk(Random(str(directory.name)), block_bytes=BLOCK_BYTES)
        self.life = Life()
        self.acknowledged: list[tuple[int, object]] = []
        self._next = 0

    def process(self, appends: int, *, dies_at: int = -1, share: float = 0.0) -> bool:
        """Append some events; False if the process died before it was done."""
        self.life = Life(dies_at, share)
        files = MortalFiles(self.disk, self.life)
        try:
            options = {"segment_bytes": SEGMENT_BYTES, "clock": Ticker(), "files": files}
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
        seqs = [seq for seq, _ in contents(self.directory)]
        assert seqs == sorted(set(seqs))


def _calls(tmp_path: Path) -> int:
    session = Session(tmp_path / "probe")
    assert session.process(6)
    return session.life.calls


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_process_may_die_at_any_call(tmp_path: Path, share: float) -> None:
    """Killed at any call, then killed again while that is mended, a log keeps all that it acknowledged."""
    for first in range(_calls(tmp_path)):
        for second in range(10):
            session = Session(tmp_path / f"{first}-{second}")
            session.process(6, dies_at=first, share=share)
            session.check()
            session.process(2, dies_at=second, share=1 - share)
            session.check()
            assert session.process(2)
            session.check()
            assert_clean(session.directory)


@pytest.mark.parametrize("survive", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("share", [0.0, 0.7, 1.0])
def test_the_power_may_go_at_any_call(tmp_path: Path, survive: float, share: float) -> None:
    """If all that was not synced is lost, or any of its blocks, what was acknowledged is there."""
    for dies_at in range(_calls(tmp_path)):
        session = Session(tmp_path / f"{dies_at}")
        session.process(6, dies_at=dies_at, share=share)
        session.disk.cut_power(survive)
        session.check()
        session.process(1, dies_at=4, share=share)
        session.disk.cut_power(survive)
        session.check()
        assert session.process(2)
        session.check()
        assert_clean(session.directory)


@pytest.mark.parametrize("seed", range(60))
def test_the_power_may_go_again_while_that_is_mended(tmp_path: Path, seed: int) -> None:
    """Two power cuts, each of which spares some blocks and takes others, leave a log of which nothing is damaged."""
    session, random = Session(tmp_path / "log"), Random(seed)
    session.disk = Disk(Random(seed), block_bytes=BLOCK_BYTES)
    survive, share = random.choice([0.3, 0.5, 0.7, 0.9]), random.choice([0.0, 0.5, 0.7, 1.0])
    for appends, calls in ((6, 31), (1, 12)):
        session.process(appends, dies_at=random.randrange(calls), share=share)
        session.disk.cut_power(survive)
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
        session.disk.cut_power(0.0)
        session.check()
        assert_clean(session.directory)


def test_a_write_may_end_at_any_byte(tmp_path: Path) -> None:
    """A line that was cut short in a segment that is extended ahead is a torn tail, wherever the cut is."""
    size = 0
    for at in range(10**6):
        directory, life = tmp_path / str(at), Life()
        files = MortalFiles(Disk(Random(1)), life)
        log = open_log(directory, files=files)
        kept = [(log.append(turn(number)), turn(number)) for number in range(2)]
        size = size or len(next(log.read(gt=2)).line) + 1
        life.dies_at, life.share = life.calls, (at + 0.5) / size
        with pytest.raises(Killed):
            log.append(turn(2))
        assert verify(directory).ok, at
        with open_log(directory) as other:
            kept.append((other.append(turn(3)), turn(3)))
        assert [pair for pair in said(directory) if pair in kept] == kept
        assert_clean(directory)
        if at == size:
            break
