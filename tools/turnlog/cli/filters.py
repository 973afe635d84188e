"""The options that choose turns, the same for every command that takes them."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from projections import STATE_NAMES
from turnlog.sync.listing import Filter

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
