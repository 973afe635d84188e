"""AI Studio's prompts: chunks, thoughts, branches, inline data, identity by time or by file."""

from pathlib import Path
from typing import Any

from eventlog import Part, TurnRecorded
from turnlog.sources.base import Source
from turnlog.sources.gemini_takeout import Gemini
from turnlog.testing.source_contract import SourceContract, turns_of

from .gemini_samples import CHUNKS, import_into, notes_of, prompt_file, read, turns, unreadable_of, write


class TestContract(SourceContract):
    def make_source(self) -> Source:
        return Gemini(user="ann")

    def write_sample(self, folder: Path) -> list[Path]:
        return [write(folder, "A cat", prompt_file())]


def of_chunks(folder: Path, *chunks: Any) -> list[TurnRecorded]:
    return turns(Gemini(), write(folder, "A cat", prompt_file(chunks)))


def test_a_prompt_file_is_these_turns(tmp_path: Path) -> None:
    """The sample, field by field; its ids never change, or everything is imported again."""
    chunks = read(Gemini(), write(tmp_path, "A cat", prompt_file(citations=[{"uri": "x"}])))
    first, second = turns_of(chunks)
    assert (first.turn_id, second.turn_id) == ("gemini:studio:studio-A cat:0", "gemini:studio:studio-A cat:1")
    assert (first.conversation, first.model) == ("studio-A cat", "models/gemini-3")
    assert first.usage == {"input": 7, "output": 6, "thoughts": 5}
    assert first.meta == {"settings": {"temperature": 1}, "file": {"citations": [{"uri": "x"}]}}
    instruction, image, question, thought, answer = first.messages
    assert (instruction.role, instruction.content) == ("system", "Be brief.")
    assert image.parts == (Part(type="attachment", id="d1", name="driveImage", data={"id": "d1"}),)
    assert (question.role, question.content) == ("user", "What is this?")
    assert (thought.content, thought.parts) == ("", (Part(type="thinking", text="Looking ..."),))
    assert (answer.content, answer.parts) == ("A cat.", (Part(type="fields", data={"finishReason": "STOP"}),))
    assert (second.messages[1].parts[0].type, second.messages[1].parts[0].size_bytes) == ("image", 3)
    (note,) = notes_of(chunks)
    assert (note.title, note.notes) == ("A cat", {"pending": ["and a dog"]})


def test_parts_stand_for_the_text_that_they_repeat(tmp_path: Path) -> None:
    """With thoughts and code between; a text that they do not repeat stays."""
    parts = [{"text": "Hm", "thought": True}, {"executableCode": {"language": "PYTHON", "code": "1"}}, {"text": "One"}]
    (turn,) = of_chunks(tmp_path, CHUNKS[1], {"role": "model", "text": "HmOne", "parts": parts})
    answer = turn.messages[-1]
    assert (answer.content, [part.type for part in answer.parts]) == ("One", ["thinking", "tool_call"])
    (turn,) = of_chunks(tmp_path, CHUNKS[1], {"role": "model", "text": "Two", "parts": [{"inlineData": {}}]})
    assert turn.messages[-1].content == "Two"


def test_errors_and_unknown_chunks_are_kept(tmp_path: Path) -> None:
    """An error is a part, an unknown role is counted, what is no chunk at all is kept as it is."""
    error, odd = {"role": "model", "errorMessage": "Quota"}, {"role": "ghost", "text": "Boo"}
    (turn,) = of_chunks(tmp_path, CHUNKS[1], error, odd, 7)
    assert turn.messages[2].parts == (Part(type="error", text="Quota"),)
    assert (turn.messages[3].role, turn.messages[3].content) == ("system", "Boo")
    assert turn.messages[4].parts[0].data == {"chunk": 7}
    assert turn.meta["unknown"] == {"ghost": 1, "None": 1}


def test_with_times_a_turn_is_known_wherever_it_was_copied(tmp_path: Path) -> None:
    """A branch under another name adds its own turn only, and both files say how they are related."""
    timed = [{**chunk, "createTime": f"2026-08-02T20:00:0{number}.5Z"} for number, chunk in enumerate(CHUNKS)]
    grown = {"role": "user", "text": "And now?", "createTime": "2026-08-03T00:00:00Z"}
    parent = [{**timed[0], "branchChildren": [{"promptId": "p2", "displayName": "Branch"}]}, *timed[1:]]
    branch = [{**timed[0], "branchParent": {"promptId": "p1", "displayName": "A cat"}}, *timed[1:], grown]
    write(tmp_path, "A cat", prompt_file(parent))
    write(tmp_path, "Branch", prompt_file(branch))
    write(tmp_path, "Renamed", prompt_file(parent))
    counts = import_into(tmp_path / "log", Gemini(), tmp_path)
    assert (counts.recorded, counts.revised, counts.unchanged) == (3, 0, 4)
    first, second, _ = [note.notes["branches"] for note in notes_of(read(Gemini(), tmp_path))]
    assert first == [{"chunk": 0, "branchChildren": [{"promptId": "p2", "displayName": "Branch"}]}]
    assert second == [{"chunk": 0, "branchParent": {"promptId": "p1", "displayName": "A cat"}}]


def test_a_file_that_grew_adds_its_turns(tmp_path: Path) -> None:
    """Without times the file's name and the prompt's number tell; the same file in another folder adds nothing."""
    path = write(tmp_path, "a/A cat", prompt_file(CHUNKS[:4]))
    import_into(tmp_path / "log", Gemini(), path)
    path.write_bytes(prompt_file())
    assert import_into(tmp_path / "log", Gemini(), path).recorded == 1
    counts = import_into(tmp_path / "log", Gemini(), write(tmp_path, "b/A cat", prompt_file()))
    assert (counts.recorded, counts.revised, counts.unchanged) == (0, 0, 2)


def test_of_a_damaged_file_the_whole_chunks_are_taken(tmp_path: Path) -> None:
    """Torn, or with one chunk broken: the file is kept in quarantine, and what can be told apart is read."""
    for damaged in (prompt_file()[:-350], prompt_file().replace(b'"Looking ..."', b"Looking")):
        chunks = read(Gemini(), write(tmp_path, "A cat", damaged))
        assert len(unreadable_of(chunks)) == 1
        assert turns_of(chunks)[0].messages[1].content == "What is this?"
