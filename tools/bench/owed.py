"""Logs with turns that are owed to a sink, and `turnlog sync --follow` at work on them."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Self

from msgspec.structs import replace
from samples import contents, turn

from bench import Bench, say
from eventlog import Entry, EventLog, SinkEnrolled, SinkPaused, SyncAttempted, SyncSucceeded, TurnRecorded, Waiter
from projections import DELIVERY, Checkpoints, Index, replay
from turnlog.recorder import INDEX_NAME

SINK = "team"
PATIENCE_SECONDS = 120
_STRETCH, _REQUEST = 1000, 100


def owed_log(directory: Path, turns: Iterable[TurnRecorded], *, kind: str = "batch") -> None:
    """Write a log whose turns are all owed to the sink, with the index that a recorder leaves beside it."""
    remaining = iter(turns)
    with EventLog.open(directory, durability="os") as log:
        log.append(SinkEnrolled(sink=SINK, kind=kind))
        while stretch := list(islice(remaining, _STRETCH)):
            log.append_many(stretch)
        log.sync()
        index = Index(log, directory / INDEX_NAME)
        with index.locked():
            index.refresh()
        index.close()


def deliver_all(directory: Path) -> None:
    """Have the log say that everything was delivered, and leave a checkpoint."""
    with EventLog.open(directory, durability="os") as log:
        (state,) = replay(log, DELIVERY)
        seqs = state.turns.seqs.tolist()
        requests = [tuple(seqs[first : first + _REQUEST]) for first in range(0, len(seqs), _REQUEST)]
        for request in requests:
            attempt = log.append(SyncAttempted(sink=SINK, turns=request, worker="w1"))
            log.append(SyncSucceeded(attempt=attempt, sink=SINK, turns=request, receipt={"taken": len(request)}))
        Checkpoints(log).save((DELIVERY,), replay(log, DELIVERY))


def many_turns(count: int, *, lanes: int | None = None, first: int = 0) -> Iterator[TurnRecorded]:
    """Turns of 815 bytes; in the conversations of `turn`, or in so many lanes side by side."""
    messages = contents(min(count, 512))
    for number in range(first, first + count):
        event = turn(number, messages[number % len(messages)])
        if lanes is not None:
            event = replace(event, user=f"user-{number % lanes:03}", conversation=f"conversation-{number % lanes:06}")
        yield event


def configure(
    directory: Path, url: str, *, kind: str = "batch", sink: str = "", sync: str = "", more: str = ""
) -> None:
    """Write the configuration of a log with one sink; more lines for either table, and more tables."""
    text = f'[sync]\n{sync}\n{more}\n[[sinks]]\nname = "{SINK}"\ntype = "{kind}"\nurl = "{url}"\n{sink}\n'
    (directory / "turnlog.toml").write_text(text, encoding="utf-8")


def copy_of(bench: Bench, original: Path, name: str) -> Path:
    """A log that may be written to."""
    path = bench.folder / name
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(original, path)
    return path


@contextmanager
def following(directory: Path) -> "Iterator[subprocess.Popen[bytes]]":
    """`turnlog sync --follow` in a process of its own, for as long as the block lasts."""
    command = [sys.executable, "-m", "turnlog", "--dir", str(directory), "sync", "--follow", "--json"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:  # noqa: S603 - our own
        try:
            yield process
        finally:
            process.terminate()


class Watch:
    """Appends to a log that others deliver from, and waits for what they append."""

    def __init__(self, directory: Path) -> None:
        self.log = EventLog.open(directory)
        self._reader = self.log.reader(gt=self.log.last_seq())
        self._waiter = Waiter(self.log.folder)

    def until(self, is_wanted: Callable[[Entry], bool]) -> Entry:
        """The first entry of which this is true, behind those that were looked at before."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            for entry in self._reader.read():
                if is_wanted(entry):
                    return entry
            self._waiter.wait(1.0)
        raise RuntimeError("what was waited for did not happen")

    def until_delivered(self, count: int) -> Entry:
        """The event by which so many turns more are delivered."""
        left = count

        def is_last(entry: Entry) -> bool:
            nonlocal left
            left -= len(entry.event.turns) if isinstance(entry.event, SyncSucceeded) else 0
            return left <= 0

        return self.until(is_last)

    def until_paused(self) -> Entry:
        """The event that says that the sink is down."""
        return self.until(lambda entry: isinstance(entry.event, SinkPaused))

    def deliver(self, turns: list[TurnRecorded]) -> tuple[float, float]:
        """Append these turns; seconds from that call until receipts of all of them are in the log, and are durable."""
        begin = time.perf_counter()
        self.log.append_many(turns)
        self.until_delivered(len(turns))
        received = time.perf_counter()
        self.log.sync()
        return received - begin, time.perf_counter() - begin

    def close(self) -> None:
        """Let go of the files."""
        self._reader.close()
        self._waiter.close()
        self.log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def base_log(bench: Bench, turns: int) -> Path:
    """A log with so many turns that are owed, for copies; written once in a run."""
    path = bench.folder / f"owed-{turns}"
    if not path.exists():
        say(f"  writing a log of {turns:,} turns")
        path.mkdir()
        owed_log(path, many_turns(turns))
    return path


def delivered_log(bench: Bench, turns: int) -> Path:
    """The same, all of them delivered, with a checkpoint."""
    path = bench.folder / f"delivered-{turns}"
    if not path.exists():
        copy_of(bench, base_log(bench, turns), path.name)
        deliver_all(path)
    return path
