"""The main job, shown: import, deliver to a receiver that is killed half way, deliver the rest, count."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import IO

from eventlog import Event, EventLog, SyncSucceeded, TurnRecorded
from projections import DELIVERY, message_names, replay
from turnlog.config import load
from turnlog.errors import TurnlogError
from turnlog.recorder import TurnRecorder
from turnlog.sinks.batch import message_uuid
from turnlog.sources.importing import ImportCounts, import_streams
from turnlog.sources.save_data import SaveData
from turnlog.sync.crew import Hooks
from turnlog.sync.life import LifeEvent, tell_life
from turnlog.sync.run import SyncResult, sync_once

SINK = "receiver"
USER = "amy"

_STORE = "receiver.sqlite"
_TOKEN = "token"  # noqa: S105 - a file's name

_CONFIG = """\
# Small requests over one connection, so that there is something to see. The defaults are larger.
[[sinks]]
name = "{sink}"
type = "batch"
url = "{url}"
token = {{ file = "{token}" }}
connections = 1
turns = 3
"""


@dataclass
class Proof:
    """What the receiver has, against what the log says it must have; messages are counted."""

    owed: int = 0
    stored: int = 0
    missing: int = 0

    @property
    def surplus(self) -> int:
        """How many messages are there that are not owed, or are there twice."""
        return self.stored - (self.owed - self.missing)

    @property
    def holds(self) -> bool:
        """Whether each message is there once and no other."""
        return not self.missing and not self.surplus


@dataclass
class TurnStory:
    """One turn as the demo tells it."""

    seq: int
    said: str
    state: str
    requests: int
    happened: str


@dataclass
class Receiver:
    """`turnlog serve` as a process of its own, on a port that it keeps when it is started again."""

    directory: Path
    url: str = ""
    _port: int = 0
    _process: "subprocess.Popen[str] | None" = field(default=None, repr=False)

    def start(self) -> None:
        """Start it and wait until it listens. Raises TurnlogError if it does not."""
        command = [sys.executable, "-m", "turnlog", "--dir", str(self.directory), "serve", "--port", str(self._port)]
        command += ["--token-file", str(self.directory / _TOKEN), "--store", str(self.directory / _STORE)]
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.url = _output(self._process.stdout).readline().strip()
        if not self.url:
            said = _output(self._process.stderr).read().strip()
            self.kill()
            raise TurnlogError(f"the receiver did not start: {said}")
        self._port = int(self.url.rpartition(":")[2])

    def kill(self) -> None:
        """End it at once, as a crash would. Doing so again does nothing."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()


def _output(stream: "IO[str] | None") -> "IO[str]":
    assert stream is not None  # noqa: S101 - Popen was asked for it
    return stream


@dataclass
class Demo:
    """The demo's steps, in their order; `directory` gets the log, the configuration and the receiver's store."""

    directory: Path
    receiver: Receiver = field(init=False)

    def __post_init__(self) -> None:
        self.receiver = Receiver(self.directory)

    def prepare(self) -> None:
        """Start the receiver and configure it as a sink."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.directory / _TOKEN).write_text(os.urandom(16).hex(), encoding="ascii")
        self.receiver.start()
        text = _CONFIG.format(sink=SINK, url=self.receiver.url, token=_TOKEN)
        (self.directory / "turnlog.toml").write_text(text, encoding="utf-8")

    def import_sample(self) -> ImportCounts:
        """Record the sample's turns; those that it marks as synced were delivered before."""
        source = SaveData(user=USER, already_synced_to=SINK)
        with TurnRecorder(self.directory) as recorder:
            return import_streams(recorder, source, source.discover([sample_path()]))

    def deliver(self, progress: Callable[[int], None], *, kill_after: int | None = None) -> SyncResult:
        """Deliver what can be; the receiver is killed once so many turns have arrived."""
        delivered = 0

        def note(events: Sequence[Event]) -> None:
            nonlocal delivered
            arrived = sum(len(event.turns) for event in events if isinstance(event, SyncSucceeded))
            delivered += arrived
            progress(arrived)
            if kill_after is not None and delivered >= kill_after:
                self.receiver.kill()

        return sync_once(self.directory, load(self.directory / "turnlog.toml"), hooks=Hooks(events=note))

    def pending(self) -> int:
        """How many turns are still to be delivered."""
        (state,) = replay(self._log(), DELIVERY)
        totals = state.sinks[SINK].totals() if SINK in state.sinks else {}
        return sum(totals.get(name, 0) for name in ("pending", "attempting", "retrying"))

    def owed(self) -> int:
        """How many turns the sink does not have before the first delivery."""
        return sum(SINK not in turn.delivered_to for turn in self._turns().values())

    def prove(self) -> Proof:
        """Compare the receiver's rows with what the log says it must have, message by message."""
        owed = {
            message_uuid(turn.turn_id, name)
            for turn in self._turns().values()
            if SINK not in turn.delivered_to
            for name in message_names(turn)
        }
        with closing(sqlite3.connect(self.directory / _STORE)) as store:
            stored = [uuid for (uuid,) in store.execute("SELECT uuid FROM messages")]
        return Proof(len(owed), len(stored), len(owed - set(stored)))

    def stories(self) -> list[TurnStory]:
        """What happened to every turn, from its events alone."""
        log, policy = self._log(), load(None).sync.policy()
        stories = []
        for seq, turn in self._turns().items():
            life = tell_life(log, seq, policy=policy)
            requests = sum(event.type == "SyncAttempted" for event in life.events)
            stories.append(
                TurnStory(seq, turn.messages[0].content, life.sinks[SINK].state, requests, _happened(turn, life.events))
            )
        return stories

    def _turns(self) -> dict[int, TurnRecorded]:
        entries = ((entry.seq, entry.event) for entry in self._log().read())
        return {seq: event for seq, event in entries if isinstance(event, TurnRecorded)}

    def _log(self) -> EventLog:
        return EventLog.open(self.directory, read_only=True)


def _happened(turn: TurnRecorded, events: Sequence[LifeEvent]) -> str:
    if SINK in turn.delivered_to:
        return "had been delivered before; not sent"
    failures = [str(event.fields["kind"]).replace("_", " ") for event in events if event.type == "SyncFailed"]
    return f"{', '.join(failures)}; then delivered" if failures else "delivered"


def sample_path() -> Path:
    """The sample that comes with the program, in a checkout or installed."""
    installed = Path(str(files("turnlog"))) / "data" / "save_data.jsonl"
    checkout = Path(__file__).parents[3] / "data" / "save_data.jsonl"
    for path in (installed, checkout):
        if path.is_file():
            return path
    raise TurnlogError("the demo's sample, save_data.jsonl, is not where it was installed; install turnlog again")
