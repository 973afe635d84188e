"""What a run says: one row per case, as a table or as JSON Lines."""

import json
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

Rounds = Mapping[str, Sequence[float]]
"""What each case measured, a figure per round."""


@dataclass(frozen=True)
class Row:
    """One case. `ratio` says how many times better it is than the case `reference`: above 1 it wins."""

    case: str
    value: float
    unit: str
    ratio: float | None = None
    reference: str | None = None


def interleave(measures: Mapping[str, Callable[[], float]], rounds: int) -> Rounds:
    """Run every measure once, then every one again (A B C A B C), so that a noisy moment hits all alike."""
    results: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(rounds):
        for name, measure in measures.items():
            results[name].append(measure())
    return results


def rate_row(results: Rounds, case: str, unit: str, reference: str | None = None, *, name: str | None = None) -> Row:
    """The median of a case whose figures are rates, and its ratio to another: the median of the rounds' ratios.

    `name` is what the row is called if not like the case.
    """
    ratio = None
    if reference is not None:
        ratio = statistics.median(a / b for a, b in zip(results[case], results[reference], strict=True))
    return _rounded(Row(name or case, statistics.median(results[case]), unit, ratio, reference))


def time_row(results: Rounds, case: str, unit: str, reference: str | None = None) -> Row:
    """The same for figures that are times, of which less is better."""
    ratio = None
    if reference is not None:
        ratio = statistics.median(b / a for a, b in zip(results[case], results[reference], strict=True))
    return _rounded(Row(case, statistics.median(results[case]), unit, ratio, reference))


def single_row(case: str, value: float, unit: str) -> Row:
    """A figure that is compared with nothing."""
    return _rounded(Row(case, value, unit))


def percentile(values: Iterable[float], percent: float) -> float:
    """The smallest of the values that `percent` of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def as_json(row: Row) -> str:
    """A row as one line of JSON."""
    return json.dumps(asdict(row))


def as_table(rows: Sequence[Row]) -> str:
    """The rows under each other, in columns."""
    head = ("case", "value", "unit", "ratio", "reference")
    cells = [head, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(head))]
    return "\n".join(_line(line, widths) for line in cells)


def _rounded(row: Row) -> Row:
    return Row(row.case, _significant(row.value), row.unit, row.ratio and _significant(row.ratio), row.reference)


def _significant(value: float) -> float:
    return float(f"{value:.4g}")


def _cells(row: Row) -> tuple[str, str, str, str, str]:
    ratio = "" if row.ratio is None else f"{row.ratio:,.2f}"
    digits = 0 if row.value >= 100 else 2
    return row.case, f"{row.value:,.{digits}f}", row.unit, ratio, row.reference or ""


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    right = (1, 3)  # numbers end under each other
    padded = (
        cell.rjust(width) if column in right else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join(padded).rstrip()
