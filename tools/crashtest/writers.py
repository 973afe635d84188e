"""Processes that append until they are told to end, and say what was acknowledged."""

import os
import signal
import threading
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

from children import Child
from rounds import Round, seeded
from sayings import Id, batch_of, event_of

from eventlog import EventLog, EventLogError

_SECONDS_MAX = 20

HANGS = f"a writer did not end within {_SECONDS_MAX} seconds (stderr tells where it waits)"
"""What is said of one that the kernel had to end."""


class _Ending:
    """Whether to end. No threading.Event: a signal handler that sets one waits for ever for who is just setting it."""

    now = False


def start_writer(this: Round, directory: Path, author: str, **options: Any) -> Child:
    """A process that opens the log with these options and appends; it closes its log and ends after SIGTERM."""
    seed = this.random.random()
    segment_bytes = int(10 ** this.random.uniform(2.5, 5.5))

    def work(pipe: int) -> None:
        ending = _Ending()

        def end(_number: int, _frame: FrameType | None) -> None:
            ending.now = True

        signal.signal(signal.SIGTERM, end)
        with this.build.open(directory, segment_bytes=segment_bytes, **options) as log:
            _write(log, author, seeded(seed), pipe, ending)

    return Child(work, seconds=_SECONDS_MAX)


def _write(log: EventLog, author: str, random: Random, pipe: int, ending: _Ending) -> None:
    """One or two threads append."""
    seeds = [random.random() for _ in range(random.choice([1, 1, 2]))]
    threads = [
        threading.Thread(target=_append, args=(log, f"{author}.{number}", seeded(seed), pipe, ending))
        for number, seed in enumerate(seeds)
    ]
    for thread in threads[1:]:
        thread.start()
    threads[0].run()  # in this thread, which sees the signal
    for thread in threads[1:]:
        thread.join()


def _append(log: EventLog, author: str, random: Random, pipe: int, ending: _Ending) -> None:
    """Append one batch after the other; each is told of when it is acknowledged. An error is told too, and ends it."""
    number = 0
    while not ending.now:
        try:
            append_and_tell(log, author, number, random.choice([1, 1, 1, 2, 5, 30]), pipe)
        except EventLogError as error:
            os.write(pipe, f"!{error}\n".encode())
            ending.now = True
        number += 1


def append_and_tell(log: EventLog, author: str, number: int, parts: int, pipe: int) -> None:
    """Append one batch, and tell of it when that has returned."""
    events = [event_of(identity) for identity in batch_of(author, number, parts)]
    first = log.append(events[0]) if parts == 1 else log.append_many(events)[0]
    os.write(pipe, f"{author} {number} {parts} {first}\n".encode())


def told(writer: Child) -> tuple[dict[Id, int], list[str]]:
    """What a writer that has ended had said: what was acknowledged, and the errors that it met."""
    return parse(writer.lines)


def parse(lines: list[str]) -> tuple[dict[Id, int], list[str]]:
    """The same, from the lines that were said."""
    acknowledged = {}
    for line in lines:
        if line.startswith("!"):
            continue
        author, number, parts, first = line.split()
        for identity in batch_of(author, int(number), int(parts)):
            acknowledged[identity] = int(first) + identity.part
    return acknowledged, [line[1:] for line in lines if line.startswith("!")]
