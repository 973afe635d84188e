"""What was taken in can be seen and taken away: conversations, show, export."""

import json

import pytest

from eventlog import ConversationNoted, EventLog
from turnlog import Recorder

from .support import Cli


@pytest.fixture
def told(cli: Cli) -> Cli:
    """Two conversations, one of them with a title and a turn that grew."""
    with Recorder(cli.directory) as recorder:
        say = {"user": "ann", "conversation": "c1", "started_at": "2026-11-20T10:00:00Z"}
        for texts in (["Where is Rome?"], ["Where is Rome?", "In Italy."]):
            roles = ("user", "assistant")
            messages = [{"role": roles[i], "content": text} for i, text in enumerate(texts)]
            recorder.record(turn_id="t1", messages=messages, **say)
        part = {"type": "tool_call", "name": "map", "data": {"place": "Rome"}, "text": "a ``` fence"}
        recorder.record(turn_id="t2", messages=[{"role": "assistant", "content": "", "parts": [part]}], **say)
        recorder.record(user="bob", conversation="c2", source="codex", messages=[{"role": "user", "content": "Hi"}])
    with EventLog.open(cli.directory) as log:
        log.append(ConversationNoted(source="live", conversation="c1", title="Rome  trip"))
    return cli


def test_conversations_are_listed(told: Cli) -> None:
    """With titles and the number of turns, a turn with revisions once; filters choose."""
    first, second = told.ok("conversations", "--json").objects
    assert (first["conversation"], first["title"], first["turns"], first["user"]) == ("c1", "Rome  trip", 2, "ann")
    assert (second["source"], second["title"], second["turns"]) == ("codex", None, 1)
    assert "Rome" in told.ok("conversations").out
    for arguments, names in (
        (["--source", "codex"], ["c2"]),
        (["--user", "ann"], ["c1"]),
        (["--grep", "in italy"], ["c1"]),
        (["--grep", "nothing like it"], []),
        (["--since", "2099-01-01"], []),
        (["--since", "2026-11-01T00:00:00+02:00"], ["c1", "c2"]),
    ):
        assert [row["conversation"] for row in told.ok("conversations", "--json", *arguments).objects] == names


def test_a_time_that_is_none_is_refused(told: Cli) -> None:
    """In a sentence."""
    assert "'soon' is no time" in told.refused(2, "conversations", "--since", "soon")


def test_a_conversation_is_shown_by_its_name(told: Cli) -> None:
    """Turn by turn, each as it is now; with --json as an export has them."""
    out = told.ok("show", "c1").out
    assert "conversation c1, Rome  trip, source live, user ann" in out
    assert out.index("Where is Rome?") < out.index("In Italy.")
    assert out.count("turn t1") == 1
    assert [turn["turn_id"] for turn in told.ok("show", "c1", "--json").objects] == ["t1", "t2"]


def test_an_export_holds_every_turn_as_it_is_now(told: Cli) -> None:
    """JSON Lines with all that is known; filters choose."""
    turns = told.ok("export").objects
    assert [(turn["turn_id"], turn["revision"]) for turn in turns[:2]] == [("t1", 2), ("t2", 1)]
    assert [message["content"] for message in turns[0]["messages"]] == ["Where is Rome?", "In Italy."]
    assert turns[1]["messages"][0]["parts"][0]["data"] == {"place": "Rome"}
    assert len(turns) == 3
    assert [turn["user"] for turn in told.ok("export", "--conversation", "c2").objects] == ["bob"]
    assert told.ok("export", "--since", "2099-01-01").out == ""


def test_an_export_as_markdown_can_be_read(told: Cli) -> None:
    """A heading for each conversation and turn; what is structured is fenced, whatever stands in it."""
    out = told.ok("export", "--format", "md", "--conversation", "c1").out
    assert out.startswith("# Rome trip\n\nlive, ann, c1\n\n## 2026-11-20 10:00:00Z\n\n**user**\n\nWhere is Rome?\n")
    fenced = out[out.index("````\n") :]
    assert fenced.startswith("````\na ``` fence\n{")
    assert json.loads(fenced[fenced.index("{") : fenced.index("\n````", 5)]) == {"data": {"place": "Rome"}}
