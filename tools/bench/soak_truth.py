"""What a soak knows by itself, and what it holds against the daemon's word."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msgspec import Struct
from soak_world import SINK, World, texts_of

from eventlog import EventLog, SinkPaused, SinkResumed, SyncSucceeded, TurnRecorded

_MESSAGES = 2


class Known(Struct, frozen=True):
    """The truth at a moment: what the log says, what the recording process and the receiver count.

    `pauses` counts every change of the sink's pause, so that two equal ones with nothing between are told from others.
    """

    seq: int = 0
    delivered: int = 0
    paused: str | None = None
    pauses: int = 0
    recorded: int = 0
    begun: int = 0
    received: int = 0


class Truth:
    """Follows the log of a world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._log = EventLog.open(world.service.directory, read_only=True)
        self._reader = self._log.reader()
        self._known = Known()

    def look(self) -> Known:
        """What is true now. What is counted beside the log is what was counted before it was read, but for `begun`."""
        talk, receiver = self._world.talk, self._world.receiver
        recorded, received = talk.done, receiver.count() // _MESSAGES
        seq, delivered, paused, pauses = (getattr(self._known, n) for n in ("seq", "delivered", "paused", "pauses"))
        for entry in self._reader.read():
            seq = entry.seq
            match entry.event:
                case SyncSucceeded() as event:
                    delivered += len(event.turns)
                case SinkPaused() as event:
                    paused, pauses = event.kind, pauses + 1
                case SinkResumed():
                    paused, pauses = None, pauses + 1
        self._known = Known(seq, delivered, paused, pauses, recorded, talk.begun, received)
        return self._known

    def close(self) -> None:
        """Let go of the log."""
        self._reader.close()
        self._log.close()


def untrue(status: dict[str, Any], before: Known, after: Known) -> Iterator[str]:
    """What in a status is not true, given what was known before it was asked for and after."""
    if not (status["running"] and status["state"] == "running"):
        yield f"the daemon is {status['state']}"
    if not before.recorded <= status["turns"] <= after.begun:
        yield f"it counts {status['turns']} turns; recorded are {before.recorded} to {after.begun}"
    if not before.seq <= status["last_seq"] <= after.seq:
        yield f"it is at seq {status['last_seq']}; the log went from {before.seq} to {after.seq}"
    sink = next((sink for sink in status["sinks"] if sink["sink"] == SINK), None)
    if sink is None:
        yield "it does not know the sink"
        return
    if not before.delivered <= sink["delivered"] <= after.delivered:
        yield f"{sink['delivered']} turns are delivered; the log went from {before.delivered} to {after.delivered}"
    waiting = sum(sink[name] for name in ("pending", "in_flight", "retrying"))
    if sink["dead"]:
        yield f"{sink['dead']} turns are dead"
    meanwhile = after.begun - before.recorded + after.delivered - before.delivered  # it is told while turns go on
    if abs(status["turns"] - waiting - sink["delivered"]) > meanwhile:
        yield f"of {status['turns']} turns {waiting} wait and {sink['delivered']} are delivered"
    if before.pauses == after.pauses and (sink["state"] == "paused") != (before.paused is not None):
        yield f"the sink is said to be {sink['state']}; the log says that it is paused for {before.paused}"
    if waiting and sink["oldest_undelivered_seconds"] is None and not sink["in_flight"]:
        yield f"{waiting} turns wait and none is the oldest"


def untrue_pages(world: World, before: Known, after: Known) -> Iterator[str]:
    """What in the pages of the monitoring is not true."""
    alive, _ = world.service.get("/healthz")
    if alive != 200:
        yield f"/healthz answers {alive}"
    code, text = world.service.get("/readyz")
    if code != 200 or not json.loads(text)["ready"]:
        yield f"/readyz answers {code}: {text}"
    code, text = world.service.get("/metrics")
    recorded = [
        float(line.split()[-1]) for line in text.splitlines() if line.startswith("turnlog_turns_recorded_total")
    ]
    if code != 200 or not before.recorded <= sum(recorded) <= after.begun + world.talk.begun - before.begun:
        yield f"/metrics answers {code} and counts {sum(recorded):.0f} turns; recorded are {before.recorded}"


def unfinished(world: World, directory: Path) -> Iterator[str]:
    """What has not come to its end when nothing is recorded any more and all was delivered."""
    recorded: Counter[str] = Counter()
    ids: dict[int, str] = {}
    delivered: Counter[str] = Counter()
    for entry in EventLog.open(directory, read_only=True).read():
        match entry.event:
            case TurnRecorded() as event:
                recorded[event.turn_id] += 1
                ids[entry.seq] = event.turn_id
            case SyncSucceeded() as event:
                delivered.update(ids[seq] for seq in event.turns)
    wanted = Counter(map(str, range(world.talk.begun)))
    yield from _difference("recorded", recorded, wanted)
    yield from _difference("acknowledged", delivered, wanted)
    texts = Counter(text for number in range(world.talk.begun) for text in texts_of(number))
    yield from _difference("received", world.receiver.texts(), texts)


def _difference(what: str, found: Counter[str], wanted: Counter[str]) -> Iterator[str]:
    if missing := wanted - found:
        yield f"{missing.total()} were not {what}, such as {next(iter(missing))!r}"
    if surplus := found - wanted:
        yield f"{surplus.total()} too many were {what}, such as {next(iter(surplus))!r}"
