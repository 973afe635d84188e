"""What holds of the exports of every chat program."""

import json
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from eventlog import TurnRecorded
from projections import content_digest
from turnlog.config import ImportLimits
from turnlog.errors import WrongUsage
from turnlog.sources.base import CHUNK_TURNS_MAX, Stream
from turnlog.sources.chatgpt import ChatGpt
from turnlog.sources.claude_export import ClaudeExport
from turnlog.sources.exports import ExportSource
from turnlog.sources.registry import recognise
from turnlog.sources.save_data import SaveData

from .export_samples import Export, claude_talk, imported, recorded, shuffled, talk, zipped
from .shared import TRANSCRIPTS

Talk = Callable[[int], dict[str, Any]]

SOURCES: list[tuple[type[ExportSource], Talk]] = [(ChatGpt, talk), (ClaudeExport, claude_talk)]
each_source = pytest.mark.parametrize(("source", "make"), SOURCES, ids=["chatgpt", "claude"])


def sample(make: Talk, count: int = 4) -> bytes:
    return json.dumps([make(number) for number in range(count)]).encode()


def digests(turns: list[TurnRecorded]) -> dict[str, bytes]:
    return {turn.turn_id: content_digest(turn) for turn in turns}


# --- files ------------------------------------------------------------------------------------------------------------


@each_source
def test_every_packing_gives_the_same_turns(source: type[ExportSource], make: Talk) -> None:
    """A file, a folder, a zip, a zip in a zip, several zips, sharded files; other keys' order, indentation."""
    content = sample(make)
    expected = Export(source, content).turns
    parts = [json.dumps([make(number)]) for number in range(4)]
    packings: list[dict[str, Any]] = [
        {"deep/er/conversations.json": content, "notes.txt": "x", "other.json": "[1]", "empty.json": ""},
        {"export.zip": zipped({"x/conversations.json": content, "chat.html": "<p>", "x/": ""})},
        {"export.zip": zipped({"1.zip": zipped({"a.json": content}), "2.zip": zipped({"b.txt": "x"})})},
        {f"batch-000{n}.zip": zipped({"conversations.json": part}) for n, part in enumerate(parts)},
        {f"conversations-00{n}.json": part for n, part in enumerate(parts)},
        {"any.name": json.dumps(shuffled(json.loads(content), 1), indent=2, ensure_ascii=False)},
    ]
    for files in packings:
        export = Export(source, files=files)
        assert digests(export.turns) == digests(expected)
        assert [turn.turn_id for turn in export.turns] == [turn.turn_id for turn in expected]
        assert not export.unreadable


@each_source
def test_exports_are_told_apart_by_their_structure(source: type[ExportSource], make: Talk, tmp_path: Path) -> None:
    """All are called conversations.json; what is of neither is nobody's; nothing of a folder's links is looked at."""
    files = {"a/conversations.json": sample(make), "b.zip": zipped({"conversations.json": sample(make)}),
             "c.json": json.dumps(make(1))}  # fmt: skip
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    other = {"d.json": '[{"role": "user"}]', "e.json": "[", "f.zip": zipped({"x": "y"})[:-9], "g.json": '"mapping"'}
    for name, text in other.items():
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    (tmp_path / "h.json").symlink_to(tmp_path / "c.json")
    known, unknown = recognise([tmp_path])
    assert {name: [str(path.relative_to(tmp_path)) for path in paths] for name, paths in known.items()} == {
        source.name: sorted(files)
    }
    assert len(unknown) == 4
    streams = source(user="ann").discover([tmp_path])
    assert [str(stream.path.relative_to(tmp_path)) for stream in streams] == sorted(files)


def test_the_old_scripts_files_are_nobody_elses(tmp_path: Path) -> None:
    """A file of `save_data` is none of an export's, and the other way round."""
    old, new = tmp_path / "save_data.jsonl", tmp_path / "conversations.json"
    old.write_text('{"messages":[{"role":"user","content":"hi"}]}\n')
    new.write_bytes(sample(talk))
    assert [kind(user="a").recognises(old) for kind in (ChatGpt, ClaudeExport, SaveData)] == [False, False, True]
    assert [kind(user="a").recognises(new) for kind in (ChatGpt, ClaudeExport, SaveData)] == [True, False, False]


@each_source
def test_what_holds_nothing_is_refused(source: type[ExportSource], make: Talk, tmp_path: Path) -> None:
    """A folder, and a zip, without an export; a zip beyond the limits that the source was given; an empty user."""
    reader = source(user="ann", limits=ImportLimits(entries_max=1))
    empty, wrong, large = tmp_path / "empty", tmp_path / "wrong.zip", tmp_path / "large.zip"
    empty.mkdir()
    wrong.write_bytes(zipped({"x": "y"}))
    large.write_bytes(zipped({"conversations.json": sample(make), "x": "y"}))
    for path, sentence in (
        (empty, f"holds no export of {source.program}; name the folder, or its zip file"),
        (wrong, f"holds no conversations of {source.program}; name its export"),
        (large, "holds more than 1 files; entries_max in [import] says how many it may be"),
    ):
        with pytest.raises(WrongUsage) as caught:
            reader.discover([path])
        assert str(caught.value) == f"{path} {sentence}"
    with pytest.raises(WrongUsage, match="the user is empty"):
        source(user="")


@each_source
def test_a_damaged_entry_costs_itself(source: type[ExportSource], make: Talk, tmp_path: Path) -> None:
    """What was read of it before is taken, what was not is told, and the next entry is read."""
    path = tmp_path / "export.zip"
    content = bytearray(zipped({"1.json": sample(make), "2.json": json.dumps([make(9)])}, 0))
    position = content.index(b"question 3")
    content[position] = 0
    path.write_bytes(content)
    reader = source(user="ann")
    chunks = [chunk for stream in reader.discover([path]) for chunk in reader.read(stream)]
    assert len([turn for chunk in chunks for turn in chunk.turns]) == 12
    (piece,) = [piece for chunk in chunks for piece in chunk.unreadable]
    assert piece.position == "1.json, object 4"
    assert piece.raw


@each_source
def test_an_encrypted_export_is_told(source: type[ExportSource], make: Talk, tmp_path: Path) -> None:
    """By a sentence if nothing else is there; by name beside what can be read."""
    path = tmp_path / "export.zip"
    content = bytearray(zipped({"1.json": sample(make), "2.json": sample(make)}))
    for start, offset in ((0, 6), (content.index(b"PK\1\2"), 8)):
        content[start + offset] |= 1
    path.write_bytes(content)
    reader = source(user="ann")
    chunks = [chunk for stream in reader.discover([path]) for chunk in reader.read(stream)]
    reason = "it is encrypted; unpack it with its password"
    assert [(piece.position, piece.reason) for piece in chunks[0].unreadable] == [("1.json", reason)]
    assert len(chunks[0].turns) == 12
    for start, offset in (
        (content.index(b"PK\3\4", 4), 6),
        (content.index(b"PK\1\2", content.index(b"PK\1\2") + 4), 8),
    ):
        content[start + offset] |= 1
    path.write_bytes(content)
    with pytest.raises(WrongUsage, match=f"export.zip holds no conversations of {source.program}; 1.json in it cannot"):
        reader.discover([path])


def test_zips_in_zips_that_cannot_be_read_are_told() -> None:
    """By their names; the rest is read."""
    export = Export(ChatGpt, files={"e.zip": zipped({"c.json": sample(talk), "part-2.zip": b"PK\3\4 torn"})})
    assert len(export.turns) == 12
    assert [piece.position for piece in export.unreadable] == ["part-2.zip"]


@each_source
def test_chunks_are_bounded(source: type[ExportSource], make: Talk, tmp_path: Path) -> None:
    """So many turns at most, and so many bytes or so; the cursor counts what was read."""
    path = tmp_path / "conversations.json"
    path.write_bytes(sample(make, 400))
    reader = source(user="ann")
    (stream,) = reader.discover([path])
    chunks = list(reader.read(stream))
    assert [len(chunk.turns) for chunk in chunks] == [CHUNK_TURNS_MAX, CHUNK_TURNS_MAX, 200]
    size = path.stat().st_size
    assert (chunks[-1].cursor, chunks[-1].offset) == ({"bytes": size, "objects": 400}, size)
    padded = [{**make(number), "summary": "x" * 1_500_000} for number in range(6)]
    path.write_text(json.dumps(padded))
    assert len(list(reader.read(Stream(name="s", path=path, size_bytes=path.stat().st_size)))) >= 2


# --- a log ------------------------------------------------------------------------------------------------------------


@each_source
def test_a_later_export_adds_what_is_new(source: type[ExportSource], make: Talk, tmp_path: Path) -> None:
    """A turn that grew is a revision, a new one is recorded, what vanished stays; the same again writes nothing."""
    first, later, log = tmp_path / "1.json", tmp_path / "2.json", tmp_path / "log"
    first.write_text(json.dumps([cut_short(make(1)), make(2), make(3)]))
    later.write_text(json.dumps([{**make(4), "title": "t"}, make(3), make(1)]))
    counts = imported(log, source, first)
    assert (counts.recorded, counts.revised, counts.unchanged) == (9, 0, 0)
    counts = imported(log, source, later)
    assert (counts.recorded, counts.revised, counts.unchanged) == (3, 1, 5)
    size = sum(path.stat().st_size for path in (log / "log").iterdir())
    for path in (later, later):
        counts = imported(log, source, path)
        assert (counts.recorded, counts.revised, counts.unchanged) == (0, 0, 9)
    assert sum(path.stat().st_size for path in (log / "log").iterdir()) == size
    assert len(recorded(log)) == 12


def cut_short(conversation: dict[str, Any]) -> dict[str, Any]:
    """The conversation before its last answer."""
    if "mapping" in conversation:
        last = list(conversation["mapping"])[-1]
        del conversation["mapping"][last]
        for each in conversation["mapping"].values():
            each["children"] = [child for child in each["children"] if child != last]
    else:
        conversation["chat_messages"].pop()
    return conversation


@each_source
@settings(max_examples=20)
@given(data=st.data())
def test_a_cut_export_and_then_the_whole_are_as_the_whole(source: type[ExportSource], make: Talk, data: Any) -> None:
    """Cut at any byte: what is whole is recorded, what is torn is told, and the whole one adds the rest."""
    content = sample(make, 3)
    cut = data.draw(st.integers(0, len(content)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "conversations.json")
        path.write_bytes(content[:cut])
        imported(Path(folder, "log"), source, path)
        path.write_bytes(content)
        assert imported(Path(folder, "log"), source, path).quarantined == 0
        assert digests(list(recorded(Path(folder, "log")).values())) == digests(Export(source, content).turns)


@each_source
@settings(max_examples=60)
@given(data=st.data())
def test_no_damage_is_a_crash(source: type[ExportSource], make: Talk, data: Any) -> None:
    """Whatever bytes are put in place of others: what is read can be recorded, and says so twice."""
    content = bytearray(sample(make, 2))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content)))
        put = data.draw(
            st.binary(max_size=8) | st.sampled_from([b"{", b"}", b'"', b"null", b"[]", b"0", b"\\ud800", b"1e999"])
        )
        content[at : at + data.draw(st.integers(0, 12))] = put
    assume(not content.startswith(b"PK"))  # it would be refused as a zip
    first, second = Export(source, bytes(content)), Export(source, bytes(content))
    assert first.chunks == second.chunks
    for turn in first.turns:
        assert msgspec.json.decode(msgspec.json.encode(turn), type=TurnRecorded) == turn
    for note in first.notes:
        assert msgspec.json.encode(note)


@each_source
@settings(max_examples=60)
@given(data=st.data())
def test_no_shape_is_a_crash(source: type[ExportSource], make: Talk, data: Any) -> None:
    """Whatever value stands where another is expected, the turns can be recorded or the object is set apart."""
    conversation = make(1)
    for _ in range(data.draw(st.integers(1, 5))):
        holder, key = data.draw(st.sampled_from(list(places_in(conversation))))
        holder[key] = data.draw(st.sampled_from([None, 0, -1.5, True, "", "x", [], ["x"], {}, {"x": 1}, [[]], [None]]))
    for turn in Export(source, json.dumps([conversation])).turns:
        assert msgspec.json.decode(msgspec.json.encode(turn), type=TurnRecorded) == turn


def places_in(value: Any) -> Iterator[tuple[Any, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in list(items):
        yield value, key
        yield from places_in(item)


# --- real ones --------------------------------------------------------------------------------------------------------


def said_in(turns: list[TurnRecorded]) -> Counter[tuple[str, str]]:
    """Who said what, in all messages that have an id."""
    counted: Counter[tuple[str, str]] = Counter()
    for turn in turns:
        for message in turn.messages:
            counted[message.role, message.content] += bool(message.content)
            for part in message.parts:
                if part.type in ("tool_call", "tool_result"):
                    counted[part.type, part.text or json.dumps(part.data, sort_keys=True)] += 1
    return +counted


def said_by_chatgpt(conversation: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The same, from the file, as formats of exports are described."""
    for each in conversation["mapping"].values():
        message = each["message"]
        text = "".join(message["content"]["parts"]) if message else ""
        if not text:
            continue
        role, recipient = message["author"]["role"], message.get("recipient", "all")
        if role == "tool":
            yield "tool_result", text
        else:
            yield (role, text) if recipient == "all" else ("tool_call", text)


def said_by_claude(conversation: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for message in conversation["chat_messages"]:
        blocks = message["content"] if isinstance(message["content"], list) else []
        texts = [block["text"] for block in blocks if block["type"] == "text" and isinstance(block["text"], str)]
        role = "user" if message["sender"] == "human" else "assistant"
        yield from ((role, text) for text in texts if text)
        if not any(text.strip() for text in texts) and isinstance(message["content"], list) and message["text"].strip():
            yield role, message["text"]
        for block in blocks:
            if block["type"] == "tool_use":
                yield "tool_call", json.dumps(block["input"], sort_keys=True)
            elif block["type"] == "tool_result":
                yield "tool_result", "\n".join(item["text"] for item in block["content"])


REAL = [
    (ChatGpt, "chatgpt/export-2025/conversations.json", said_by_chatgpt),
    (ChatGpt, "chatgpt/synthetic/focus000_conversations.json", said_by_chatgpt),
    (ClaudeExport, "claude-ai/now2ai/conversations.json", said_by_claude),
    (ClaudeExport, "claude-ai/osteele/claude-bakery-chat.json", said_by_claude),
    (ClaudeExport, "claude-ai/osteele/conversation-rendering-tests.json", said_by_claude),
    (ClaudeExport, "claude-ai/osteele/conversation-with-errors.json", said_by_claude),
    (ClaudeExport, "claude-ai/osteele/conversations.json", said_by_claude),
    (ClaudeExport, "claude-ai/synthetic/focus000_conversations.json", said_by_claude),
]


@pytest.mark.skipif(not TRANSCRIPTS.exists(), reason="the samples of others are not here")
@pytest.mark.parametrize(("source", "name", "said_by"), REAL, ids=[name for _, name, _ in REAL])
def test_all_that_real_exports_say_is_recorded(
    source: type[ExportSource], name: str, said_by: Any, tmp_path: Path
) -> None:
    """Every prompt, answer, call and result, counted without the importer, is in the log, once; again adds nothing."""
    path = TRANSCRIPTS / name
    assert source(user="a").recognises(path)
    assert imported(tmp_path, source, path).quarantined == 0
    again = imported(tmp_path, source, path)
    assert (again.recorded, again.revised, again.quarantined) == (0, 0, 0)
    data = json.loads(path.read_bytes())
    data = data.get("conversations", [data]) if isinstance(data, dict) else data
    expected = Counter(each for conversation in data for each in said_by(conversation))
    found = said_in(list(recorded(tmp_path).values()))
    assert sum(expected.values()) > 3
    for (role, text), count in expected.items():
        held = sum(n * content.count(text) for (who, content), n in found.items() if who == role)
        assert held >= count, (role, text[:80])


@pytest.mark.skipif(not TRANSCRIPTS.exists(), reason="the samples of others are not here")
def test_everything_in_the_folders_of_samples_can_be_imported(tmp_path: Path) -> None:
    """Whole folders, also with what is no JSON in them; a second time nothing is new."""
    for source, folder in ((ChatGpt, "chatgpt"), (ClaudeExport, "claude-ai")):
        first = imported(tmp_path, source, TRANSCRIPTS / folder)
        again = imported(tmp_path, source, TRANSCRIPTS / folder)
        assert first.recorded > 10
        assert (again.recorded, again.revised, again.unchanged) == (0, 0, first.recorded + first.unchanged)


@each_source
def test_a_damaged_name_in_a_zip_breaks_no_sentence(tmp_path: Path, source: type[ExportSource], make: Talk) -> None:
    """What an archive calls its files, and what reading says of them, stands on one line."""
    path = tmp_path / "export.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("conversations.json", sample(make))
    data = path.read_bytes()
    at = data.rindex(b"conversations.json")  # the name in the directory at the end
    path.write_bytes(data[:at] + b"\n" + data[at + 1 :])
    with pytest.raises(WrongUsage, match=r"onversations\.json in it cannot be read") as refused:
        source(user="amy").discover([path])
    assert str(refused.value).isprintable()
