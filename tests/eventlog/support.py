"""What the tests of the log share: small events, a clock that ticks, raw bytes of segments, and child processes."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from eventlog import Event, EventLog, Message, Problem, Report, SinkResumed, TurnRecorded

START = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)


class Ticker:
    """A clock that starts at a fixed time and goes on by a second and a microsecond at every look."""

    def __init__(self) -> None:
        self._looks = 0

    def __call__(self) -> datetime:
        self._looks += 1
        return START + (self._looks - 1) * timedelta(seconds=1, microseconds=1)


def note(number: int, text: str = "") -> SinkResumed:
    """A short event, told apart by its number."""
    return SinkResumed(sink=f"s{number}", reason=text)


def turn(number: int, text: str = "你好") -> TurnRecorded:
    """A turn, told apart by its number."""
    return TurnRecorded(turn_id=f"t{number}", messages=(Message("user", text), Message("assistant", "好")))


def open_log(directory: Path, **options: Any) -> EventLog:
    """A log that is only handed to the operating system, unless told otherwise: the tests cut no power."""
    return EventLog.open(directory, **{"durability": "os", "clock": Ticker(), **options})


def fill(directory: Path, events: Iterable[Event], **options: Any) -> list[int]:
    """Append events one by one and close the log; returns their seqs."""
    with open_log(directory, **options) as log:
        return [log.append(event) for event in events]


def segment_files(directory: Path) -> list[Path]:
    """The files of a log, in order."""
    return sorted((directory / "log").iterdir())


def snapshot(directory: Path) -> dict[str, bytes]:
    """The bytes of every file of a log by name."""
    return {path.name: path.read_bytes() for path in segment_files(directory)}


def restore(directory: Path, files: dict[str, bytes]) -> None:
    """Make a log's folder hold exactly these files."""
    folder = directory / "log"
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.name not in files:
            path.unlink()
    for name, data in files.items():
        (folder / name).write_bytes(data)


def lines_of(data: bytes) -> list[bytes]:
    """The lines of a segment, each with its newline; the last one may lack it."""
    return data.splitlines(keepends=True)


def contents(directory: Path, **options: Any) -> list[tuple[int, Any]]:
    """Seq and event of everything in a log, read without opening it to write."""
    log = EventLog.open(directory, read_only=True)
    return [(entry.seq, entry.event) for entry in log.read(**options)]


def said(directory: Path) -> list[tuple[int, Any]]:
    """The same without what the log itself wrote: segment headers and closed tails."""
    own = ("SegmentOpened", "TornTailClosed")
    return [(seq, event) for seq, event in contents(directory) if type(event).__name__ not in own]


def verify(directory: Path) -> Report:
    """The report on a log, made without opening it to write."""
    return EventLog.open(directory, read_only=True).verify()


def kinds(problems: Sequence[Problem]) -> set[str]:
    """The kinds of some problems."""
    return {problem.kind for problem in problems}


def assert_clean(directory: Path) -> Report:
    """A log is whole, with nothing to say against it, and its seqs have no holes but those that it explains."""
    report = verify(directory)
    assert report.problems == []
    assert report.ok
    return report


def python(script: str, *arguments: object, **options: Any) -> "subprocess.Popen[str]":
    """Start a child that runs `script` with the eventlog under test; it can be waited for and read from."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=child_environment(), **options)


def child_environment() -> dict[str, str]:
    """The environment in which a child imports the same packages as this process."""
    import eventlog

    root = str(Path(eventlog.__file__).parent.parent)
    return {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}


def run(script: str, *arguments: object) -> Any:
    """Run a child to its end and return the JSON that it printed."""
    with python(script, *arguments) as child:
        output, _ = child.communicate(timeout=60)
    assert child.returncode == 0, output
    return json.loads(output)
