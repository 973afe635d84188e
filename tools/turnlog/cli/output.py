"""Printing: tables for people, JSON for programs."""

import os
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any
from unicodedata import east_asian_width

import msgspec

from turnlog.text import one_line as one_line

if TYPE_CHECKING:
    from turnlog.sync.life import AtSink
    from turnlog.sync.listing import TurnAtSink


def print_json(value: Any) -> None:
    """One JSON value on a line."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table: drawn on a terminal, aligned columns that are never cut off elsewhere."""
    cells = [[_cell(value) for value in row] for row in rows]
    if is_terminal():
        _draw(columns, cells)
        return
    widths = [max([_width(title), *(_width(row[i]) for row in cells)]) for i, title in enumerate(columns)]
    for row in (columns, *cells):
        padded = (cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True))
        sys.stdout.write("  ".join(padded).rstrip() + "\n")


def is_terminal() -> bool:
    """Whether a person looks at stdout."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def ago(then: datetime | None, now: datetime) -> str:
    """A time as a person says it: `3m ago`, `in 20s`."""
    if then is None:
        return "-"
    seconds = (now - then).total_seconds()
    return f"{duration(seconds)} ago" if seconds >= 0 else f"in {duration(-seconds)}"


def following(turn: "AtSink | TurnAtSink", now: datetime) -> str:
    """What a turn waits for, if it is for more than its turn: a time, an earlier turn, or the operator."""
    if turn.held:
        return "held: retry or skip it"
    if turn.waits_for is not None:
        return f"after {turn.waits_for}"
    if turn.next_attempt_at is not None:
        return f"{ago(turn.next_attempt_at, now)}, {turn.next_attempt_at:%Y-%m-%d %H:%M:%SZ}"
    return "-"


def duration(seconds: float) -> str:
    """Seconds as the largest unit that fits: `45s`, `12m`, `5h`, `3d`."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f}{unit}"
    return f"{seconds:.0f}s"


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%SZ")
    return one_line(str(value))


def _width(text: str) -> int:
    """How many columns a text takes where Chinese characters take two."""
    return len(text) if text.isascii() else sum(2 if east_asian_width(c) in "WF" else 1 for c in text)


def _draw(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    from rich.console import Console  # 40 ms that only a terminal needs
    from rich.table import Table
    from rich.text import Text

    table = Table(header_style="bold", box=None, pad_edge=False)
    for title in columns:
        table.add_column(title, overflow="fold")  # a turn's id is there to be copied
    for row in cells:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)
