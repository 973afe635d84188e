"""Claude Code's records, one by one, as what they become."""

from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from eventlog import ConversationNoted, Part, TurnRecorded
from turnlog.sources.base import PAYLOAD_BYTES_MAX, Source
from turnlog.sources.claude_code import ClaudeCode
from turnlog.testing.source_contract import SourceContract, read_all, turns_of

from .claude_code_samples import SESSION, Script, prompts_of, said_in, talk, text, turns_in, write


class TestContract(SourceContract):
    reads_files = False  # folders are searched

    def make_source(self) -> Source:
        return ClaudeCode(user="ann")

    def write_sample(self, folder: Path) -> list[Path]:
        return [write(folder / "projects" / "-home-ann", *talk().records)]


def only_turn(folder: Path, script: Script) -> TurnRecorded:
    (turn,) = turns_in(write(folder, *script.records))
    return turn


def notes_of(folder: Path, script: Script) -> list[ConversationNoted]:
    chunks = read_all(ClaudeCode(), [write(folder, *script.records)])
    return [note for chunk in chunks for note in chunk.notes]


def parts_of(turn: TurnRecorded, kind: str) -> list[Part]:
    return [part for message in turn.messages for part in message.parts if part.type == kind]


def test_a_turn_is_a_prompt_and_what_follows(tmp_path: Path) -> None:
    """Typed and queued prompts begin turns; results, commands and attachments do not."""
    turns = turns_in(write(tmp_path, *talk().records))
    assert prompts_of(turns) == [["Hi, 你好"], ["And now?"], ["wait, also this"]]
    first = turns[0]
    assert [message.role for message in first.messages] == [
        *("system", "user", "assistant", "assistant", "assistant", "tool", "system"),
    ]
    assert (first.conversation, first.user, first.model) == (SESSION, "amy", "claude-opus-4-6")
    assert first.meta == {"cwd": "/home/amy/p", "git_branch": "main", "version": "2.1.60", "user_type": "external"}


def test_turns_are_known_by_the_record_that_begins_them(tmp_path: Path) -> None:
    """The first by what stands first, also before the prompt has come; the others by their prompts."""
    script = talk()
    uuids = [record.get("uuid") for record in script.records]
    ids = [turn.turn_id for turn in turns_in(write(tmp_path, *script.records))]
    assert ids[:2] == [f"claude_code:{uuids[1]}", f"claude_code:{uuids[8]}"]
    assert turns_in(write(tmp_path, *script.records[:2]))[0].turn_id == ids[0]


@pytest.mark.parametrize(
    "fields",
    [
        {"isMeta": True},
        {"isCompactSummary": True},
        {"isVisibleInTranscriptOnly": True},
        {"origin": {"kind": "task-notification"}},
        {"promptSource": "system"},
    ],
)
def test_what_the_program_said_in_the_persons_name_is_no_prompt(tmp_path: Path, fields: dict[str, Any]) -> None:
    """Context, summaries and notices are messages of the role system, whole."""
    script = Script()
    script.user("Hi")
    script.user("A notice", **fields)
    turn = only_turn(tmp_path, script)
    assert [message.content for message in said_in(turn, "system")] == ["A notice"]
    assert prompts_of([turn]) == [["Hi"]]


@pytest.mark.parametrize(
    "said",
    [
        "[Request interrupted by user for tool use]",
        "<command-message>init</command-message>\n<command-name>/init</command-name>",
        "  <command-name>/mcp</command-name>",
        "<local-command-stdout>done</local-command-stdout>",
        "<bash-input>ls</bash-input>",
        "<task-notification>\n<task-id>a</task-id></task-notification>",
        "<agent-notification>a</agent-notification>",
    ],
)
def test_envelopes_are_no_prompts(tmp_path: Path, said: str) -> None:
    """Interruptions, commands and their output stand in the turn, as they are."""
    script = Script()
    script.user("Hi")
    script.user(said)
    script.user([text(said)])
    turn = only_turn(tmp_path, script)
    assert [message.content for message in said_in(turn, "system")] == [said, said]


def test_what_an_editor_puts_in_front_is_set_apart(tmp_path: Path) -> None:
    """The prompt is what was typed; the file that was open is a part. Alone it is no prompt."""
    script = Script()
    script.user("<ide_opened_file>a.py</ide_opened_file>\n<ide_selection>b</ide_selection> Fix <b>this</b>")
    script.user([text("<ide_opened_file>b.py</ide_opened_file>"), text("and that")])
    script.user("<ide_opened_file>c.py</ide_opened_file>")
    turns = turns_in(write(tmp_path, *script.records))
    assert prompts_of(turns) == [["Fix <b>this</b>"], ["and that"]]
    assert [(part.name, part.text) for part in parts_of(turns[0], "context")] == [
        ("ide_opened_file", "a.py"),
        ("ide_selection", "b"),
    ]
    assert said_in(turns[1], "system")[0].parts[0].text == "c.py"


def test_a_picture_alone_is_a_prompt(tmp_path: Path) -> None:
    """Its bytes are kept beside the log and named by digest, whatever their size; so are documents."""
    kept: list[bytes] = []

    def keep(data: bytes) -> str:
        kept.append(data)
        return sha256(data).hexdigest()

    source = {"type": "base64", "media_type": "image/png", "data": b64encode(b"PNG").decode()}
    pdf = {**source, "media_type": "application/pdf", "data": b64encode(b"PDF").decode()}
    script = Script()
    script.user([{"type": "image", "source": source}])
    script.user([{"type": "document", "source": pdf, "title": "a.pdf"}, {"type": "image", "source": {"url": "x"}}])
    reader = ClaudeCode()
    (stream,) = reader.discover([write(tmp_path, *script.records)])
    image, document = turns_of(reader.read(stream, keep=keep))
    assert image.messages[0].parts[0] == Part(
        type="image", digest=sha256(b"PNG").hexdigest(), media_type="image/png", size_bytes=3
    )
    assert document.messages[0].parts[0] == Part(
        type="attachment", name="a.pdf", digest=sha256(b"PDF").hexdigest(), media_type="application/pdf", size_bytes=3
    )
    assert document.messages[0].parts[1].data == {"url": "x"}
    assert kept == [b"PNG", b"PDF"]


def test_calls_results_and_thinking_are_parts(tmp_path: Path) -> None:
    """With their ids, names and all that stands beside them; a result is of the role tool."""
    script = Script()
    script.user("Hi")
    script.assistant({"type": "thinking", "thinking": "", "signature": "sig="})
    script.assistant({"type": "tool_use", "id": "t1", "name": "Bash", "input": {"b": 1, "a": 2}, "caller": {"x": 1}})
    script.user(
        [{"type": "tool_result", "tool_use_id": "t1", "is_error": True, "content": [text("no"), text("way")]}],
        toolUseResult={"stderr": "no", "code": 0},
        sourceToolAssistantUUID="u",
    )
    turn = only_turn(tmp_path, script)
    assert parts_of(turn, "thinking") == [Part(type="thinking", data={"signature": "sig="})]
    assert parts_of(turn, "tool_call") == [Part(type="tool_call", id="t1", name="Bash", data={"a": 2, "b": 1})]
    assert parts_of(turn, "tool_result") == [Part(type="tool_result", id="t1", text="no\nway", data={"is_error": True})]
    assert parts_of(turn, "tool_use_result") == [
        Part(type="tool_use_result", id="t1", data={"stderr": "no", "code": 0})
    ]
    assert Part(type="fields", id="t1", data={"caller": {"x": 1}}) in parts_of(turn, "fields")
    assert said_in(turn, "tool")[0].parts[-1].data == {"sourceToolAssistantUUID": "u"}


def test_an_assistants_line_keeps_what_it_says_of_itself(tmp_path: Path) -> None:
    """The ids of message and request, the reason that it ended for; steps of its usage if there are several."""
    script = Script()
    script.user("Hi")
    usage = {"output_tokens": 3, "iterations": [{"output_tokens": 1}, {"output_tokens": 2}]}
    script.assistant(text("Hello"), stop_reason="end_turn", usage=usage)
    fields = only_turn(tmp_path, script).messages[1].parts[0].data
    assert fields == {
        "requestId": "req_msg_1",
        "message": {
            "id": "msg_1",
            "model": "claude-opus-4-6",
            "stop_reason": "end_turn",
            "iterations": usage["iterations"],
        },
    }


def test_results_with_pictures_and_binary_copies(tmp_path: Path) -> None:
    """A result's picture is a part of its own; base64 in the structured copy is named by digest too."""
    data = b64encode(b"PNG").decode()
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}
    script = Script()
    script.user("Hi")
    script.call("t1")
    script.result(
        "t1", [text("seen"), image], toolUseResult={"file": {"base64": data, "type": "image/png"}, "n": [image]}
    )
    turn = only_turn(tmp_path, script)
    (picture,) = parts_of(turn, "image")
    assert (picture.id, picture.size_bytes) == ("t1", 3)
    (copy,) = parts_of(turn, "tool_use_result")
    named = {"digest": sha256(b"PNG").hexdigest(), "size_bytes": 3}
    assert copy.data["file"] == {"base64": named, "type": "image/png"}
    assert copy.data["n"][0]["source"]["data"] == named


def test_large_payloads_are_kept_beside_the_log(tmp_path: Path) -> None:
    """Texts of results and data over the limit stand as digests; what was said stays text, whatever its size."""
    large = "é" * PAYLOAD_BYTES_MAX
    script = Script()
    script.user(large)
    script.call("t1", content=large)
    script.result("t1", large, toolUseResult={"stdout": large})
    turn = only_turn(tmp_path, script)
    assert turn.messages[0].content == large
    for kind in ("tool_call", "tool_result", "tool_use_result"):
        (part,) = parts_of(turn, kind)
        assert (part.text, part.data) == (None, None)
        assert part.size_bytes is not None
        assert part.size_bytes > PAYLOAD_BYTES_MAX
    assert parts_of(turn, "tool_result")[0].digest == sha256(large.encode()).hexdigest()


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("ids", [("m1", "m1"), ("m1", "m2")])
def test_usage_that_is_an_object_in_one_place_only_stays_one(tmp_path: Path, order: int, ids: tuple[str, str]) -> None:
    """Whichever comes first, in lines of one message or of two; what else may be there is no object."""
    for other in (7, "many", True):
        script = Script()
        script.user("hi")
        for mid, tokens in zip(ids, [{"a": 4}, other][::order], strict=True):
            script.assistant(text("a"), mid=mid, usage={"cache_creation": tokens})
        (turn,) = turns_in(write(tmp_path, *script.records))
        assert turn.usage == {"cache_creation": {"a": 4}}


def test_usage_is_the_largest_for_each_message(tmp_path: Path) -> None:
    """Added up over the messages, nested too; what is no number is kept once, or as a list."""
    script = Script()
    script.user("Hi")
    for tokens in (1, 9, 5):
        usage = {"output_tokens": tokens, "cache_creation": {"ephemeral_5m": 4}, "service_tier": "standard"}
        script.assistant(text("a"), mid="m1", usage=usage)
    script.assistant(text("b"), mid="m2", usage={"output_tokens": 3, "service_tier": "priority", "speed": None})
    script.assistant(text("c"), mid="m3", model="<synthetic>")
    turn = only_turn(tmp_path, script)
    assert turn.usage == {
        "cache_creation": {"ephemeral_5m": 4},
        "output_tokens": 12,
        "service_tier": ["standard", "priority"],
    }
    assert turn.model == "claude-opus-4-6"
    assert "models" not in turn.meta


def test_prompts_that_old_versions_only_tell_of_in_the_queue(tmp_path: Path) -> None:
    """What is removed was handed to the assistant; what is dequeued follows as a line; what is popped was not sent."""
    script = Script()
    script.user("Hi")
    script.queue("enqueue", "first")
    script.queue("enqueue", "<task-notification>done</task-notification>")
    script.queue("enqueue", "last")
    script.queue("remove")
    script.queue("remove")
    script.queue("dequeue")
    script.user("last")
    script.queue("enqueue", "never sent")
    script.queue("popAll")
    script.queue("remove")
    turns = turns_in(write(tmp_path, *script.records))
    assert prompts_of(turns) == [["Hi"], ["first"], ["last"]]
    assert [message.content for message in said_in(turns[1], "system")] == [
        "<task-notification>done</task-notification>"
    ]
    noted = [note.notes["records"] for note in notes_of(tmp_path, script)]
    assert "never sent" in str(noted)


def test_prompts_that_new_versions_attach(tmp_path: Path) -> None:
    """The attachment begins the turn, where it stands, and the queue's operations begin none."""
    script = Script()
    script.user("Hi")
    script.queue("enqueue", "and this?")
    script.queue("enqueue", "<task-notification>x</task-notification>")
    script.queue("remove")
    script.queue("remove")
    script.assistant(text("still the first"))
    script.queued("and this?")
    script.queued("<task-notification>x</task-notification>", "task-notification")
    script.queued([text("pictures"), {"type": "image", "source": {"url": "x"}}])
    turns = turns_in(write(tmp_path, *script.records))
    assert prompts_of(turns) == [["Hi"], ["and this?"], ["pictures"]]
    assert [message.content for message in said_in(turns[0], "assistant")] == ["still the first"]
    assert len(said_in(turns[1], "system")) == 1


def test_both_forms_of_a_queued_prompt_are_one_turn(tmp_path: Path) -> None:
    """Who reads between the operation and the attachment finds a turn that the whole file then revises."""
    script = Script()
    script.user("Hi")
    script.queue("enqueue", "and this?")
    script.queue("remove")
    script.assistant(text("still the first"))
    before = turns_in(write(tmp_path, *script.records))
    script.queued("and this?")
    after = turns_in(write(tmp_path, *script.records))
    assert [turn.turn_id for turn in before] == [turn.turn_id for turn in after]
    assert prompts_of(before) == prompts_of(after) == [["Hi"], ["and this?"]]


def test_systems_and_attachments_are_kept_whole(tmp_path: Path) -> None:
    """Compaction, hooks, errors, whatever their subtype: text as content, the rest as data."""
    script = Script()
    script.user("Hi")
    script.add(
        "system", subtype="compact_boundary", content="Compacted", compactMetadata={"preTokens": 7}, level="info"
    )
    script.user("The story so far", isCompactSummary=True)
    script.add("system", subtype="what_comes_next", durationMs=0, isMeta=False)
    script.add("attachment", attachment={"type": "edited_text_file", "filename": "a", "snippet": "b"})
    turn = only_turn(tmp_path, script)
    boundary, summary, other, attachment = turn.messages[1:]
    assert (boundary.content, boundary.parts[0].name) == ("Compacted", "compact_boundary")
    assert boundary.parts[1].data == {"compactMetadata": {"preTokens": 7}, "level": "info"}
    assert (summary.role, summary.content) == ("system", "The story so far")
    assert other.parts == (Part(type="system", name="what_comes_next"), Part(type="fields", data={"durationMs": 0}))
    assert attachment.parts == (
        Part(
            type="attachment",
            name="edited_text_file",
            data={"filename": "a", "snippet": "b", "type": "edited_text_file"},
        ),
    )


def test_unknown_records_and_blocks_are_kept_and_counted(tmp_path: Path) -> None:
    """As they are, under the block's own type or as `record`."""
    script = Script()
    script.user("Hi")
    script.assistant({"type": "hologram", "x": [1]})
    script.add("teleport", where="there")
    script.records.append({"no": "type"})
    turn = only_turn(tmp_path, script)
    assert turn.meta["unknown"] == {"hologram": 1, "no type": 1, "teleport": 1}
    assert parts_of(turn, "hologram")[0].data == {"type": "hologram", "x": [1]}
    teleport, nothing = parts_of(turn, "record")
    assert (teleport.name, teleport.data["where"]) == ("teleport", "there")
    assert (nothing.name, nothing.data) == (None, {"no": "type"})


def test_states_and_titles_are_notes(tmp_path: Path) -> None:
    """Beside the turn that they came in, and no part of it; a title that a person gave goes before the program's."""
    script = Script()
    script.user("Hi")
    plain = only_turn(tmp_path, script)
    script.bare("custom-title", customTitle="Mine")
    script.bare("ai-title", aiTitle="Generated")
    script.bare("pr-link", prNumber=7, prUrl="u")
    script.records.append({"type": "file-history-snapshot", "messageId": "m", "snapshot": {"trackedFileBackups": {}}})
    assert only_turn(tmp_path, script) == plain
    beside, title = notes_of(tmp_path, script)
    assert beside.notes["turn"] == plain.turn_id
    kinds = ["custom-title", "ai-title", "pr-link", "file-history-snapshot"]
    assert [record["type"] for record in beside.notes["records"]] == kinds
    assert (title.title, title.conversation) == ("Mine", SESSION)


def test_a_summary_is_a_title_where_it_is_of_this_session(tmp_path: Path) -> None:
    """It names a record; at the head of a file it may be one of another session."""
    script = Script()
    prompt = script.user("Hi")
    foreign = {"type": "summary", "summary": "Elsewhere", "leafUuid": "11111111-0000-0000-0000-000000000000"}
    own = {"type": "summary", "summary": "Here", "leafUuid": prompt["uuid"]}
    script.records = [own, foreign, *script.records]
    assert [note.title for note in notes_of(tmp_path, script)] == [None, "Here"]


def test_a_session_without_messages_is_noted(tmp_path: Path) -> None:
    """There is no turn, and yet nothing is dropped."""
    script = Script()
    script.bare("ai-title", aiTitle="Nothing yet")
    notes = notes_of(tmp_path, script)
    assert turns_in(tmp_path / f"{SESSION}.jsonl") == []
    assert [note.title for note in notes] == [None, "Nothing yet"]
    assert notes[0].notes == {"records": script.records}


def test_of_progress_the_last_tick_is_noted(tmp_path: Path) -> None:
    """Once for each thing that goes on; the turn does not know of it."""
    script = Script()
    script.user("Hi")
    script.call("t1")
    for seconds in (1, 2):
        script.add("progress", data={"type": "bash_progress", "seconds": seconds}, parentToolUseID="t1", toolUseID="x")
    script.add("progress", data={"type": "hook_progress", "hookName": "Stop"}, parentToolUseID="t1")
    script.parent = script.records[1]["uuid"]
    script.result("t1")
    (note,) = notes_of(tmp_path, script)
    assert note.notes["progress"] == [
        {"parentToolUseID": "t1", "seconds": 2, "type": "bash_progress"},
        {"hookName": "Stop", "parentToolUseID": "t1", "type": "hook_progress"},
    ]
    assert [message.role for message in only_turn(tmp_path, script).messages] == ["user", "assistant", "tool"]


def test_going_back_leaves_turns_inactive(tmp_path: Path) -> None:
    """All turns stay; a note lists those that the last one does not follow from."""
    script = Script()
    script.user("one")
    script.assistant(text("1"))
    back_to = script.parent
    script.user("two")
    script.assistant(text("2"))
    script.parent = back_to
    script.user("two, anew")
    turns = turns_in(write(tmp_path, *script.records))
    assert prompts_of(turns) == [["one"], ["two"], ["two, anew"]]
    (note,) = notes_of(tmp_path, script)
    assert note.notes == {"inactive": [turns[1].turn_id]}


def test_asking_the_first_prompt_anew_leaves_it(tmp_path: Path) -> None:
    """It goes back to what stood before the first prompt, which is of the first turn and yet before it."""
    script = Script()
    script.add("attachment", attachment={"type": "skill_listing"})
    root = script.parent
    script.user("one")
    script.parent = root
    script.user("one, anew")
    turns = turns_in(write(tmp_path, *script.records))
    (note,) = notes_of(tmp_path, script)
    assert note.notes == {"inactive": [turns[0].turn_id]}


def test_the_oldest_records_have_neither_type_nor_ids(tmp_path: Path) -> None:
    """The role of the message tells; turns are known by what was said, in the session's order."""
    script = Script()
    script.records = [
        {"message": {"role": "user", "content": "Hi"}},
        {
            "message": {"role": "assistant", "id": "m1", "model": "claude-x", "usage": {"input_tokens": 1}},
            "costUSD": 0.1,
        },
        {"type": "user", "message": {"role": "user", "content": "Hi"}},
    ]
    turns = turns_in(write(tmp_path, *script.records))
    assert prompts_of(turns) == [["Hi"], ["Hi"]]
    assert len({turn.turn_id for turn in turns}) == 2
    assert turns[0].usage == {"input_tokens": 1}
    assert turns[0].started_at is None
    assert turns[0].messages[1].parts[0].data["costUSD"] == 0.1


def test_times_are_utc_and_nothing_else_is_lost(tmp_path: Path) -> None:
    """Other zones are converted; what is no time stays as it was written."""
    script = Script()
    script.user("Hi")["timestamp"] = "2026-02-03T10:00:00+02:00"
    script.assistant(text("a"))["timestamp"] = "yesterday"
    turn = only_turn(tmp_path, script)
    assert turn.started_at is not None
    assert turn.started_at.isoformat() == "2026-02-03T08:00:00+00:00"
    assert turn.messages[1].at is None
    assert turn.messages[1].parts[-1].data["timestamp"] == "yesterday"


def test_half_characters_are_replaced_and_counted(tmp_path: Path) -> None:
    """JSON can spell lone surrogates; the log cannot hold them."""
    path = write(tmp_path, *talk().records)
    path.write_bytes(path.read_bytes().replace("Hi, 你好".encode(), b"Hi \\ud83d!"))
    turn = turns_in(path)[0]
    assert prompts_of([turn]) == [["Hi \ufffd!"]]
    assert turn.meta["replaced_surrogates"] == 1
