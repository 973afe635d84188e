"""What a running delivery looks like: a live table on a terminal, a line now and then on a pipe. An import: a bar."""

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from eventlog import Event, SinkPaused, SinkResumed
from turnlog.cli.app import say
from turnlog.cli.output import one_line
from turnlog.sync.delivery import SinkDelivery
from turnlog.sync.engine import Engine

_LINE_SECONDS = 10.0
"""How often a pipe is told how far it is, while something happens."""

_DRAWN_PER_SECOND = 4

_BAR_BYTES_MIN = 4 * 1024 * 1024
"""Less is read before a bar could be looked at."""


class Progress:
    """Is told what an engine writes. This one only says what a person must know; others show more.

    `lasting` is a run that goes on: what it will not say at its end is said when it happens.
    """

    def __init__(self, *, lasting: bool) -> None:
        self.engine: Engine | None = None
        self._lasting = lasting

    def watch(self, engine: Engine) -> None:
        """The engine whose sinks are shown."""
        self.engine = engine

    def note(self, events: Sequence[Event]) -> None:
        """The engine appended these."""
        for event in events if self._lasting else ():
            if isinstance(event, SinkPaused):
                self.say(f"the sink {event.sink!r} is paused ({event.kind}): {event.reason}")
            elif isinstance(event, SinkResumed):
                self.say(f"the sink {event.sink!r} is back")

    def say(self, text: str) -> None:
        """Tell a person something."""
        say(text)


class Lines(Progress):
    """For a pipe: how far each sink is, every ten seconds in which something happened."""

    def __init__(self, *, lasting: bool) -> None:
        super().__init__(lasting=lasting)
        self._told_at = time.monotonic()

    def note(self, events: Sequence[Event]) -> None:
        """The engine appended these."""
        super().note(events)
        if self.engine is not None and time.monotonic() - self._told_at >= _LINE_SECONDS:
            self._told_at = time.monotonic()
            for sink in self.engine.sinks.values():
                self.say(f"{sink.name}: " + ", ".join(f"{name} {value}" for name, value in _figures(sink)))


class Table(Progress):
    """For a terminal: a table of the sinks, drawn anew by a thread of its own a few times a second."""

    def __init__(self, *, lasting: bool) -> None:
        super().__init__(lasting=lasting)
        from rich.console import Console  # 40 ms that only a terminal needs
        from rich.live import Live

        self._live = Live(
            console=Console(stderr=True),
            get_renderable=self._draw,
            refresh_per_second=_DRAWN_PER_SECOND,
            transient=True,
        )

    def say(self, text: str) -> None:
        """Tell it above the table."""
        self._live.console.print(f"turnlog: {one_line(text)}", markup=False, highlight=False)

    def __enter__(self) -> "Table":
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def _draw(self) -> Any:
        from rich.table import Table as Drawn

        drawn = Drawn(box=None, pad_edge=False, header_style="bold")
        for column in ("sink", "state", "in flight", "pending", "retrying", "delivered", "failed", "dead"):
            drawn.add_column(column, justify="left" if column in ("sink", "state") else "right")
        for sink in list(self.engine.sinks.values()) if self.engine is not None else []:
            figures = dict(_figures(sink))
            drawn.add_row(sink.name, _state(sink), *(str(value) for value in figures.values()))
        return drawn


@contextmanager
def show_progress(*, lasting: bool, quiet: bool) -> Iterator[Progress]:
    """What suits where stderr leads: nothing but what matters if `quiet`, lines, or a table."""
    if quiet:
        yield Progress(lasting=lasting)
    elif sys.stderr.isatty() and threading.current_thread() is threading.main_thread():
        with Table(lasting=lasting) as table:
            yield table
    else:
        yield Lines(lasting=lasting)


@contextmanager
def import_bar(size_bytes: int, *, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, for files large enough to wait for: bytes, turns, rate and the time that is left.

    What it gives is told of each few bytes and turns that were read.
    """
    if quiet or size_bytes < _BAR_BYTES_MIN or not sys.stderr.isatty():
        yield lambda *_: None
        return
    from rich import progress as bars
    from rich.console import Console

    columns = (
        bars.TextColumn("importing"),
        bars.BarColumn(),
        bars.DownloadColumn(),
        bars.TextColumn("{task.fields[turns]} turns"),
        bars.TransferSpeedColumn(),
        bars.TimeRemainingColumn(),
    )
    with bars.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task, turns = bar.add_task("importing", total=size_bytes, turns=0), 0

        def tell(read_bytes: int, found: int) -> None:
            nonlocal turns
            turns += found
            bar.update(task, advance=read_bytes, turns=turns)

        yield tell


def _figures(sink: SinkDelivery) -> list[tuple[str, int]]:
    totals = sink.state.totals() if sink.is_owed else {}
    return [
        ("in flight", sink.under_way),
        ("pending", totals.get("pending", 0)),
        ("retrying", totals.get("retrying", 0)),
        ("delivered", sink.counts.delivered),
        ("failed", sink.counts.failed),
        ("dead", sink.counts.dead),
    ]


def _state(sink: SinkDelivery) -> str:
    if not sink.is_owed:
        return "not enrolled"
    pause = sink.state.pause
    return f"paused ({pause.kind})" if pause is not None else "ok"
