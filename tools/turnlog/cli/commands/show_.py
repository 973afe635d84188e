"""`turnlog show`: one turn's life."""

from datetime import UTC, datetime
from typing import Any

import click

from eventlog import TurnRecorded
from projections import CONVERSATIONS
from turnlog.cli.app import App, json_option, pass_app
from turnlog.cli.history import Wanted, list_turns
from turnlog.cli.output import ago, following, one_line, print_json, print_table
from turnlog.errors import WrongUsage
from turnlog.sinks.rendering import render_turn
from turnlog.sync.life import AtSink, Life, LifeEvent, find_turns, tell_life


@click.command("show")
@click.argument("turn")
@json_option
@pass_app
def command(app: App, turn: str, as_json: bool) -> None:
    """Tell one turn's life at every sink.

    When it was recorded, attempts, errors, receipts. TURN is a seq or a turn id; of a turn with several revisions each
    is told. The name of a conversation tells what was said in it.
    """
    log = app.read_log()
    seqs = find_turns(log, turn)
    if not seqs and _show_conversations(app, turn, as_json=as_json):
        return
    if not seqs:
        raise WrongUsage(f"there is no turn {turn!r} in {app.directory}; `turnlog tail` shows what is there")
    for seq in seqs:
        life = tell_life(log, seq, policy=app.policy)
        if as_json:
            print_json(life)
        else:
            _print(life)


def _show_conversations(app: App, name: str, *, as_json: bool) -> bool:
    """Tell the conversations of this name; whether there is one."""
    (state,) = app.replay(CONVERSATIONS)
    found = False
    for lane, title, turns in list_turns(app.read_log(), state, Wanted(conversation=name)):
        found = True
        if as_json:
            for turn in turns:
                print_json(render_turn(turn))
            continue
        source, user, _ = lane
        _tell(f"conversation {name}{f', {title}' if title else ''}, source {source}, user {user}")
        for turn in turns:
            at = turn.event.started_at or turn.recorded_at
            _tell(f"turn {turn.event.turn_id}, seq {turn.seq}, {at:%Y-%m-%d %H:%M:%SZ}")
            _tell_messages(turn.event)
    return found


def _tell_messages(turn: TurnRecorded) -> None:
    for message in turn.messages:
        text = " ".join(message.content.split())
        _tell(f"  {message.role}: {text[:200]}{'...' if len(text) > 200 else ''}")


def _print(life: Life) -> None:
    turn, now = life.turn, datetime.now(UTC)
    _tell(f"turn {life.turn_id}, revision {life.revision}, seq {life.seq}, recorded {ago(life.recorded_at, now)}")
    _tell(f"source {turn.source}, user {turn.user}, conversation {turn.conversation}")
    _tell_messages(turn)
    if turn.delivered_to:
        _tell(f"delivered before it was recorded: {', '.join(turn.delivered_to)}")
    for name, sink in life.sinks.items():
        _tell(f"at {name}: {_where(sink, now)}")
    if life.events:
        print_table(("seq", "at", "event", "detail"), [(e.seq, e.at, e.type, _detail(e)) for e in life.events])


def _tell(text: str) -> None:
    click.echo(one_line(text))


def _where(sink: AtSink, now: datetime) -> str:
    parts = [sink.state, f"{sink.attempts} attempts counted"]
    if sink.waits_for or sink.next_attempt_at or sink.held:
        parts.append(f"next {following(sink, now)}")
    if sink.last_error:
        parts.append(f"last error {sink.last_error.kind}: {sink.last_error.message}")
    return ", ".join(parts)


def _detail(event: LifeEvent) -> str:
    return ", ".join(
        f"{key} {_plain(value)}" for key, value in event.fields.items() if value not in (None, "", 0, False)
    )


def _plain(value: Any) -> str:
    return ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
