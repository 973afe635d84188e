import base64
import json
from pathlib import Path
from typing import Any

import pytest

from turnlog.sources.base import Source, keep_nothing
from turnlog.sources.claude_export import ClaudeExport
from turnlog.sources.claude_export_messages import UNSUPPORTED
from turnlog.testing.source_contract import SourceContract

from .export_samples import Export, claude, claude_talk, outline, parts, said, uid, zipped


class TestContract(SourceContract):
    def make_source(self) -> Source:
        return ClaudeExport(user="ann")

    def write_sample(self, folder: Path) -> list[Path]:
        path = folder / "conversations.json"
        path.write_text("[" + ",\n".join(json.dumps(claude_talk(number)) for number in range(4)) + "]")
        return [path]

    def cuts(self, content: bytes) -> list[int]:
        return list(range(0, len(content), 211))


def read(*messages: dict[str, Any], **fields: Any) -> Export:
    return Export(ClaudeExport, [claude(*messages, **fields)])


def answer(*blocks: Any, **fields: Any) -> Export:
    """A question, and an answer with these blocks."""
    return read(said(1, "human", "hi"), said(2, "assistant", *blocks, **fields))


# --- turns ------------------------------------------------------------------------------------------------------------


def test_a_turn_is_a_prompt_and_all_that_hangs_from_it() -> None:
    """An edited prompt is a turn of its own; an answer made anew is in the same turn, and says what it follows."""
    export = Export(ClaudeExport, [claude_talk(1)])
    assert outline(export.turns) == [
        [("user", "question 1"), ("assistant", "See:"), ("tool", ""), ("assistant", "Done."),
         ("assistant", "Another answer 😀")],
        [("user", "go on")],
        [("user", "go on, edited"), ("assistant", "so be it")],
    ]  # fmt: skip
    first = export.turns[0]
    assert [turn.turn_id for turn in export.turns] == [f"claude:{uid(100_000 + n)}" for n in (10, 13, 14)]
    assert [part.type for part in parts(first)] == ["thinking", "tool_call", "tool_result", "branch"]
    assert parts(first)[-1].id == uid(100_010)
    answer_id = uid(100_011)
    ids = [message.id for message in first.messages]
    assert ids == [uid(100_010), answer_id, f"{answer_id}:1", f"{answer_id}:2", uid(100_012)]
    assert (export.note.conversation, export.note.title) == (uid(9001), "A chat")
    assert "aside" not in export.note.notes


def test_without_parents_messages_follow_each_other() -> None:
    """As they lie; two answers to a prompt are one after the other."""
    export = read(said(1, "human", "a"), said(2, "assistant", "b"), said(3, "assistant", "c"), said(4, "human", "d"))
    assert outline(export.turns) == [[("user", "a"), ("assistant", "b"), ("assistant", "c")], [("user", "d")]]
    assert not any(map(parts, export.turns))


def test_what_is_not_shown_is_told_by_a_note() -> None:
    """Where the live interface's capture says which leaf is shown; no turn tells of it."""
    export = Export(ClaudeExport, {**claude_talk(1), "current_leaf_message_uuid": uid(100_013)})
    aside = {"turns": [f"claude:{uid(100_014)}"], "messages": [uid(100_011)]}
    assert export.note.notes["aside"] == aside
    assert export.turns == Export(ClaudeExport, [claude_talk(1)]).turns


def test_ids_that_are_not_unique_in_the_world_are_told_apart() -> None:
    """Where a message's id is no UUID, the conversation's is before it; and two messages of one id are two."""
    messages = [{**said(1, "human", "a"), "uuid": "msg-1"}, {**said(2, "human", "b"), "uuid": "msg-1"}]
    assert [turn.turn_id for turn in read(*messages).turns] == [
        f"claude:{uid(900)}:msg-1", f"claude:{uid(900)}:msg-1#1",
    ]  # fmt: skip


def test_the_live_interface_and_the_export_give_the_same_turns() -> None:
    """What only one of them says of messages, blocks and files is no part of a turn's content."""
    files = [{"file_name": "a.png", "file_uuid": "f1"}]
    block = {"type": "text", "text": "hi", "start_timestamp": "2025-07-06T03:10:13Z", "citations": [], "flags": None}
    exported = read(said(1, "human", block, files=files))
    live = read(said(1, "human", "hi", index=0, truncated=False, files=[{**files[0], "preview_url": "/x"}]), model="m")
    assert exported.turn.messages == live.turn.messages
    assert exported.turn.meta["messages"][uid(1)] == {"blocks": {"0": {"start_timestamp": "2025-07-06T03:10:13Z"}}}
    assert live.turn.meta["messages"][uid(1)] == {"files": [{"preview_url": "/x"}], "index": 0, "truncated": False}
    assert live.note.notes["model"] == "m"


# --- blocks -----------------------------------------------------------------------------------------------------------


def test_text_blocks_that_touch_are_one_text() -> None:
    """Citations cut a sentence in two; another block between them is a break."""
    assert answer("According to ", "the paper").turn.messages[1].content == "According to the paper"
    flag = {"type": "flag", "flag": "x"}
    assert answer("a", flag, "b").turn.messages[1].content == "a\n\nb"


def test_thinking_has_its_summaries() -> None:
    """Its signature says nothing, and is kept in meta."""
    block = {"type": "thinking", "thinking": "hm", "summaries": [{"summary": "Musing"}], "signature": "s" * 9}
    export = answer(block)
    (thinking,) = parts(export.turn)
    assert (thinking.type, thinking.text, thinking.data) == ("thinking", "hm", {"summaries": [{"summary": "Musing"}]})
    assert export.turn.meta["messages"][uid(2)] == {"blocks": {"0": {"signature": "s" * 9}}}


def test_tools_are_called_and_answer() -> None:
    """Inputs are data with their keys in order; results are texts, with what else they have beside."""
    call = {"type": "tool_use", "id": "c1", "name": "web", "input": {"q": 1, "a": 2}, "icon_name": "globe"}
    items = [{"type": "text", "text": "one"}, {"type": "knowledge", "title": "t"}, {"type": "text", "text": "two"}]
    result = {"type": "tool_result", "tool_use_id": "c1", "name": "web", "content": items, "is_error": True,
              "structured_content": {"n": 1}}  # fmt: skip
    export = answer(call, result)
    made, given = parts(export.turn)
    assert (made.type, made.id, made.name, json.dumps(made.data)) == ("tool_call", "c1", "web", '{"a": 2, "q": 1}')
    assert (given.type, given.id, given.text) == ("tool_result", "c1", "one\ntwo")
    assert given.data == {
        "content": [{"type": "knowledge", "title": "t"}], "is_error": True, "structured_content": {"n": 1},
    }  # fmt: skip
    assert [message.role for message in export.turn.messages] == ["user", "assistant", "tool"]
    assert export.turn.meta["messages"][uid(2)]["blocks"] == {"0": {"icon_name": "globe"}}


def test_images_in_results_are_kept_beside_the_log() -> None:
    """By digest; what is no base 64 stays as it is."""
    source = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(b"PNG").decode()}
    result = {"type": "tool_result", "content": [{"type": "image", "source": source}]}
    export = answer(result)
    _, image = parts(export.turn)
    assert (image.type, image.media_type, image.size_bytes) == ("image", "image/png", 3)
    assert export.kept[str(image.digest)] == b"PNG"
    broken = {"type": "image", "source": {**source, "data": "*"}}
    (result_part,) = parts(answer({**result, "content": [broken]}).turn)
    assert result_part.data == {"content": [broken]}


def test_a_result_alone_is_no_prompt() -> None:
    """Also where it is said in the human's name."""
    export = read(said(1, "human", "hi"), said(2, "human", {"type": "tool_result", "content": "OK"}))
    assert outline(export.turns) == [[("user", "hi"), ("tool", "")]]


@pytest.mark.parametrize("block", [{"type": "voice_note", "text": "la"}, {"type": "token_budget", "remaining": 5}])
def test_rare_blocks_are_kept_as_they_are(block: dict[str, Any]) -> None:
    """Under their own type, and not as unknown."""
    export = answer(block)
    assert [(part.type, part.data) for part in parts(export.turn)] == [(block["type"], block)]
    assert "unknown" not in export.turn.meta


def test_what_nobody_knows_is_kept_and_counted() -> None:
    """Blocks of other types, texts that are none, blocks that are no objects, senders."""
    odd = [{"type": "hologram", "x": 1}, {"type": "text", "text": 5}, 7, {"type": "thinking"}]
    export = read(said(1, "human", "hi"), said(2, "assistant", *odd), said(3, "robot", "beep"))
    assert export.turn.meta["unknown"] == {"block": 1, "hologram": 1, "sender:robot": 1, "text": 1, "thinking": 1}
    assert [part.data for part in parts(export.turn)] == odd
    assert export.turn.messages[-1].role == "system"


@pytest.mark.parametrize(
    ("content", "text", "expected", "kept"),
    [
        ([{"type": "text", "text": "from blocks"}], f"x {UNSUPPORTED} y", "from blocks", None),
        ([{"type": "text", "text": "from\nblocks"}], "from blocks ", "from\nblocks", None),
        ([{"type": "text", "text": "from blocks"}], "from text", "from blocks", "from text"),
        ([{"type": "text", "text": ""}], "from text", "from text", None),
        ([], "from text", "from text", None),
        (None, "from text", "from text", None),
        ("a string", "from text", "a string", "from text"),
        ([{"type": "text", "text": UNSUPPORTED}], UNSUPPORTED, UNSUPPORTED, None),
    ],
)
def test_blocks_are_what_was_said(content: Any, text: str, expected: str, kept: str | None) -> None:
    """`text` stands in for them where they say nothing, and is kept where it says something else."""
    turn = read(said(1, "human", "hi"), said(2, "assistant", content=content, text=text)).turn
    assert turn.messages[1].content == expected
    assert turn.meta.get("messages", {}).get(uid(2), {}).get("text") == kept


# --- files ------------------------------------------------------------------------------------------------------------


def test_attachments_have_their_text() -> None:
    """What was extracted from them; a large one is kept beside the log; files are only named."""
    attachments = [
        {"file_name": "a.pdf", "file_size": 9, "file_type": "pdf", "extracted_content": "text of it"},
        {"file_name": "b.txt", "file_size": 70_000, "file_type": "txt", "extracted_content": "b" * 70_000},
    ]
    files = [{"file_name": "c.png", "file_uuid": "f1", "file_kind": "image"}]
    export = read(said(1, "human", attachments=attachments, files=files))
    small, large, named = parts(export.turn)
    assert (small.type, small.name, small.text) == ("attachment", "a.pdf", "text of it")
    assert small.data == {"file_size": 9, "file_type": "pdf"}
    assert (large.text, export.kept[str(large.digest)]) == (None, b"b" * 70_000)
    assert (named.type, named.name, named.id) == ("image", "c.png", "f1")


# --- other objects ----------------------------------------------------------------------------------------------------


def test_documents_of_claude_design_are_conversations() -> None:
    """Their blocks are texts, thinking and calls with their outputs; attachments have texts."""
    attached = [{"name": "a.txt", "content": "x", "type": "text"}]
    asked = {"uuid": uid(1), "role": "user", "content": {"content": "draw", "attachments": attached}}
    call = {"id": "c1", "name": "edit", "input": {"p": 1}, "output": "done", "type": "edit"}
    blocks = [
        {"type": "thinking", "text": "hm"},
        {"type": "text", "text": "Drawing"},
        {"type": "tool_call", "toolCall": call},
    ]
    drawn = {"uuid": uid(2), "role": "assistant", "content": {"content": "Drawing", "contentBlocks": blocks}}
    document = {
        "uuid": uid(900),
        "title": "A design",
        "project": {"uuid": uid(8), "name": "p"},
        "messages": [asked, drawn],
    }
    export = Export(ClaudeExport, [document])
    assert outline(export.turns) == [[("user", "draw"), ("assistant", "Drawing"), ("tool", "")]]
    file, thinking, made, given = parts(export.turn)
    assert (file.name, file.text) == ("a.txt", "x")
    assert (thinking.type, thinking.text) == ("thinking", "hm")
    assert (made.type, made.data, given.text, given.id) == ("tool_call", {"p": 1}, "done", "c1")
    assert (export.note.title, export.note.notes) == ("A design", {"project": {"uuid": uid(8), "name": "p"}})


def test_projects_and_memories_are_kept_and_noted() -> None:
    """No turn is made of them; a document is a digest in a note, whatever its size."""
    doc = {"uuid": uid(5), "filename": "rules.md", "content": "Be kind", "created_at": "2025-01-01T00:00:00Z"}
    project = {"uuid": uid(8), "name": "Work", "description": "d", "prompt_template": "p" * 5_000, "docs": [doc]}
    memory = {"conversations_memory": "likes tea", "project_memories": {uid(8): "about work"}, "account_uuid": uid(1)}
    files = {"conversations.json": [claude_talk(1)], "projects/1.json": project, "memories.json": [memory]}
    export = Export(ClaudeExport, files={"e.zip": zipped({name: json.dumps(data) for name, data in files.items()})})
    assert len(export.turns) == 3
    notes = {(note.conversation, note.title): note.notes for note in export.notes}
    kept = {"digest": keep_nothing(b"Be kind"), "media_type": "text/plain", "size_bytes": 7}
    without_content = {name: value for name, value in doc.items() if name != "content"}
    assert notes[uid(8), "Work"]["docs"] == [{**without_content, **kept}]
    assert json.loads(export.kept[notes[uid(8), "Work"]["project"]["digest"]])["prompt_template"] == "p" * 5_000
    assert notes[f"memories:{uid(1)}", "Memories"]["conversations_memory"] == "likes tea"
    assert notes[uid(8), None] == {"memory": "about work"}


def test_an_object_of_another_kind_is_set_apart() -> None:
    """A conversation of another program for one."""
    export = Export(ClaudeExport, [{"mapping": {}}, claude_talk(1)])
    assert export.reasons == [("object 1", "it has no chat_messages, so it is no conversation")]
    assert len(export.turns) == 3


def test_a_tools_wrapping_is_looked_through() -> None:
    """An object with a list of conversations, an object alone, and one to a line are read as an array is."""
    text = json.dumps(claude_talk(1))
    expected = Export(ClaudeExport, [claude_talk(1)]).turns
    for wrapped in (f'\ufeff {{"conversations" : [{text}]}}', text, f"{text}\n{text.replace(uid(9001), uid(9002))}\n"):
        assert Export(ClaudeExport, wrapped).turns[:3] == expected
