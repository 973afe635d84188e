import json
from pathlib import Path
from typing import Any

import pytest

from turnlog.sources.base import Source
from turnlog.sources.chatgpt import ChatGpt
from turnlog.sources.objects import NESTING_MAX
from turnlog.testing.source_contract import SourceContract

from .export_samples import Export, chat, node, outline, parts, talk, uid, zipped

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 40


class TestContract(SourceContract):
    def make_source(self) -> Source:
        return ChatGpt(user="ann")

    def write_sample(self, folder: Path) -> list[Path]:
        path = folder / "conversations.json"
        path.write_text("[" + ",".join(json.dumps(talk(number)) for number in range(4)) + "]")
        return [path]

    def cuts(self, content: bytes) -> list[int]:
        return list(range(0, len(content), 211))


class TestContractOfZips(TestContract):
    def write_sample(self, folder: Path) -> list[Path]:
        path = folder / "export.zip"
        path.write_bytes(zipped({f"x/conversations-00{n}.json": json.dumps([talk(n)]) for n in range(3)}))
        return [path]

    def cuts(self, content: bytes) -> list[int]:
        return [len(content)]  # a zip that was cut is none


def read(*nodes: dict[str, Any], **fields: Any) -> Export:
    return Export(ChatGpt, [chat(*nodes, **fields)])


def answer(**fields: Any) -> Export:
    """A question, and a message with these fields after it."""
    return read(node(1, "user", "hi"), node(2, fields.pop("role", "assistant"), after=1, **fields))


# --- turns ------------------------------------------------------------------------------------------------------------


def test_a_turn_is_a_prompt_and_all_that_hangs_from_it() -> None:
    """An edited prompt is a turn of its own; an answer made anew is in the same turn, and says what it follows."""
    export = Export(ChatGpt, [talk(1)])
    assert outline(export.turns) == [
        [("user", "question 1"), ("assistant", "an answer"), ("assistant", "another answer 😀")],
        [("user", "go on")],
        [("user", "go on, edited"), ("assistant", "so be it")],
    ]
    first, second, third = export.turns
    assert [turn.turn_id for turn in export.turns] == [f"chatgpt:{uid(number)}" for number in (11, 14, 15)]
    assert [(part.type, part.id) for part in parts(first)] == [("branch", uid(11))]
    assert (first.model, first.meta["models"]) == ("gpt-4o", {"gpt-4o": [uid(12)], "o3": [uid(13)]})
    assert (second.meta["follows"], third.meta["follows"]) == (uid(13), uid(13))
    assert (first.conversation, first.user) == (uid(9001), "ann")
    assert (first.started_at, first.messages[0].id) == (first.messages[0].at, uid(11))


def test_what_is_not_shown_is_told_by_a_note() -> None:
    """The turns and messages off the way from the current node upwards, and the title; no turn tells of it."""
    shown_last, shown_first = Export(ChatGpt, [talk(1)]), Export(ChatGpt, [{**talk(1), "current_node": uid(14)}])
    assert (shown_last.note.conversation, shown_last.note.title) == (uid(9001), "A chat")
    assert shown_last.note.notes["aside"] == {"turns": [f"chatgpt:{uid(14)}"], "messages": [uid(12)]}
    assert shown_first.note.notes["aside"] == {"turns": [f"chatgpt:{uid(15)}"], "messages": [uid(12)]}
    assert shown_last.turns == shown_first.turns


def test_ids_that_are_not_unique_in_the_world_are_told_apart() -> None:
    """Where a message's id is no UUID, the conversation's is before it."""
    text = json.dumps([talk(1)]).replace(uid(11), "node-a")
    assert Export(ChatGpt, text).turns[0].turn_id == f"chatgpt:{uid(9001)}:node-a"


def test_what_is_before_the_first_prompt_belongs_to_it() -> None:
    """Whatever time it has; without any prompt it is a turn by itself; and nothing said is no turn."""
    lead = node(5, "assistant", "Welcome")
    assert outline(read(lead, node(1, "user", "hi", after=5)).turns) == [[("assistant", "Welcome"), ("user", "hi")]]
    alone = read(lead)
    assert (alone.turn.turn_id, outline(alone.turns)) == (f"chatgpt:{uid(900)}", [[("assistant", "Welcome")]])
    silent = read(node(5, "assistant", ""))
    assert (silent.turns, silent.note.title) == ([], "A chat")


def test_turns_come_in_the_order_of_their_times() -> None:
    """Not in that of branches; a prompt without a time comes with what it follows."""
    nodes = [
        node(1, "user", "a"), node(2, "assistant", "b", after=1), node(9, "user", "late", after=2),
        node(3, "user", "c", after=2), node(4, "user", "d", after=3, create_time=None),
    ]  # fmt: skip
    assert [turn.messages[0].content for turn in read(*nodes).turns] == ["a", "c", "d", "late"]


def test_hidden_messages_are_marked() -> None:
    """A user's are the system's and no prompt; others are named; nothing of them is lost."""
    hidden = {"metadata": {"is_visually_hidden_from_conversation": True}}
    profile = {"content_type": "user_editable_context", "user_profile": "I am Ann", "user_instructions": "Be brief"}
    export = read(
        node(1, "system", "rules", weight=0.0),
        node(2, "user", after=1, content=profile),
        node(3, "user", "hi", after=2),
        node(4, "assistant", "psst", after=3, **hidden),
        node(5, "user", "not typed", after=4, **hidden),
        node(6, "assistant", "hello", after=5),
    )
    roles = ["system", "system", "user", "assistant", "system", "assistant"]
    assert [message.role for message in export.turn.messages] == roles
    assert export.turn.turn_id == f"chatgpt:{uid(3)}"
    assert export.turn.meta["hidden"] == [uid(4)]
    assert parts(export.turn)[0].data == {"user_instructions": "Be brief", "user_profile": "I am Ann"}


def test_odd_trees_lose_no_message() -> None:
    """A parent that is not there, a circle, children that nobody lists, nodes that are no objects."""
    conversation = chat(node(1, "user", "a"), node(2, "assistant", "b", after=1), node(3, "user", "c", after=2))
    mapping = conversation["mapping"]
    mapping[uid(3)]["parent"] = "nowhere"
    mapping[uid(1)]["parent"] = uid(2)
    mapping["root"]["children"] = None
    mapping["odd"] = [1]
    export = Export(ChatGpt, [conversation])
    assert sorted(each for turn in outline(export.turns) for each in turn) == [
        ("assistant", "b"),
        ("user", "a"),
        ("user", "c"),
    ]
    assert not export.unreadable


# --- content types ----------------------------------------------------------------------------------------------------


def test_a_message_to_a_tool_is_a_call_and_what_a_tool_says_its_result() -> None:
    """They name each other; what was called is the recipient."""
    export = read(
        node(1, "user", "hi"),
        node(2, "assistant", after=1, recipient="python",
             content={"content_type": "code", "language": "python", "text": "1+1"}),
        node(3, "tool", after=2, name="python", content={"content_type": "execution_output", "text": "2"}),
    )  # fmt: skip
    call, code, result = parts(export.turn)
    assert (call.type, call.name, call.id, call.text) == ("tool_call", "python", uid(2), "1+1")
    assert (code.type, code.data) == ("code", {"language": "python"})
    assert (result.type, result.name, result.id, result.text) == ("tool_result", "python", uid(2), "2")
    assert [message.role for message in export.turn.messages] == ["user", "assistant", "tool"]
    assert export.turn.meta["messages"][uid(2)] == {"recipient": "python"}


def test_thoughts_are_thinking() -> None:
    """With their summaries; how they came in pieces is not said twice."""
    thoughts = [{"summary": "Adding", "content": "1+1", "chunks": ["1+", "1"], "finished": True},
                {"summary": "", "content": "2", "chunks": ["3"]}]  # fmt: skip
    first, second = parts(answer(content={"content_type": "thoughts", "thoughts": thoughts}).turn)
    assert (first.type, first.name, first.text, first.data) == ("thinking", "Adding", "1+1", None)
    assert (second.name, second.text, second.data) == (None, "2", {"chunks": ["3"]})


@pytest.mark.parametrize(
    ("content", "text", "rest"),
    [
        ({"content_type": "tether_quote", "text": "q", "url": "u"}, "q", {"url": "u"}),
        ({"content_type": "tether_browsing_display", "result": "r", "summary": "s"}, "r", {"summary": "s"}),
        ({"content_type": "system_error", "text": "e", "name": "n"}, "e", {"name": "n"}),
        ({"content_type": "sonic_webpage", "text": "t", "title": "x"}, "t", {"title": "x"}),
        ({"content_type": "citable_code_output", "output_str": "o"}, "o", None),
    ],
)
def test_what_tools_show_is_a_result(content: dict[str, str], text: str, rest: Any) -> None:
    """The text of each content type is the result; what belongs to it is a part of its type."""
    export = answer(role="tool", name="browser", content=content)
    result, *others = parts(export.turn)
    assert (result.type, result.text) == ("tool_result", text)
    assert [(part.type, part.data) for part in others] == ([(content["content_type"], rest)] if rest else [])
    assert "unknown" not in export.turn.meta


def test_a_recap_is_a_part() -> None:
    """It is nothing that was answered."""
    (recap,) = parts(answer(content={"content_type": "reasoning_recap", "content": "Thought for 5s"}).turn)
    assert (recap.type, recap.text) == ("reasoning_recap", "Thought for 5s")


def test_what_nobody_knows_is_kept_and_counted() -> None:
    """Content types, pieces of contents, authors, numbers where texts should be."""
    export = read(
        node(1, "user", "hi", {"content_type": "hologram", "depth": 3}, 7, None),
        node(2, "assistant", after=1, content={"content_type": "dream", "of": ["sheep"]}),
        node(3, "critic", "meh", after=2),
        node(4, "assistant", after=3, content={"content_type": "text", "parts": None}),
    )
    assert export.turn.meta["unknown"] == {"dream": 1, "hologram": 1, "part:int": 1, "role:critic": 1}
    assert [(part.type, part.data) for part in parts(export.turn)] == [
        ("hologram", {"depth": 3}), ("content", 7), ("dream", {"of": ["sheep"]}),
    ]  # fmt: skip
    assert export.turn.messages[-1].role == "system"


def test_a_talk_is_its_transcript() -> None:
    """What was heard is the prompt; sound, frames and film are named."""
    heard = {"content_type": "audio_transcription", "text": "Good day", "direction": "in"}
    sound = {"content_type": "audio_asset_pointer", "asset_pointer": "sediment://file_a1", "format": "wav"}
    film = {"content_type": "real_time_user_audio_video_asset_pointer", "audio_asset_pointer": sound,
            "frames_asset_pointers": ["sediment://file_b2"],
            "video_container_asset_pointer": "sediment://file_c3"}  # fmt: skip
    export = read(node(1, "user", heard, film, content={"content_type": "multimodal_text", "parts": [heard, film]}))
    assert export.turn.messages[0].content == "Good day"
    named = [part.id for part in parts(export.turn) if part.type == "attachment"]
    assert named == ["sediment://file_a1", "sediment://file_b2", "sediment://file_c3"]


def test_large_results_are_kept_beside_the_log() -> None:
    """They stand as digest, type and size; text and data alike."""
    export = read(
        node(1, "user", "hi", {"content_type": "blob", "all": "y" * 70_000}),
        node(2, "tool", "x" * 70_000, after=1, name="python"),
    )
    blob, result = parts(export.turn)
    assert (result.text, result.media_type, result.size_bytes) == (None, "text/plain", 70_000)
    assert export.kept[str(result.digest)] == b"x" * 70_000
    assert json.loads(export.kept[blob.data["digest"]]) == {"all": "y" * 70_000}


def test_authors_and_states_are_in_meta() -> None:
    """Where they are not the usual ones."""
    export = answer(
        content={"content_type": "text", "parts": ["ok"]}, status="in_progress", weight=0.5, channel="final",
        author={"role": "assistant", "metadata": {"real_author": "tool:web"}},
    )  # fmt: skip
    assert export.turn.meta["messages"][uid(2)] == {
        "author": {"metadata": {"real_author": "tool:web"}}, "channel": "final", "status": "in_progress", "weight": 0.5,
    }  # fmt: skip


def test_what_else_is_said_of_a_message_is_in_meta() -> None:
    """It changes from export to export, so it is no part of the turn's content."""
    before = answer(content={"content_type": "text", "parts": ["ok"]}, metadata={"citations": [], "request_id": "r1"})
    after = answer(content={"content_type": "text", "parts": ["ok"]}, metadata={"citations": [{"url": "u"}]})
    assert before.turn.meta["messages"] == {uid(2): {"request_id": "r1"}}
    assert after.turn.meta["messages"] == {uid(2): {"citations": [{"url": "u"}]}}
    assert before.turn.messages == after.turn.messages


# --- assets -----------------------------------------------------------------------------------------------------------

PICTURE = {
    "content_type": "image_asset_pointer",
    "asset_pointer": "file-service://file-ABC",
    "width": 4,
    "size_bytes": 9,
}
UPLOAD = {"id": "file-ABC", "name": "cat.png", "mime_type": "image/png", "size": 9}
PDF = {"id": "file-XYZ", "name": "a.pdf", "size": 5}


def with_assets() -> str:
    content = {"content_type": "multimodal_text", "parts": [PICTURE, "what is this?"]}
    return json.dumps([chat(node(1, "user", content=content, metadata={"attachments": [UPLOAD, PDF]}))])


@pytest.mark.parametrize(
    "files",
    [
        {"e.zip": zipped({"conversations.json": with_assets(), "file-ABC-cat.png": PNG})},
        {"e.zip": zipped({"d/conversations.json": with_assets(), "d/file-ABC-cat.png": PNG})},
        {"e.zip": zipped({"in/part.zip": zipped({"conversations.json": with_assets(), "file-ABC-cat.png": PNG})})},
        {"1.zip": zipped({"conversations-000.json": with_assets()}), "2.zip": zipped({"file-ABC-cat.png": PNG})},
        {"conversations.json": with_assets(), "deep/er/file-ABC-cat.png": PNG},
        {"e.zip": zipped({"conversations.json": with_assets(), "file-ABC.dat": PNG,
                          "conversation_asset_file_names.json": '{"file-ABC.dat": "cat.png"}'})},
    ],
    ids=["zip", "folder in zip", "zip in zip", "two zips", "folder", "renamed"],
)  # fmt: skip
def test_assets_in_the_export_are_kept(files: dict[str, Any]) -> None:
    """Wherever in it: a picture is one part, with its upload's name and type; what is not there is named."""
    export = Export(ChatGpt, files=files)
    picture, pdf = parts(export.turn)
    assert (picture.type, picture.id, picture.name) == ("image", "file-service://file-ABC", "cat.png")
    assert (picture.media_type, picture.size_bytes, picture.data) == ("image/png", len(PNG), {"width": 4})
    assert export.kept[str(picture.digest)] == PNG
    assert (pdf.type, pdf.id, pdf.name, pdf.media_type) == ("attachment", "file-XYZ", "a.pdf", "application/pdf")
    assert (pdf.digest, pdf.size_bytes) == (None, 5)


def test_assets_that_are_not_there_are_named() -> None:
    """With the size that the message tells."""
    picture, _ = parts(Export(ChatGpt, with_assets()).turn)
    assert (picture.digest, picture.size_bytes, picture.name) == (None, 9, "cat.png")


# --- beside conversations ---------------------------------------------------------------------------------------------


def test_what_is_said_of_conversations_is_noted() -> None:
    """Fields of a conversation, ratings and shares; a custom GPT is in each turn's meta."""
    rating = {"id": "f1", "conversation_id": uid(900), "rating": "thumbsUp"}
    share = {"id": "s1", "conversation_id": uid(900), "title": "A chat", "is_anonymous": True}
    comparison = {"id": "c1", "conversation_id": uid(900), "input": {"prompt": "x" * 9_000}, "output": {}}
    conversation = chat(node(1, "user", "hi"), gizmo_id="g-1", is_archived=True, moderation_results=[])
    files = {"conversations.json": [conversation], "message_feedback.json": [rating],
             "shared_conversations.json": [share], "model_comparisons.json": [comparison]}  # fmt: skip
    export = Export(ChatGpt, files={"e.zip": zipped({name: json.dumps(data) for name, data in files.items()})})
    about, *others = export.notes
    assert about.notes == {"current_node": uid(1), "gizmo_id": "g-1", "is_archived": True}
    assert export.turn.meta == {"gizmo_id": "g-1"}
    assert {note.conversation for note in others} == {uid(900)}
    assert [note.notes for note in others[:2]] == [{"feedback:f1": rating}, {"shared:s1": share}]
    assert export.kept[others[2].notes["comparison:c1"]["digest"]]


def test_turns_that_a_branch_copied_are_told() -> None:
    """The conversation that comes later notes which of its turns another one had."""
    first, second = talk(1), {**talk(1), "id": uid(77), "conversation_id": uid(77)}
    notes = Export(ChatGpt, [first, second]).notes
    assert "shares" not in notes[0].notes
    assert notes[1].notes["shares"] == [f"chatgpt:{uid(number)}" for number in (11, 14, 15)]


# --- what cannot be read ----------------------------------------------------------------------------------------------


def test_a_conversation_that_is_nested_too_deeply_is_set_apart() -> None:
    """It alone; and what is nested as deep as is allowed is read."""
    deep: Any = "x"
    for _ in range(NESTING_MAX - 1):
        deep = [deep]
    good = Export(ChatGpt, [chat(node(1, "user", {"content_type": "x", "deep": deep}))])
    assert len(good.turns) == 1
    bad = chat(node(1, "user", {"content_type": "x", "deep": [[deep]]}), number=1)
    export = Export(ChatGpt, [talk(1), bad, talk(2)])
    assert len(export.turns) == 6
    assert export.reasons == [("object 2", f"it is nested more than {NESTING_MAX} levels deep")]
    assert json.loads(export.unreadable[0].raw) == bad


def test_an_object_of_another_kind_is_set_apart() -> None:
    """Whole, with its number, as are an array's items that are no objects."""
    export = Export(ChatGpt, [{"a": 1}, talk(1), 5, talk(2), "text"])
    assert len(export.turns) == 6
    assert export.reasons == [
        ("object 1", "it has no mapping, so it is no conversation"),
        ("object 3", "it is not a JSON object"),
        ("object 5", "it is not a JSON object"),
    ]
    assert [piece.raw for piece in export.unreadable] == [b'{"a":1}', b"5", b'"text"]']


def test_half_characters_and_numbers_beyond_the_log_are_read() -> None:
    """Lone surrogates stand as U+FFFD and are counted, NaN and endless integers stand as text."""
    text = json.dumps([chat(node(1, "user", "a HALF b", {"content_type": "x", "n": "NAN", "i": "BIG"}))])
    text = text.replace("HALF", "\\ud83d").replace('"NAN"', "NaN").replace('"BIG"', "9" * 30)
    turn = Export(ChatGpt, text).turn
    assert (turn.messages[0].content, turn.meta["replaced_surrogates"]) == ("a \ufffd b", 1)
    assert parts(turn)[0].data == {"i": "9" * 30, "n": "NaN"}
