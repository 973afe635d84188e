"""One pass over a log, any number of folds."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from eventlog import Entry, EventLog, Problem, Reader
from projections.bulk import BulkDecoder
from projections.checkpoint import Checkpoints
from projections.fold import Fold


def fold_all(entries: Iterable[Entry], *folds: Fold[Any]) -> tuple[Any, ...]:
    """The states, in the order of the folds, after all entries."""
    states = tuple(fold.initial() for fold in folds)
    take_all(entries, folds, states)
    return states


def take_all(entries: Iterable[Entry], folds: Sequence[Fold[Any]], states: Sequence[Any]) -> int:
    """Take entries into states; returns how many there were."""
    pairs = tuple(zip(folds, states, strict=True))
    count = 0
    for entry in entries:
        for fold, state in pairs:
            fold.apply(state, entry)
        count += 1
    return count


def replay(
    log: EventLog,
    *folds: Fold[Any],
    until: int | datetime | None = None,
    problems: list[Problem] | None = None,
    checkpoints: Checkpoints | None = None,
) -> tuple[Any, ...]:
    """The folds' states from the log alone; `until` (a seq or a UTC time, inclusive) shows the past.

    With `checkpoints` it begins at them, where there are some that fit. What is damaged is passed over and told in
    `problems`. Raises LogUnavailable, NewerFormat.
    """
    if until is not None:
        return fold_all(_up_to(log.read(problems=problems), until), *folds)
    live = Live(log, *folds, checkpoints=checkpoints)
    try:
        live.catch_up()
    finally:
        live.close()
        if problems is not None:
            problems.extend(live.problems)
    return live.states


def _up_to(entries: Iterator[Entry], until: int | datetime) -> Iterator[Entry]:
    """The beginning of the log up to a seq, or up to the first event later than a time."""
    for entry in entries:
        if (entry.seq if isinstance(until, int) else entry.at) > until:  # type: ignore[operator]
            return
        yield entry


class Live:
    """Folds that are kept up to date: each `catch_up` takes in what the log has got since.

    `states` are other objects after a `catch_up` that something came between; those before may be half a block ahead.
    With `checkpoints` they begin where a checkpoint left them, and are saved now and then, and by `close`.
    """

    def __init__(self, log: EventLog, *folds: Fold[Any], checkpoints: Checkpoints | None = None) -> None:
        self._folds = folds
        self._decoder = BulkDecoder(*folds)
        self._checkpoints = checkpoints
        self._log = log
        self._begin()

    def _begin(self) -> None:
        """From the start, or from a checkpoint; also after something came between in the middle of a block."""
        folds, checkpoints = self._folds, self._checkpoints
        self.states = checkpoints.load(folds) if checkpoints else tuple(fold.initial() for fold in folds)
        self._reader: Reader = self._log.reader(gt=min((state.last_seq for state in self.states), default=0))
        self._whole = True

    @property
    def problems(self) -> list[Problem]:
        """What was passed over so far."""
        return self._reader.problems

    def catch_up(self) -> int:
        """Take in what is new; returns how many events that were."""
        if not self._whole:
            self._begin()
        self._whole = False  # until everything of a block has been taken, by all folds
        count = self._take_new()
        self._whole = True
        if count and self._checkpoints:
            self._checkpoints.save_if_due(self._folds, self.states)
        return count

    def _take_new(self) -> int:
        if not self._decoder.can_decode:
            return take_all(self._reader.read(), self._folds, self.states)
        count = 0
        for block in self._reader.read_blocks():
            if isinstance(block, Entry):
                count += take_all((block,), self._folds, self.states)
                continue
            events = self._decoder.decode(block.lines)
            if events and block.accept([event.seq for event in events]):
                self._take_decoded(events)
                count += len(events)
            else:
                count += take_all(block.entries(), self._folds, self.states)
        return count

    def _take_decoded(self, events: list[Any]) -> None:
        last_seq = events[-1].seq
        for fold, state in zip(self._folds, self.states, strict=True):
            handlers, otherwise, known = fold.handlers, fold.otherwise, state.last_seq
            for event in events if known < events[0].seq else [event for event in events if event.seq > known]:
                handler = handlers.get(event.type, otherwise)
                if handler is not None:
                    handler(state, event)
            state.last_seq = max(known, last_seq)

    def close(self) -> None:
        """Let go of the log's file."""
        if self._checkpoints and self._whole:
            self._checkpoints.save_if_due(self._folds, self.states, stopping=True)
        self._reader.close()
