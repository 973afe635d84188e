"""`turnlog record`: from arguments, and from JSON Lines on stdin."""

import json
import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnlog.cli.commands.record_ import _parse
from turnlog.errors import BadTurn

from .support import Cli


def line(text: str = "hi", **fields: Any) -> str:
    return json.dumps({"messages": [{"role": "user", "content": text}], **fields}) + "\n"


def turns(cli: Cli) -> list[Any]:
    return cli.events("TurnRecorded")


def test_the_texts_are_said_in_turn(cli: Cli) -> None:
    """The first by the user, the next by the assistant, and so on; seq and turn_id are printed."""
    result = cli.ok("record", "--user", "ann", "--conversation", "c", "--source", "s", "你好", "Hello!", "", "-")
    (turn,) = turns(cli)
    assert result.out == f"2 {turn.turn_id}\n"
    assert (turn.user, turn.conversation, turn.source) == ("ann", "c", "s")
    said = [("user", "你好"), ("assistant", "Hello!"), ("user", ""), ("assistant", "-")]
    assert [(message.role, message.content) for message in turn.messages] == said


def test_a_turn_id_is_an_idempotency_key(cli: Cli) -> None:
    """The same again writes nothing, other content is a new revision; the answer says which."""
    assert cli.ok("record", "--turn-id", "t", "hi").out == "2 t\n"
    assert cli.ok("record", "--turn-id", "t", "hi").out == "2 t (already recorded)\n"
    assert cli.ok("record", "--turn-id", "t", "ho").out == "3 t\n"
    assert [(turn.revision, turn.supersedes) for turn in turns(cli)] == [(1, None), (2, 2)]


@pytest.mark.parametrize("turn_id", ["-5", "--", "a b", "3", "你\u2028好", "../../x", "x" * 5000, "\x1b[2J\n"])
def test_odd_ids_are_ids(cli: Cli, turn_id: str) -> None:
    """What is recorded under any id is found by it, and prints in one line."""
    printed = cli.ok("record", f"--turn-id={turn_id}", "hi").out
    assert printed.count("\n") == 1
    assert "\x1b" not in printed
    (shown,) = cli.ok("show", "--json", "--", turn_id).objects
    assert shown["turn_id"] == turn_id
    assert "\x1b" not in cli.ok("show", "--", turn_id).out + cli.ok("tail").out


def test_stdin_takes_every_field_of_a_turn(cli: Cli) -> None:
    """One turn a line; what a line does not say is taken from the options."""
    given = {
        "turn_id": "t", "source": "s", "user": "u", "conversation": "c", "started_at": "2026-01-01T10:00:00+08:00",
        "ended_at": "2026-01-01T02:00:01", "model": "m-1", "usage": {"in": 3}, "meta": {"k": [1, None]},
        "delivered_to": ["memory"],
    }  # fmt: skip
    options = ("--user", "bob", "--conversation", "d", "--source", "o")
    cli.ok("record", *options, stdin=line(**given) + "\n\n" + line() + line(user=None)[:-1])
    first, second, third = turns(cli)
    assert (first.turn_id, first.source, first.user, first.conversation) == ("t", "s", "u", "c")
    assert first.started_at.isoformat() == "2026-01-01T02:00:00+00:00"
    assert first.ended_at.isoformat() == "2026-01-01T02:00:01+00:00"
    assert (first.model, first.usage, first.meta) == ("m-1", {"in": 3}, {"k": [1, None]})
    assert first.delivered_to == ("memory",)
    assert (second.source, second.user, second.conversation) == ("o", "bob", "d")
    assert third.user == "default"


def test_every_field_of_a_message_is_taken(cli: Cli) -> None:
    """Also its time, which is made UTC, and its structured parts."""
    part = {"type": "tool_call", "id": "1", "name": "ls", "data": {"path": "/"}}
    message = {
        "role": "tool",
        "content": "c",
        "id": "m",
        "name": "n",
        "at": "2026-01-01T10:00:00+08:00",
        "parts": [part],
    }
    cli.ok("record", stdin=json.dumps({"messages": [message]}))
    (stored,) = turns(cli)[0].messages
    assert (stored.role, stored.id, stored.name, stored.at.isoformat()) == (
        "tool",
        "m",
        "n",
        "2026-01-01T02:00:00+00:00",
    )
    assert (stored.parts[0].type, stored.parts[0].data) == ("tool_call", {"path": "/"})


BAD_LINES = {
    "{": "it is no JSON (",
    "\xff": "it is no JSON (",
    "[" * 100_000: "it is nested too deeply",
    '{"messages": [], "meta": ' + '{"a":' * 300 + "1" + "}" * 301: "the turn: it is nested more than 128 levels deep",
    "null": "a turn is a JSON object with messages, not NoneType",
    "[1]": "a turn is a JSON object with messages, not list",
    "{}": "the turn has no messages; a turn has at least one",
    '{"turn_id": "t", "messages": []}': "the turn 't' has no messages; a turn has at least one",
    '{"messages": 5}': "the turn: messages must be a list, not int",
    '{"messages": "hi"}': "the turn: messages must be a list, not str",
    '{"messages": ["hi"]}': "the turn, message 1 must be a table of keys and values, not str",
    line(usr="ann"): "the turn: unknown key 'usr'; did you mean 'user'?",
    line(user=7): "the turn: Expected `str | null`, got `int` at `user`",
    line(user=""): "the turn: TurnRecorded.user must be a text that is not empty",
    line(turn_id=""): "the turn: TurnRecorded.turn_id must be a text that is not empty",
    line(started_at="yesterday"): "the turn: Invalid RFC3339 encoded datetime at `started_at`",
    line(started_at="0001-01-01T00:00:00+12:00"): "the turn: the time 0001-01-01T00:00:00+12:00 is out of range in UTC",
    line(seq=3): "the turn: unknown key 'seq'",
    line(revision=3): "the turn: unknown key 'revision'",
    '{"messages": [{"role": "robot"}]}': "the turn, message 1: a message has the role 'robot'",
    '{"messages": [{"rolle": "user"}]}': "the turn, message 1: unknown key 'rolle'; did you mean 'role'?",
    '{"messages": [{"content": "hi"}]}': "the turn, message 1: missing key `role`",
    '{"messages": [{"role": "user", "content": null}]}': "the turn, message 1: Expected `str`, got `null`",
}


@pytest.mark.parametrize("bad", BAD_LINES, ids=lambda bad: bad[:40])
def test_a_line_that_is_no_turn_is_told_and_the_others_are_recorded(cli: Cli, bad: str) -> None:
    """One sentence with the line's number, exit code 2, and the turns around it are there."""
    bad_line = bad.encode("latin-1") if bad == "\xff" else bad.strip().encode()
    result = cli("record", "--json", stdin=line("before").encode() + bad_line + b"\n\n" + line("after").encode())
    assert (result.code, len(result.objects)) == (2, 2)
    assert result.sentence.startswith(f"line 2 of stdin was not recorded: {BAD_LINES[bad]}")
    assert [turn.messages[0].content for turn in turns(cli)] == ["before", "after"]


def test_lone_surrogates_are_replaced_and_noted(cli: Cli) -> None:
    """Half a character in a JSON escape, or bytes on the command line that are no UTF-8, do not stop a turn."""
    text = r'{"messages": [{"role": "user", "content": "\ud800 x \udc00"}], "user": "\udfff", "meta": {"\ud800": 1}}'
    cli.ok("record", stdin=text)
    cli.ok("record", "--user", "\udcff", "hi \udcfe")
    first, second = turns(cli)
    assert (first.messages[0].content, first.user) == ("\ufffd x \ufffd", "\ufffd")
    assert first.meta == {"\ufffd": 1, "replaced_surrogates": 4}
    assert (second.messages[0].content, second.user, second.meta) == ("hi \ufffd", "\ufffd", {"replaced_surrogates": 2})


def test_numbers_that_json_does_not_know_are_kept_as_text(cli: Cli) -> None:
    """Python writes NaN and Infinity into JSON; nothing of a turn is dropped."""
    cli.ok("record", stdin='{"messages": [{"role": "user"}], "meta": {"a": NaN, "b": [-Infinity, 1e999]}}')
    assert turns(cli)[0].meta == {"a": "NaN", "b": ["-Infinity", "Infinity"]}


def test_windows_line_ends_and_a_byte_order_mark_are_no_part_of_a_turn(cli: Cli) -> None:
    """A file made elsewhere is read as it is."""
    cli.ok("record", stdin="\ufeff" + line("a").strip() + "\r\n" + line("b").strip() + "\r\n\r\n")
    assert [turn.messages[0].content for turn in turns(cli)] == ["a", "b"]


def test_one_id_several_times_in_one_go(cli: Cli) -> None:
    """The same content is one turn, other content the next revision, another user's turn refused: in their order."""
    said = (line("1", turn_id="t"), line("1", turn_id="t"), line("2", turn_id="t"), line("1", turn_id="t"))
    other = line("9", turn_id="t", user="eve")
    result = cli("record", "--json", stdin="".join(said) + line("x", turn_id="new") + other + line("z", turn_id="last"))
    assert result.code == 2
    answers = [(o["turn_id"], o["seq"], o["revision"], o["new"]) for o in result.objects]
    same = ("t", 2, 1, True), ("t", 2, 1, False), ("t", 3, 2, True), ("t", 2, 1, False)
    assert answers == [*same, ("new", 4, 1, True), ("last", 5, 1, True)]
    assert result.sentence == (
        "line 6 of stdin was not recorded: the turn 't' is recorded for the user 'default' in the conversation "
        "'default', so it cannot be one of 'eve' in 'default'; give it a turn_id of its own"
    )


def test_a_turn_of_another_user_is_refused(cli: Cli) -> None:
    """A turn keeps its user; the sentence says whose it is, and nothing is written."""
    cli.record("hi", turn_id="t", user="ann")
    assert "is recorded for the user 'ann'" in cli.refused(2, "record", "--turn-id", "t", "--user", "bob", "hi")
    assert len(turns(cli)) == 1


def test_empty_stdin_records_nothing(cli: Cli) -> None:
    """Blank lines are no turns, and no error."""
    assert cli.ok("record", stdin="").out == cli.ok("record", stdin="\n \n\r\n").out == ""
    assert turns(cli) == []


@pytest.mark.parametrize("arguments", [("--turn-id", "t"), ("--user", ""), ("--user", "", "hi")])
def test_what_cannot_be_meant_is_refused(cli: Cli, arguments: tuple[str, ...]) -> None:
    """A turn id for many turns, an empty name."""
    assert cli("record", *arguments, stdin=line()).code == 2
    assert turns(cli) == []


def test_a_message_of_ten_megabytes_is_recorded_whole(cli: Cli) -> None:
    """There is no limit on what somebody pastes."""
    text = "长" * 3_500_000
    cli.ok("record", stdin=line(text))
    assert turns(cli)[0].messages[0].content == text
    assert len(cli.ok("show", "2").out) < 1000


def test_turns_are_recorded_as_they_come(cli: Cli) -> None:
    """Who pipes a turn into a running command gets its seq before the next turn is said."""
    with subprocess.Popen(cli.command("record"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for seq in (2, 3):
            process.stdin.write(line(turn_id=f"t{seq}"))
            process.stdin.flush()
            assert process.stdout.readline() == f"{seq} t{seq}\n"
        process.stdin.close()
        assert process.wait(60) == 0


@given(st.one_of(st.binary(max_size=40), st.text().map(lambda text: json.dumps({"messages": text}).encode())))
def test_whatever_a_line_holds_it_is_a_turn_or_a_bad_turn(raw: bytes) -> None:
    """No bytes make anything but an error with a sentence."""
    with pytest.raises(BadTurn):
        _parse(raw, {})
