"""Claude Code's files: sub-agents, forks and copies, growth, damage."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from eventlog import ConversationNoted, TurnRecorded
from turnlog.errors import WrongUsage
from turnlog.recorder import TurnRecorder
from turnlog.sources.base import Chunk, Unreadable
from turnlog.sources.claude_code import ClaudeCode
from turnlog.sources.importing import ImportCounts, import_streams
from turnlog.sources.registry import recognise
from turnlog.testing.source_contract import ids_of, read_all, turns_of

from .claude_code_samples import OTHER, SESSION, Script, lines, prompts_of, said_in, talk, text, turns_in, write


def unreadable_in(path: Path) -> list[Unreadable]:
    return [piece for chunk in read_all(ClaudeCode(), [path]) for piece in chunk.unreadable]


def bring_in(log: Path, *paths: Path) -> ImportCounts:
    with TurnRecorder(log, durability="os") as recorder:
        source = ClaudeCode(user="amy")
        return import_streams(recorder, source, source.discover(paths))


def noted_in(log: Path) -> list[ConversationNoted]:
    with TurnRecorder(log, durability="os") as recorder:
        return [entry.event for entry in recorder.log.read() if isinstance(entry.event, ConversationNoted)]


def names_and_texts(turn: TurnRecorded) -> list[tuple[str | None, str]]:
    return [(message.name, message.content or message.parts[0].type) for message in turn.messages]


# --- sub-agents -------------------------------------------------------------------------------------------------------


def starter() -> Script:
    """A session of three turns, of which the second starts two agents."""
    script = Script()
    script.user("one")
    script.user("two")
    script.call("t1", "Task", prompt="look here")
    script.call("t2", "Agent", prompt="look there")
    script.result("t1", toolUseResult={"agentId": "a1"})
    script.result("t2")
    script.user("three")
    script.assistant(text("done"), mid="msg_9")
    return script


def agent(agent_id: str, prompt: str, answer: str, first: int = 500) -> Script:
    script = Script(first=first, isSidechain=True, agentId=agent_id)
    script.user(prompt)
    script.assistant(text(answer), mid=f"msg_{agent_id}", usage={"output_tokens": 5})
    return script


IN_ORDER = [
    (None, "two"),
    (None, "tool_call"),
    ("a1", "look here"),
    ("a1", "here it is"),
    (None, "tool_call"),
    ("a2", "look there"),
    ("a2", "there it is"),
    (None, "tool_result"),
    (None, "tool_result"),
]


def check_agents(turns: list[TurnRecorded]) -> None:
    assert prompts_of(turns) == [["one"], ["two"], ["three"]]
    assert names_and_texts(turns[1]) == IN_ORDER
    assert turns[1].usage == {"output_tokens": 10}
    assert said_in(turns[1], "system")[0].content == "look here"


def test_agents_within_the_file(tmp_path: Path) -> None:
    """The oldest versions write their lines into the session's own; their prompts tell which call each answers."""
    script = starter()
    here, there = agent("a1", "look here", "here it is"), agent("a2", "look there", "there it is", 700)
    mixed = [here.records[0], there.records[0], here.records[1], there.records[1]]
    script.records[4:4] = mixed
    check_agents(turns_in(write(tmp_path, *script.records)))


def test_agents_within_the_file_that_outlast_their_turn(tmp_path: Path) -> None:
    """Their work belongs to the turn that started them, also where another prompt came before they were done."""
    script = starter()
    here, there = agent("a1", "look here", "here it is"), agent("a2", "look there", "there it is", 700)
    results = script.records[4:6]
    script.records[4:6] = [here.records[0], *there.records]
    script.records[-1:] = [here.records[1], *results]
    turns = turns_in(write(tmp_path, *script.records))
    assert names_and_texts(turns[1]) == IN_ORDER[:-2]


@pytest.mark.parametrize("known_by", ["meta", "result or prompt"])
@pytest.mark.parametrize("place", ["beside", "in its folder", "further down"])
def test_agents_in_files_of_their_own(tmp_path: Path, place: str, known_by: str) -> None:
    """Beside the session or in its folder; what says which call they answer is a file, the result, or the prompt."""
    folder = {
        "beside": ".",
        "in its folder": f"{SESSION}/subagents",
        "further down": f"{SESSION}/subagents/workflows/w",
    }
    write(tmp_path, *starter().records)
    for agent_id, call, word in (("a1", "t1", "here"), ("a2", "t2", "there")):
        script = agent(agent_id, f"look {word}", f"{word} it is", 500 if word == "here" else 700)
        if known_by == "meta":
            script.records[0]["message"]["content"] = f"look {word}"
        path = write(tmp_path / folder[place], *script.records, name=f"agent-{agent_id}")
        if known_by == "meta":
            path.with_name(f"agent-{agent_id}.meta.json").write_text(
                json.dumps({"agentType": "general", "toolUseId": call}, indent=2)
            )
    turns = turns_in(tmp_path)
    check_agents(turns)
    if known_by == "meta":
        assert turns[1].meta["agents"]["a2"] == {"agentType": "general", "toolUseId": "t2"}
    known, unknown = recognise([tmp_path])
    assert not unknown
    assert turns_in(*known["claude_code"]) == turns


def test_agents_of_agents(tmp_path: Path) -> None:
    """They stand behind the call that started them, within the work of the one that made it."""
    write(tmp_path, *starter().records)
    outer = Script(first=500, isSidechain=True, agentId="a1")
    outer.user("look here")
    outer.call("t3", "Task", prompt="deeper")
    outer.assistant(text("here it is"))
    folder = tmp_path / SESSION / "subagents"
    write(folder, *outer.records, name="agent-a1")
    write(folder, *agent("a3", "deeper", "found", 800).records, name="agent-a3")
    spoken = names_and_texts(turns_in(tmp_path)[1])
    assert spoken[2:6] == [("a1", "look here"), ("a1", "tool_call"), ("a3", "deeper"), ("a3", "found")]


def test_agents_that_nothing_names_belong_to_the_turn_of_their_time(tmp_path: Path) -> None:
    """They stand at its end; without the session's own file they are a conversation by themselves."""
    path = write(tmp_path, *starter().records)
    stray = agent("a9", "nobody asked", "lost", first=4)  # its time is the second turn's
    for record in stray.records:
        record["uuid"] = f"stray {record['uuid']}"
    write(tmp_path / SESSION / "subagents", *stray.records, name="agent-a9")
    assert names_and_texts(turns_in(tmp_path)[1])[-2:] == [("a9", "nobody asked"), ("a9", "lost")]
    path.unlink()
    (turn,) = turns_in(tmp_path)
    assert turn.conversation == SESSION
    assert names_and_texts(turn) == [("a9", "nobody asked"), ("a9", "lost")]


def test_what_progress_repeats_of_an_agent_is_taken_where_nothing_else_has_it(tmp_path: Path) -> None:
    """With the agent's file it is passed over: each message stands in the turn once."""
    script, here = starter(), agent("a1", "look here", "here it is")
    copies = []
    for record in here.records:
        said = {key: record[key] for key in ("type", "message", "uuid", "timestamp")}
        data = {"type": "agent_progress", "agentId": "a1", "message": said, "normalizedMessages": []}
        copies.append({"type": "progress", "data": data, "parentToolUseID": "t1", "uuid": f"tick {record['uuid']}"})
    script.records[4:4] = copies
    without = turns_in(write(tmp_path, *script.records))[1]
    write(tmp_path / SESSION / "subagents", *here.records, name="agent-a1")
    with_file = turns_in(tmp_path)[1]
    assert names_and_texts(without) == names_and_texts(with_file) == IN_ORDER[:5] + IN_ORDER[-2:]


def test_damage_in_an_agents_file_names_it(tmp_path: Path) -> None:
    """What is readable of it is read, and the rest is set apart."""
    path = write(tmp_path, *starter().records)
    other = write(tmp_path / SESSION / "subagents", *agent("a1", "look here", "x").records, name="agent-a1")
    other.write_bytes(b"{broken\n" + other.read_bytes())
    (piece,) = unreadable_in(path)
    assert (piece.position, piece.raw) == ("subagents/agent-a1.jsonl, line 1", b"{broken")
    assert ("a1", "x") in names_and_texts(turns_in(path)[1])


# --- forks and copies -------------------------------------------------------------------------------------------------


def forked(script: Script, session: str = OTHER) -> list[dict[str, Any]]:
    """The records as a fork has them: another session, another order of the keys."""
    copies = [dict(reversed(record.items())) for record in script.records if "uuid" in record]
    return [{**record, "sessionId": session, "slug": "a-fork", "version": "2.1.61"} for record in copies]


def plain() -> Script:
    script = Script()
    script.user("one")
    script.call("t1", b=1, a=2)
    script.result("t1", toolUseResult={"z": {"y": 1, "x": 2}, "a": 1})
    script.user("two")
    script.assistant(text("2"), mid="msg_2")
    return script


def test_a_copy_adds_no_turn(tmp_path: Path) -> None:
    """The same session in two folders is one."""
    for folder in ("a", "b"):
        write(tmp_path / folder, *talk().records)
    assert bring_in(tmp_path / "log", tmp_path) == ImportCounts(recorded=3, unchanged=3)
    assert bring_in(tmp_path / "log", tmp_path) == ImportCounts(unchanged=6)


@pytest.mark.parametrize("first", ["original", "fork"])
def test_a_fork_adds_only_what_is_new(tmp_path: Path, first: str) -> None:
    """Whichever is read first: what both have is recorded once, and noted of the other."""
    script = plain()
    records = forked(script)
    fork = Script(OTHER, first=900)
    fork.parent = script.parent
    fork.user("three")
    folder = tmp_path / "projects"
    paths = {
        "original": write(folder, *script.records),
        "fork": write(folder, *records, *fork.records, name=OTHER),
    }
    second = next(name for name in paths if name != first)
    one = bring_in(tmp_path / "log", paths[first])
    two = bring_in(tmp_path / "log", paths[second])
    assert one.recorded + two.recorded == 3
    assert two.unchanged == 2
    assert (one.revised, two.revised) == (0, 0)
    (note,) = noted_in(tmp_path / "log")
    assert note.conversation == {"original": SESSION, "fork": OTHER}[second]
    assert len(note.notes["shared_turns"]) == 2
    assert bring_in(tmp_path / "log", folder) == ImportCounts(unchanged=5)


def test_a_resumed_sessions_turns_are_its_own(tmp_path: Path) -> None:
    """A file may go on with another session's id: each turn is of the one that its prompt names."""
    script = plain()
    later = Script(OTHER, first=900)
    later.user("three")
    turns = turns_in(write(tmp_path, *script.records, *later.records))
    assert [turn.conversation for turn in turns] == [SESSION, SESSION, OTHER]


def test_a_record_that_is_there_twice_is_one(tmp_path: Path) -> None:
    """The last line is written again where a session is resumed; other content under its id is kept."""
    script = plain()
    again = {**dict(reversed(script.records[-1].items())), "version": "2.2.0"}
    before = turns_in(write(tmp_path, *script.records))
    after = turns_in(write(tmp_path, *script.records, again))
    assert [turn.messages for turn in after] == [turn.messages for turn in before]
    message = {**again["message"], "content": [text("other")]}
    more = turns_in(write(tmp_path, *script.records, {**again, "message": message}))
    assert [message.content for message in said_in(more[1], "assistant")] == ["2", "other"]


# --- growth -----------------------------------------------------------------------------------------------------------


def follow(path: Path, cursor: Any) -> list[Chunk]:
    source = ClaudeCode(user="amy")
    (stream,) = source.discover([path])
    return list(source.read(stream, cursor))


def test_reading_goes_on_where_the_last_turn_begins(tmp_path: Path) -> None:
    """What came before is neither read nor yielded again; titles and the queue are still known."""
    script = plain()
    script.bare("ai-title", aiTitle="Numbers")
    script.queue("enqueue", "three")
    path = write(tmp_path, *script.records)
    cursor = json.loads(json.dumps(follow(path, None)[-1].cursor))
    script.queue("remove")
    script.assistant(text("3"), mid="msg_3")
    path = write(tmp_path, *script.records)
    chunks = follow(path, cursor)
    assert turns_of(chunks) == turns_in(path)[1:]
    assert prompts_of(turns_of(chunks)) == [["two"], ["three"]]
    assert chunks[-1].notes[-1].title == "Numbers"
    assert chunks[-1].offset == path.stat().st_size


@pytest.mark.parametrize("change", ["rewritten", "truncated", "replaced"])
def test_a_file_that_no_longer_begins_as_it_did_is_read_anew(tmp_path: Path, change: str) -> None:
    """Whether it is shorter, as long, or longer."""
    path = write(tmp_path, *plain().records)
    cursor = follow(path, None)[-1].cursor
    content = path.read_bytes()
    path.write_bytes(
        {
            "rewritten": content.replace(b'"one"', b'"ONE"'),
            "truncated": lines(plain().records[0]),
            "replaced": talk(OTHER).content(),
        }[change]
    )
    assert turns_of(follow(path, cursor)) == turns_in(path)


def test_an_agent_that_goes_on_after_its_turn_is_read_anew(tmp_path: Path) -> None:
    """Its file grows while the session's does not: the turn that started it is a revision."""
    path = write(tmp_path, *starter().records)
    script = agent("a1", "look here", "here it is")
    other = write(tmp_path / SESSION / "subagents", script.records[0], name="agent-a1")
    cursor = follow(path, None)[-1].cursor
    assert ids_of(follow(path, cursor)) == ids_of(read_all(ClaudeCode(), [path]))[2:]
    other.write_bytes(script.content())
    assert turns_of(follow(path, cursor)) == turns_in(path)
    other.unlink()
    assert len(ids_of(follow(path, cursor))) == 1


def test_an_agents_file_that_appears_later_is_read_anew(tmp_path: Path) -> None:
    """It is of a turn before the cursor."""
    path = write(tmp_path, *starter().records)
    cursor = follow(path, None)[-1].cursor
    write(tmp_path / SESSION / "subagents", *agent("a1", "look here", "x", first=4).records, name="agent-a1")
    assert turns_of(follow(path, cursor)) == turns_in(path)


def test_going_back_before_the_cursor_is_read_anew(tmp_path: Path) -> None:
    """Only the whole file tells which turns are left behind."""
    script = plain()
    back_to = script.records[2]["uuid"]
    cursor = follow(write(tmp_path, *script.records), None)[-1].cursor
    script.parent = back_to
    script.user("two, anew")
    path = write(tmp_path, *script.records)
    chunks = follow(path, cursor)
    assert turns_of(chunks) == turns_in(path)
    assert chunks[-1].notes[-1].notes == {"inactive": [turns_of(chunks)[1].turn_id]}


def test_an_unfinished_last_line_waits(tmp_path: Path) -> None:
    """It is neither damage nor read; a whole object without its newline is."""
    script = plain()
    path = write(tmp_path, *script.records)
    whole = turns_in(path)
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    assert turns_in(path) == whole
    path.write_bytes(content[:-9])
    assert turns_in(path)[1].messages == whole[1].messages[:1]
    assert unreadable_in(path) == []
    assert follow(path, None)[-1].offset < len(content) - 9


def test_a_file_that_is_rewritten_while_it_is_read_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read of it last is no longer there; what never stands still is refused with a sentence."""
    path = write(tmp_path, *plain().records)
    other = talk(OTHER).content()
    monkeypatch.setattr("turnlog.sources.claude_code_session.CHUNK_BYTES", 1)
    source = ClaudeCode(user="amy")
    (stream,) = source.discover([path])
    reading = source.read(stream)
    next(reading)
    path.write_bytes(other)
    rest = list(reading)
    assert turns_of(rest)[-3:] == turns_in(path)

    with pytest.raises(WrongUsage, match="rewritten again and again"):
        for number, _ in enumerate(source.read(stream), 1):
            path.write_bytes(b"x" * number + b"\n" + other)


# --- damage -----------------------------------------------------------------------------------------------------------

ONE, TWO, THREE = (lines(record)[:-1] for record in (plain().records[0], plain().records[3], plain().records[4]))


@pytest.mark.parametrize(
    ("content", "raw"),
    [
        (ONE + b"\n" + TWO[:40] + b"\n" + TWO + b"\n", TWO[:40]),
        (ONE + b"\n" + THREE[:40] + TWO + b"\n", THREE[:40]),
        (ONE + b"\n" + b"\0" * 300 + TWO + b"\n", b"\0" * 300),
        (ONE + b"\n" + b"\0" * 300 + b"\n" + TWO + b"\n", b"\0" * 300),
        (ONE + b"\n" + THREE.replace(b"2", b"\xff") + b"\n" + TWO + b"\n", THREE.replace(b"2", b"\xff")),
        (ONE + b"\n" + THREE.replace(b"2", b"\xff") + TWO + b"\n", THREE.replace(b"2", b"\xff")),
        (ONE + b"\n" + b"[1]\n" + TWO + b"\n", b"[1]"),
        (ONE + b"\n" + b'{"a":' * 5000 + b"\n" + TWO + b"\n", b'{"a":' * 5000),
        (ONE + b"\n" + b'{"a":' * 500 + b"1" + b"}" * 500 + b"\n" + TWO + b"\n", b'{"a":' * 500 + b"1" + b"}" * 500),
        (ONE + b"\n" + ONE[:99] + b"\n" + TWO + b"\n", ONE[:99]),
    ],
    ids=[
        "torn",
        "spliced",
        "NULs",
        "line of NULs",
        "not UTF-8",
        "not UTF-8, spliced",
        "array",
        "open",
        "deep",
        "again",
    ],
)
def test_damage_costs_what_is_damaged(tmp_path: Path, content: bytes, raw: bytes) -> None:
    """It is set apart as it is, and the records before and behind it are read, on the same line too."""
    path = tmp_path / f"{SESSION}.jsonl"
    path.write_bytes(content)
    (piece,) = unreadable_in(path)
    assert piece.raw == raw
    assert piece.position.startswith("line 2")
    assert prompts_of(turns_in(path)) == [["one"], ["two"]]


def test_two_objects_on_a_line_are_two_records(tmp_path: Path) -> None:
    """With or without white space between them; reading can go on behind them."""
    script = plain()
    path = write(tmp_path, *script.records)
    whole = turns_in(path)
    for between in (b"", b" "):
        path.write_bytes(path.read_bytes().replace(b"\n", between, 4))
        assert turns_in(path) == whole
        cursor = follow(path, None)[-1].cursor
        assert turns_of(follow(path, cursor)) == whole


# --- what is found ----------------------------------------------------------------------------------------------------


def test_folders_are_searched_for_transcripts_alone(tmp_path: Path) -> None:
    """What is of another format, a link, or no file is passed over; a named file is taken at its word."""
    path = write(tmp_path / "projects" / "-home-amy", *talk().records)
    (tmp_path / "history.jsonl").write_bytes(lines({"display": "Hi", "timestamp": 1, "project": "/p"}))
    (tmp_path / "other.jsonl").write_bytes(lines({"timestamp": "t", "type": "session_meta", "payload": {}}))
    (tmp_path / "linked.jsonl").symlink_to(path)
    outside = tmp_path.with_name("outside")
    write(outside, *talk(OTHER).records, name=OTHER)
    (tmp_path / "linked").symlink_to(outside)
    os.mkfifo(tmp_path / "pipe.jsonl")
    assert [stream.path for stream in ClaudeCode().discover([tmp_path])] == [path]
    assert ClaudeCode().discover([tmp_path / "linked.jsonl"])[0].size_bytes == path.stat().st_size
    with pytest.raises(WrongUsage, match=r"pipe\.jsonl"):
        ClaudeCode().discover([tmp_path / "pipe.jsonl"])


def test_the_session_written_to_first_is_read_first(tmp_path: Path) -> None:
    """So what a fork has of its parent is mostly recorded in the parent."""
    paths = [write(tmp_path, *talk(session).records, name=session) for session in (SESSION, OTHER)]
    for path, seconds in zip(paths, (200, 100), strict=True):
        os.utime(path, (seconds, seconds))
    assert [stream.path for stream in ClaudeCode().discover([tmp_path])] == paths[::-1]


@pytest.mark.parametrize(
    ("record", "is_ours"),
    [
        ({"type": "summary", "summary": "s", "leafUuid": "u"}, True),
        ({"type": "file-history-snapshot", "messageId": "m", "snapshot": {}}, True),
        ({"type": "queue-operation", "operation": "enqueue", "sessionId": "s"}, True),
        ({"type": "user", "message": {"role": "user", "content": "Hi"}}, True),
        ({"agentType": "general-purpose", "toolUseId": "t"}, True),
        ({"type": "user", "uuid": "u", "sessionId": "s", "message": {"role": "user", "parts": []}}, False),
        ({"type": "user", "sessionId": "s", "content": "Hi"}, False),
        ({"type": "response_item", "payload": {"type": "message", "role": "user"}}, False),
        ({"messages": [{"role": "user", "content": "Hi"}]}, False),
        ({"type": "message", "message": {"role": "user", "content": "Hi"}}, False),
    ],
)
def test_files_are_recognised_by_their_records(tmp_path: Path, record: dict[str, Any], is_ours: bool) -> None:
    """Not by their names; those of other programs are left to them."""
    path = tmp_path / "whatever"
    path.write_bytes(lines(record))
    assert ClaudeCode.recognises(path) is is_ours


def test_nothing_is_recognised_in_what_cannot_be_read(tmp_path: Path) -> None:
    """A folder, nothing, bytes."""
    (tmp_path / "bytes").write_bytes(os.urandom(999))
    for name in (".", "missing", "bytes"):
        assert not ClaudeCode.recognises(tmp_path / name)
