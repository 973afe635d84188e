"""The old way: one JSONL file, read and written whole whenever a turn's `synced` changes. Beside it, Turnlog's."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from itertools import count
from pathlib import Path

from report import Row, interleave, time_row
from samples import SINK, contents, turn

from bench import Bench
from eventlog import EventLog, SinkEnrolled, SyncAttempted, SyncSucceeded

_CHANGES_A_ROUND = 50


def old_way_cases(bench: Bench) -> Iterator[Row]:
    """What it costs to note that one turn was delivered, with more and more turns beside it."""
    measures: dict[str, Callable[[], float]] = {}
    with ExitStack() as stack:
        for turns in bench.sizes.old_way_turns:
            directory = bench.fresh(f"old-way/{turns}")
            log = stack.enter_context(EventLog.open(directory))
            log.append(SinkEnrolled(sink=SINK))
            seqs = log.append_many([turn(number, content) for number, content in enumerate(contents(turns))])
            measures[f"old-way/rewrite/{turns}-turns"] = partial(_rewrite, _old_file(directory, turns), count())
            measures[f"old-way/turnlog/{turns}-turns"] = partial(_append, log, iter(seqs))
        for measure in measures.values():
            measure()
        results = interleave(measures, bench.sizes.rounds)
    for case in results:
        reference = case.replace("/turnlog/", "/rewrite/")
        yield time_row(results, case, "ms/change", None if reference == case else reference)


def _old_file(directory: Path, turns: int) -> Path:
    path = directory / "save_data.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for content in contents(turns):
            messages = [{"role": message.role, "content": message.content} for message in content]
            record = {"messages": messages, "synced": False, "retry_count": 0, "timestamp": "2024-12-04T10:30:00"}
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    return path


def _rewrite(path: Path, numbers: Iterator[int]) -> float:
    """One change, as those scripts made it; they synced nothing."""
    number, begin = next(numbers), time.perf_counter()
    with path.open(encoding="utf-8") as file:
        records = [json.loads(line) for line in file]
    records[number]["synced"] = True
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    return (time.perf_counter() - begin) * 1000


def _append(log: EventLog, seqs: Iterator[int]) -> float:
    """The same change here is two durable events: it is being sent, and it was taken."""
    begin = time.perf_counter()
    for _ in range(_CHANGES_A_ROUND):
        turns = (next(seqs),)
        attempt = log.append(SyncAttempted(sink=SINK, turns=turns))
        log.append(SyncSucceeded(attempt=attempt, sink=SINK, turns=turns, receipt="r1"))
    return (time.perf_counter() - begin) * 1000 / _CHANGES_A_ROUND
