"""kill -9 of writers and of a follower at random microseconds, while the others go on."""

import os
import signal
import time
from pathlib import Path
from random import Random
from zlib import crc32

from children import Child, read_all
from promises import compare_followed, look
from rounds import Round
from sayings import Id, event_of, id_of
from writers import HANGS, start_writer, told

from eventlog import EventLog

_LAST = Id("end", 0)
_FOLLOW_SECONDS = 20


class _Team:
    """The writers and the follower of a round, and what those who were killed had said."""

    def __init__(self, this: Round) -> None:
        self.this = this
        self._lives = 0
        self.acknowledged: dict[Id, int] = {}
        self.followed: list[tuple[int, int]] = []
        self.writers = [self.start_writer() for _ in range(this.random.randint(2, 4))]
        self.follower = self.start_follower()

    @property
    def everybody(self) -> list[Child]:
        """Those who live."""
        return [*self.writers, self.follower]

    def start_writer(self) -> Child:
        """Another writer, with another name."""
        self._lives += 1
        durability = self.this.random.choice(["fsync", "os"])
        return start_writer(self.this, self.this.directory, f"w{self._lives}", durability=durability)

    def start_follower(self) -> Child:
        """The follower, who goes on from the last seq that he told."""
        gt = self.followed[-1][0] if self.followed else 0
        return Child(lambda pipe: _follow(self.this.directory, gt, pipe), seconds=_FOLLOW_SECONDS)

    def kill_somebody(self) -> None:
        """One of them dies and comes back."""
        self.this.crashes += 1
        if self.this.random.random() < 0.2:
            self.follower.kill()
            self.take_followed()
            self.follower = self.start_follower()
        else:
            which = self.this.random.randrange(len(self.writers))
            self.writers[which].kill()
            self.take_acknowledged(self.writers[which])
            self.writers[which] = self.start_writer()

    def take_acknowledged(self, writer: Child) -> None:
        """What a writer had said by its end."""
        acknowledged, errors = told(writer)
        self.acknowledged.update(acknowledged)
        self.this.broken += [f"a writer ended by itself: {error}" for error in errors]

    def take_followed(self) -> None:
        """What the follower had said by its end."""
        for line in self.follower.lines:
            if line.startswith("!"):
                self.this.broken.append(f"the follower ended by itself: {line[1:]}")
                continue
            seq, checksum = line.split()
            self.followed.append((int(seq), int(checksum)))


def kill_round(this: Round) -> None:
    """Several processes write, one follows; one after the other is killed and started anew."""
    team = _Team(this)
    try:
        for _ in range(this.random.randint(3, 7)):
            _listen(team, _moment(this.random))
            team.kill_somebody()
        _listen(team, _moment(this.random))
        _end_writers(team)
        _end_follower(team)
    finally:
        for child in team.everybody:
            child.kill()
    seen = look(this.directory, team.acknowledged, this.broken, whole_beginnings=True)
    this.events = len(team.acknowledged)
    if seen is not None:
        this.broken += compare_followed(team.followed, seen)


def _moment(random: Random) -> float:
    """Seconds until the next kill: from some microseconds, while a writer only starts, to forty milliseconds."""
    return float(10 ** random.uniform(-5, -1.4))


def _listen(team: _Team, seconds: float) -> None:
    """Read what they say until the moment comes."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        read_all(team.everybody, left)


def _end_writers(team: _Team) -> None:
    """Some close their logs in good order, the others are killed."""
    for writer in team.writers:
        writer.signal(team.this.random.choice([signal.SIGTERM, signal.SIGKILL]))
    for writer in team.writers:
        team.this.broken += [HANGS] if writer.wait() == -signal.SIGALRM else []
        team.take_acknowledged(writer)


def _end_follower(team: _Team) -> None:
    """A last event tells it to end."""
    this = team.this
    with EventLog.open(this.directory, durability="os") as log:
        team.acknowledged[_LAST] = log.append(event_of(_LAST))
    if team.follower.wait() == -signal.SIGALRM:
        this.broken.append(f"the follower did not see the last event within {_FOLLOW_SECONDS} seconds")
    team.take_followed()


def _follow(directory: Path, gt: int, pipe: int) -> None:
    """A follower's life: say what it sees, up to the last event."""
    for entry in EventLog.open(directory, read_only=True).follow(gt=gt):
        os.write(pipe, f"{entry.seq} {crc32(entry.line)}\n".encode())
        if id_of(entry.event) == _LAST:
            return
