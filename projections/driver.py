"""One pass over a log, any number of folds."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from eventlog import Entry, EventLog, Problem
from projections.fold import Fold


def fold_all(entries: Iterable[Entry], *folds: Fold[Any]) -> tuple[Any, ...]:
    """The states, in the order of the folds, after all entries."""
    states = tuple(fold.initial() for fold in folds)
    take_all(entries, folds, states)
    return states


def take_all(entries: Iterable[Entry], folds: tuple[Fold[Any], ...], states: tuple[Any, ...]) -> int:
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
) -> tuple[Any, ...]:
    """The folds' states from the log alone; `until` (a seq or a UTC time, inclusive) shows the past.

    What is damaged is passed over and told in `problems`. Raises LogUnavailable, NewerFormat.
    """
    return fold_all(_up_to(log.read(problems=problems), until), *folds)


def _up_to(entries: Iterator[Entry], until: int | datetime | None) -> Iterator[Entry]:
    """The beginning of the log up to a seq, or up to the first event later than a time."""
    for entry in entries:
        if until is not None and (entry.seq if isinstance(until, int) else entry.at) > until:  # type: ignore[operator]
            return
        yield entry


class Live:
    """Folds that are kept up to date: each `catch_up` takes in what the log has got since."""

    def __init__(self, log: EventLog, *folds: Fold[Any]) -> None:
        self._reader = log.reader()
        self._folds = folds
        self.states = tuple(fold.initial() for fold in folds)

    def catch_up(self) -> int:
        """Take in what is new; returns how many events that were."""
        return take_all(self._reader.read(), self._folds, self.states)

    def close(self) -> None:
        """Let go of the log's file."""
        self._reader.close()
