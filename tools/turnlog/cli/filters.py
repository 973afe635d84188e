"""The options that choose turns, the same for every command that takes them."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

import click

from projections import STATE_NAMES
from turnlog.clock import as_utc
from turnlog.sync.listing import Filter


class Moment(click.ParamType[datetime]):
    """A time in RFC 3339, or a day; in UTC unless it says otherwise."""

    name = "TIME"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """The moment. Fails with a sentence for what is none."""
        try:
            return as_utc(datetime.fromisoformat(value))
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is no time such as 2026-11-20 or 2026-11-20T10:00:00Z", param, ctx)


F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--sink", metavar="NAME", help="At this sink only."),
    click.option("--user", help="Of this user only."),
    click.option("--conversation", help="Of this conversation only."),
    click.option("--source", help="From this source only."),
)


def filter_options(states: tuple[str, ...] = STATE_NAMES[1:]) -> Callable[[F], F]:
    """Add the options to a command; they arrive as `sink`, `user`, `conversation`, `source` and `state`."""

    def add(function: F) -> F:
        state = click.option("--state", type=click.Choice(states), help="In this state only.")
        for option in reversed((*_OPTIONS, state)):
            function = option(function)
        return function

    return add


def to_filter(turns: tuple[str, ...] = (), **chosen: Any) -> Filter:
    """The filter that TURN arguments and options make; a source's dashes are underscores."""
    source = chosen.pop("source", None)
    return Filter(turns=turns, source=source and source.replace("-", "_"), **chosen)
