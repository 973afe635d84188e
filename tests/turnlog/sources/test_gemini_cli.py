"""Sessions of Gemini CLI: each kind of record, both forms, what was taken back, copies, sub-agents, logs."""

import json
from pathlib import Path
from typing import Any

import pytest

from eventlog import Message, Part, TurnRecorded
from turnlog.errors import WrongUsage
from turnlog.sources.base import PAYLOAD_BYTES_MAX, Source
from turnlog.sources.gemini_cli import GeminiCli
from turnlog.sources.registry import recognise
from turnlog.testing.source_contract import SourceContract, turns_of

from .gemini_samples import (
    ANSWER,
    CONTEXT,
    FIRST,
    SECOND,
    SESSION,
    SESSION_RECORDS,
    TOKENS,
    call,
    header,
    import_into,
    lines,
    notes_of,
    read,
    recorded,
    said,
    turns,
    unreadable_of,
    write,
)  # fmt: skip

CHATS = "tmp/9da8/chats"
NAME = f"{CHATS}/session-2026-04-23T12-52-0ab84937.jsonl"


class TestLines(SourceContract):
    def make_source(self) -> Source:
        return GeminiCli(user="ann")

    def write_sample(self, folder: Path) -> list[Path]:
        return [write(folder, "session.jsonl", lines(*SESSION_RECORDS))]


class TestDocument(TestLines):
    def write_sample(self, folder: Path) -> list[Path]:
        messages = [FIRST, said("gemini", "g1", "ok", 1), SECOND]
        return [write(folder, "session.json", json.dumps({**header(), "messages": messages}, indent=1))]


class TestLog(TestLines):
    def write_sample(self, folder: Path) -> list[Path]:
        prompts = [{"sessionId": "s", "messageId": n, "type": "user", "message": f"p{n}"} for n in range(3)]
        return [write(folder, "logs.json", json.dumps(prompts, indent=1))]


def of_lines(folder: Path, *records: Any) -> list[TurnRecorded]:
    return turns(GeminiCli(), write(folder, NAME, lines(header(), *records)))


def test_a_session_is_these_turns(tmp_path: Path) -> None:
    """The sample, field by field; its ids never change, or everything is imported again."""
    first, second = of_lines(tmp_path, *SESSION_RECORDS[1:])
    assert (first.turn_id, second.turn_id) == (f"gemini_cli:{SESSION}:s1", f"gemini_cli:{SESSION}:u2")
    assert (first.conversation, first.model) == (SESSION, "gemini-3")
    assert first.usage == {key: 2 * count for key, count in sorted(TOKENS.items())}
    assert first.meta == {"project": "9da8", "kind": "main"}
    context, prompt, thinks, answer, end = first.messages
    assert (context.role, prompt.role, prompt.content, prompt.id) == ("system", "user", "List the files", "u1")
    thought, called = thinks.parts
    assert (thought.type, thought.name, thought.text) == ("thinking", "S", "D")
    assert called == Part(type="tool_call", id="c1", name="ls", data={"dir": "."})
    assert answer.parts[0] == Part(type="tool_result", id="c1", name="ls", text="a.txt")
    assert answer.parts[1] == Part(type="fields", id="c1", data={"status": "success"})
    assert (answer.role, end.content) == ("tool", "There is one.")
    assert [message.content for message in second.messages] == ["谢谢", "不客气"]
    assert str(second.started_at) == "2026-04-23 12:53:30+00:00"


def test_both_forms_are_the_same_turns(tmp_path: Path) -> None:
    """The `.json` and the `.jsonl` that it was migrated to, with texts for parts and keys in another order."""
    first, second = of_lines(tmp_path, *SESSION_RECORDS[2:])
    messages = [{**FIRST, "content": "List the files"}, *SESSION_RECORDS[5:9]]
    turned = [dict(reversed(message.items())) for message in messages]
    path = write(tmp_path, f"{CHATS}/old.json", json.dumps({"kind": "main", "messages": turned, **header()}))
    assert turns(GeminiCli(), path) == [first, second]


def test_a_copy_in_another_folder_adds_nothing(tmp_path: Path) -> None:
    """The folder named by a hash and the one named by a slug hold the same session, one of them more of it."""
    write(tmp_path, NAME, lines(*SESSION_RECORDS[:-3]))
    write(tmp_path, NAME.replace("9da8", "slug"), lines(*SESSION_RECORDS))
    counts = import_into(tmp_path / "log", GeminiCli(), tmp_path / "tmp")
    assert (counts.recorded, counts.unchanged) == (2, 1)
    assert import_into(tmp_path / "log", GeminiCli(), tmp_path / "tmp").recorded == 0


@pytest.mark.parametrize(
    ("text", "role"),
    [
        ("<session_context>x", "system"),
        ("<hook_context>x", "system"),
        ("<state_snapshot>x", "system"),
        ("System: Please continue.", "system"),
        ("/chat save x", "system"),
        ("/mcp:list", "system"),
        ("?", "system"),
        ("/usr/bin/env: what is it?", "user"),
        ("/ is the root", "user"),
        ("? is a wildcard, isn't it", "user"),
    ],
)
def test_what_nobody_typed_is_no_prompt(tmp_path: Path, text: str, role: str) -> None:
    """Context, notices and commands are the system's, and begin no turn; a path is typed."""
    found = of_lines(tmp_path, FIRST, said("user", "x", [{"text": text}], 1))
    assert [message.role for turn in found for message in turn.messages] == ["user", role]
    assert len(found) == (2 if role == "user" else 1)


def test_a_result_that_a_user_record_holds_is_the_tools(tmp_path: Path) -> None:
    """It is neither a prompt nor the user's."""
    (turn,) = of_lines(tmp_path, FIRST, said("user", "x", [{"functionResponse": {"name": "ls", "response": {"a": 1}}}]))
    assert turn.messages[1].role == "tool"
    assert turn.messages[1].parts == (Part(type="tool_result", name="ls", data={"a": 1}),)


def test_what_was_typed_is_kept_beside_what_it_became(tmp_path: Path) -> None:
    """A command that stands for a longer prompt."""
    (turn,) = of_lines(tmp_path, said("user", "u", [{"text": "Analyse ..."}], displayContent=[{"text": "/init"}]))
    assert turn.messages == (
        Message(
            role="user", content="Analyse ...", id="u", at=turn.started_at, parts=(Part(type="display", text="/init"),)
        ),
    )


def test_notices_and_unknown_records_are_kept(tmp_path: Path) -> None:
    """Info, errors and warnings by their name; what nobody knows as it is, and counted; other fields too."""
    strange, alone = said("poem", "p", "O"), {"verse": 1}
    found = of_lines(tmp_path, FIRST, said("error", "e", "No"), strange, alone, said("gemini", "g", "x", mood=1))
    error, poem, verse, answer = found[0].messages[1:]
    assert (error.role, error.name, error.content) == ("system", "error", "No")
    assert poem.parts == (Part(type="record", data=dict(sorted(strange.items()))),)
    assert verse.parts == (Part(type="record", data=alone),)
    assert answer.parts == (Part(type="fields", data={"mood": 1}),)
    assert found[0].meta["unknown"] == {"poem": 1, "NoneType": 1}


def test_every_kind_of_part_is_kept(tmp_path: Path) -> None:
    """Images by digest, files by address, code, its result, and what nobody knows under its own name."""
    content = [
        {"text": "Look"},
        {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
        {"inlineData": {"mimeType": "image/png", "data": "not base64!"}},
        {"fileData": {"fileUri": "gs://x", "mimeType": "text/csv"}},
        {"executableCode": {"language": "PYTHON", "code": "1+1"}},
        {"codeExecutionResult": {"outcome": "OK", "output": "2"}},
        {"hologram": {"x": 1}},
        7,
    ]
    (turn,) = of_lines(tmp_path, said("user", "u", content))
    image, broken, file, code, result, hologram, number = turn.messages[0].parts
    assert (image.type, image.media_type, image.size_bytes, image.data) == ("image", "image/png", 3, None)
    assert broken.data == {"data": "not base64!", "mimeType": "image/png"}
    assert (file.type, file.media_type, file.data["fileUri"]) == ("attachment", "text/csv", "gs://x")
    assert (code.type, code.text, result.type, result.text) == ("tool_call", "1+1", "tool_result", "2")
    assert hologram == Part(type="hologram", data={"hologram": {"x": 1}})
    assert number == Part(type="record", data=7)
    assert turn.meta["unknown"] == {"hologram": 1, "int": 1}


def test_large_results_are_kept_beside_the_log(tmp_path: Path) -> None:
    """A text by its digest; large data too; both can be got back."""
    text, big = "x" * (PAYLOAD_BYTES_MAX + 1), {"list": ["y" * 100] * 1000}
    path = write(
        tmp_path, NAME, lines(header(), FIRST, said("gemini", "g", "", toolCalls=[call(output=text, more=big)]))
    )
    (stream,) = GeminiCli().discover([path])
    kept: dict[str, bytes] = {}

    def keep(data: bytes) -> str:
        kept[str(len(kept))] = data
        return str(len(kept) - 1)

    (turn,) = turns_of(GeminiCli().read(stream, keep=keep))
    result, fields = turn.messages[2].parts
    assert kept[result.digest or ""].decode() == text
    assert json.loads(kept[fields.digest or ""])["more"] == big
    assert (result.media_type, result.size_bytes, fields.media_type) == ("text/plain", len(text), "application/json")


def test_the_last_version_counts_and_nothing_of_the_older_is_lost(tmp_path: Path) -> None:
    """A call without and with its result is one; a text that another replaced is kept before it."""
    grown = of_lines(tmp_path, FIRST, said("gemini", "g", "", toolCalls=[call(output=None)]),
                     said("gemini", "g", "", toolCalls=[call()], **ANSWER))  # fmt: skip
    assert grown == of_lines(tmp_path, FIRST, said("gemini", "g", "", toolCalls=[call()], **ANSWER))
    (turn,) = of_lines(tmp_path, FIRST, said("gemini", "g", "Yes"), said("gemini", "g", "No"))
    assert [(message.id, message.content) for message in turn.messages[1:]] == [("g", "Yes"), ("g", "No")]


def test_what_was_taken_back_is_kept_and_noted(tmp_path: Path) -> None:
    """Of a rewinding to a prompt the turn, of one to an answer the message; the turns are what they were."""
    g1, g2 = said("gemini", "g1", "a"), said("gemini", "g2", "b")
    before = of_lines(tmp_path, FIRST, g1, g2, SECOND)
    records = [FIRST, g1, g2, SECOND, {"$rewindTo": "u2"}, {"$rewindTo": "g2"}]
    chunks = read(GeminiCli(), write(tmp_path, NAME, lines(header(), *records)))
    assert turns_of(chunks) == before
    (note,) = notes_of(chunks)
    assert note.notes == {"inactive": [before[1].turn_id], "inactive_messages": ["g2"]}


@pytest.mark.parametrize("last", [{"$rewindTo": "nobody"}, {"$set": {"messages": []}}])
def test_all_may_be_taken_back(tmp_path: Path, last: dict[str, Any]) -> None:
    """By rewinding to what is not there, or by an empty list; a message that comes again is back."""
    again = [FIRST, {"$set": {"messages": [FIRST, said("gemini", "g", "new")]}}]
    chunks = read(GeminiCli(), write(tmp_path, NAME, lines(header(), FIRST, SECOND, last, *again)))
    assert [len(turn.messages) for turn in turns_of(chunks)] == [1, 2]
    (note,) = notes_of(chunks)
    assert note.notes == {"inactive_messages": ["u2"]}


def test_the_summary_is_the_title_and_other_fields_are_noted(tmp_path: Path) -> None:
    """A title that comes later is no other turn."""
    chunks = read(GeminiCli(), write(tmp_path, NAME, lines(header(memoryScratchpad={"v": 1}), *SESSION_RECORDS[1:])))
    (note,) = notes_of(chunks)
    assert (note.title, note.notes) == ("Files", {"session": {"memoryScratchpad": {"v": 1}}})


def test_a_sub_agents_work_belongs_to_the_turn_that_started_it(tmp_path: Path) -> None:
    """By the id in the call, or by when it began; its tasks are no prompts; its file alone is that session too."""
    started = said("gemini", "g1", "", 1, toolCalls=[call(agentId="a1")])
    write(tmp_path, NAME, lines(header(), FIRST, started, SECOND, said("user", "u3", "x", 90)))
    task = said("user", "t1", "Look", 2)
    write(
        tmp_path,
        f"{CHATS}/{SESSION}/a1.jsonl",
        lines(header("a1", kind="subagent"), task, said("gemini", "ag", "found", tokens=TOKENS)),
    )
    late = header("zz", kind="subagent", startTime="2026-04-23T12:53:40.000Z")
    path = write(tmp_path, f"{CHATS}/{SESSION}/a2.jsonl", lines(late, said("gemini", "late", "too")))
    first, second, third = turns(GeminiCli(), tmp_path / "tmp")
    assert [(message.role, message.name, message.content) for message in first.messages[-2:]] == [
        ("system", "a1", "Look"), ("assistant", "a1", "found"),
    ]  # fmt: skip
    assert [message.id for message in second.messages] == ["u2", "late"]
    assert len(third.messages) == 1
    assert first.usage == dict(sorted(TOKENS.items()))
    assert turns(GeminiCli(), path) == [first, second, third]


def test_a_sub_agents_folder_is_not_followed_elsewhere(tmp_path: Path) -> None:
    """Neither by a link nor by a session id that is a path."""
    write(tmp_path, "secret/a.jsonl", lines(header("a"), said("gemini", "ag", "secret")))
    path = write(tmp_path, NAME, lines(header("../secret"), FIRST))
    assert len(turns(GeminiCli(), path)[0].messages) == 1
    path = write(tmp_path, NAME, lines(header(), FIRST))
    (path.parent / SESSION).symlink_to(tmp_path / "secret")
    assert len(turns(GeminiCli(), path)[0].messages) == 1


def test_a_log_alone_gives_turns_and_beside_sessions_notes(tmp_path: Path) -> None:
    """What was typed is not lost where nothing else tells it, and is no second turn where something does."""
    typed = {
        "sessionId": SESSION,
        "messageId": 0,
        "type": "user",
        "message": "List",
        "timestamp": "2026-04-23T12:53:00Z",
    }
    path = write(tmp_path, "tmp/9da8/logs.json", json.dumps([typed]))
    (turn,) = turns(GeminiCli(), path)
    assert (turn.turn_id, turn.messages[0].content) == (f"gemini_cli:{SESSION}:log:0", "List")
    write(tmp_path, NAME, lines(*SESSION_RECORDS))
    chunks = read(GeminiCli(), path)
    assert turns_of(chunks) == []
    assert notes_of(chunks)[0].notes["typed"]["message"] == "List"


def test_a_saved_history_is_read(tmp_path: Path) -> None:
    """It has no ids: its file and its beginning name it."""
    history = [{"role": "user", "parts": [{"text": "Hi"}]}, {"role": "model", "parts": [{"text": "Ho"}]}]
    path = write(tmp_path, "checkpoint-x.json", json.dumps({"history": history, "authType": "x"}))
    (turn,) = turns(GeminiCli(), path)
    assert [(message.role, message.content) for message in turn.messages] == [("user", "Hi"), ("assistant", "Ho")]
    assert turn.conversation.startswith("checkpoint-x-")


def test_files_are_recognised_by_their_structure(tmp_path: Path) -> None:
    """Both forms, a history and a log, whatever they are called; nothing else of similar shape."""
    document = json.dumps({**header(), "messages": []})
    ours = [
        write(tmp_path, "a", lines(*SESSION_RECORDS)),
        write(tmp_path, "b", document),
        write(tmp_path, "c", '[{"sessionId":"s","messageId":0,"type":"user","message":"x"}]'),
    ]
    write(tmp_path, "d", '{"sessionId":"s","type":"user","message":{"role":"user"},"uuid":"x"}')
    write(tmp_path, "e", '[{"mapping":{}}]')
    known, _ = recognise([tmp_path])
    assert known["gemini_cli"] == ours


def test_what_holds_no_session_is_refused(tmp_path: Path) -> None:
    """One sentence that names it."""
    with pytest.raises(WrongUsage, match="without sessions"):
        GeminiCli().discover([tmp_path])
    with pytest.raises(WrongUsage, match="no sessions"):
        GeminiCli().discover([write(tmp_path, "x.txt", "hello")])


def test_reading_on_passes_over_what_has_not_changed(tmp_path: Path) -> None:
    """The last turn comes again, and an older one if a version of it was appended; a rewritten file comes whole."""
    path = write(tmp_path, NAME, lines(*SESSION_RECORDS))
    (stream,) = GeminiCli().discover([path])
    (chunk,) = GeminiCli().read(stream)
    third = said("user", "u3", "more", 60)

    def after(content: bytes) -> list[str]:
        path.write_bytes(content)
        return [turn.messages[-1].id or "" for turn in turns_of(GeminiCli().read(stream, chunk.cursor))]

    assert after(lines(*SESSION_RECORDS)) == ["g3"]
    assert after(lines(*SESSION_RECORDS, third)) == ["g3", "u3"]
    assert after(lines(*SESSION_RECORDS, said("gemini", "g2", "There are two."))) == ["g2", "g3"]
    assert after(lines(header(), CONTEXT, FIRST)) == ["u1"]
    assert after(lines(header(kind="other"), *SESSION_RECORDS[1:])) == ["g2", "g3"]


def test_the_log_holds_a_session_once_however_it_grows(tmp_path: Path) -> None:
    """A turn that grew is a revision of itself."""
    path = write(tmp_path, NAME, lines(*SESSION_RECORDS[:4]))
    import_into(tmp_path / "log", GeminiCli(), path)
    path.write_bytes(lines(*SESSION_RECORDS))
    counts = import_into(tmp_path / "log", GeminiCli(), path)
    assert (counts.recorded, counts.revised) == (1, 1)
    assert {turn.revision for turn in recorded(tmp_path / "log").values()} == {1, 2}
    assert unreadable_of(read(GeminiCli(), path)) == []
