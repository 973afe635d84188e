"""`turnlog export`: take away what was taken in."""

import re
from collections.abc import Iterator
from typing import Any

import click
import msgspec

from eventlog import Message, Part
from projections import CONVERSATIONS, Lane
from turnlog.cli.app import App, pass_app
from turnlog.cli.history import list_turns, to_wanted, wanted_options
from turnlog.cli.output import print_json
from turnlog.sinks.base import OutgoingTurn
from turnlog.sinks.rendering import render_turn

_BACKTICKS = re.compile("`+")


@click.command("export")
@click.option("--format", "form", type=click.Choice(("md", "jsonl")), default="jsonl", help="[default: jsonl]")
@click.option("--conversation", help="This conversation only.")
@wanted_options
@pass_app
def command(app: App, /, form: str, **chosen: Any) -> None:
    """Print turns as Markdown or JSON Lines.

    Conversation by conversation, of each turn its newest revision. What a line of JSON holds is in docs/sinks.md.
    """
    (state,) = app.replay(CONVERSATIONS)
    for lane, title, turns in list_turns(app.read_log(), state, to_wanted(**chosen)):
        if form == "jsonl":
            for turn in turns:
                print_json(render_turn(turn))
        else:
            for line in _markdown(lane, title, turns):
                click.echo(line)


def _markdown(lane: Lane, title: str | None, turns: Iterator[OutgoingTurn]) -> Iterator[str]:
    source, user, conversation = lane
    heading = False
    for turn in turns:
        if not heading:
            yield f"# {' '.join((title or conversation).split())}\n"
            yield f"{source}, {user}, {conversation}\n"
            heading = True
        at = turn.event.started_at or turn.recorded_at
        yield f"## {at:%Y-%m-%d %H:%M:%SZ}\n"
        for message in turn.event.messages:
            yield from _message(message)


def _message(message: Message) -> Iterator[str]:
    name = f" ({message.name})" if message.name else ""
    yield f"**{message.role}{name}**\n"
    if message.content:
        yield f"{message.content}\n"
    for part in message.parts:
        yield f"_{part.type}{f' {part.name}' if part.name else ''}_\n"
        text = _part_text(part)
        if text:
            fence = "`" * max(3, 1 + max(map(len, _BACKTICKS.findall(text)), default=0))  # longer than any in it
            yield f"{fence}\n{text}\n{fence}\n"


def _part_text(part: Part) -> str:
    known = {
        key: value for key, value in msgspec.to_builtins(part).items() if key not in ("type", "name", "text", "id")
    }
    data = msgspec.json.format(msgspec.json.encode(known)).decode() if known else ""
    return "\n".join(text for text in (part.text, data) if text)
