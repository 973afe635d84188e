"""`turnlog record`: turns from arguments or stdin."""

import json
import os
import sys
from collections.abc import Iterator
from typing import Any

import click

from eventlog import TurnRecorded
from turnlog.cli.app import App, json_option, pass_app, say
from turnlog.cli.output import one_line, print_json
from turnlog.errors import BadTurn
from turnlog.recorder import Recorded, TurnRecorder, make_turn

_READ_BYTES = 1024 * 1024


@click.command("record")
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@click.option("--user", help="Whose turn it is.  [default: $USER_ID, or 'default']")
@click.option("--conversation", default="default", show_default=True, help="Where it was said.")
@click.option("--source", default="live", show_default=True, help="Which program it came from.")
@click.option("--turn-id", help="The turn's own id: the same turn is recorded once. Only with TEXT.")
@json_option
@pass_app
def command(
    app: App,
    texts: tuple[str, ...],
    user: str | None,
    conversation: str,
    source: str,
    turn_id: str | None,
    as_json: bool,
) -> int:
    """Record turns from arguments or JSON Lines on stdin.

    TEXTs are one turn: what the user said, what the assistant answered, and so on in turn. Without any, stdin is
    read: one turn a line, {"user", "conversation", "messages": [{"role", "content"}, ...]} with any other field of
    TurnRecorded; what a line does not say is taken from the options. Prints seq and turn_id of each turn when it is
    durable.
    """
    defaults: dict[str, Any] = {"user": user, "conversation": conversation, "source": source}
    with app.recorder() as recorder:
        if texts:
            roles = ("user", "assistant")
            messages = [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]
            turn = make_turn({**defaults, "turn_id": turn_id, "messages": messages})
            _print(recorder.record_many([turn]), as_json=as_json)
            return 0
        if turn_id is not None or sys.stdin.isatty():
            raise click.UsageError("say the TEXTs of a turn, or pipe turns as JSON Lines into stdin")
        return _record_stdin(recorder, defaults, as_json=as_json)


def _record_stdin(recorder: TurnRecorder, defaults: dict[str, Any], *, as_json: bool) -> int:
    """Record as the lines come; one that is no turn is told and passed over, the others are recorded."""
    number = bad = 0
    for lines in _batches():
        turns: list[tuple[int, TurnRecorded]] = []
        for line in lines:
            number += 1
            if not line.strip():
                continue
            try:
                turns.append((number, _parse(line, defaults)))
            except BadTurn as error:
                bad += 1
                say(f"line {number} of stdin was not recorded: {error}")
        for batch in _without_repeats(turns):
            bad += _record(recorder, batch, as_json=as_json)
    return 2 if bad else 0


def _without_repeats(turns: list[tuple[int, TurnRecorded]]) -> Iterator[list[tuple[int, TurnRecorded]]]:
    """The turns in stretches in which no id comes twice, so that each is recorded or refused as a whole."""
    stretch: dict[str, tuple[int, TurnRecorded]] = {}
    for number, turn in turns:
        if turn.turn_id in stretch:
            yield list(stretch.values())
            stretch = {}
        stretch[turn.turn_id] = (number, turn)
    yield list(stretch.values())


def _record(recorder: TurnRecorder, turns: list[tuple[int, TurnRecorded]], *, as_json: bool) -> int:
    """Record a batch; if one of it is refused, each alone. Returns how many were refused."""
    try:
        _print(recorder.record_many([turn for _, turn in turns]), as_json=as_json)
        return 0
    except BadTurn as error:
        if len(turns) == 1:
            say(f"line {turns[0][0]} of stdin was not recorded: {error}")
            return 1
    return sum(_record(recorder, [turn], as_json=as_json) for turn in turns)


def _batches() -> Iterator[list[bytes]]:
    """The lines of stdin, as many at a time as are there."""
    rest = b""
    while data := os.read(sys.stdin.fileno(), _READ_BYTES):
        *lines, rest = (rest + data).split(b"\n")
        if lines:
            yield lines
    if rest:
        yield [rest]


def _parse(line: bytes, defaults: dict[str, Any]) -> TurnRecorded:
    try:
        said = json.loads(line)  # not msgspec: it refuses lone surrogates, which people's files have
    except RecursionError as error:
        raise BadTurn("it is nested too deeply") from error
    except ValueError as error:
        raise BadTurn(f"it is no JSON ({error})") from error
    if not isinstance(said, dict):
        raise BadTurn(f"a turn is a JSON object with messages, not {type(said).__name__}")
    return make_turn({**defaults, **said})


def _print(results: list[Recorded], *, as_json: bool) -> None:
    for result in results:
        if as_json:
            print_json(result)
        else:
            print(f"{result.seq} {one_line(result.turn_id)}{'' if result.new else ' (already recorded)'}")
    sys.stdout.flush()
