"""Copies of something that grew, read in any order: the newest revision of each turn is what the last copy says."""

import json
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventlog import ConversationNoted, TurnRecorded
from projections import content_digest
from turnlog.recorder import TurnRecorder
from turnlog.sources.base import SourceOptions
from turnlog.sources.importing import import_streams
from turnlog.sources.registry import source_type

from . import claude_code_samples, codex_support, export_samples, gemini_samples

ORDERS = st.permutations(range(5)).flatmap(lambda order: st.integers(1, 5).map(lambda count: order[:count]))


class Growing(NamedTuple):
    """What a source's file held, from its beginning on; `copy` makes the file of the first so many pieces."""

    file_name: str
    pieces: Sequence[Any]
    copy: Callable[[Sequence[Any]], bytes]


def _agents_session() -> Sequence[Any]:
    script = claude_code_samples.talk()
    script.call("t7", "Task", prompt="look")
    script.result("t7", "found")
    script.assistant(claude_code_samples.text("The end."), mid="msg_9", usage={"output_tokens": 3})
    return script.records


def _gemini_json(messages: Sequence[Any]) -> bytes:
    return json.dumps({**gemini_samples.header(), "messages": list(messages)}).encode()


def _chat(nodes: Sequence[Any]) -> bytes:
    """An export of one conversation; every later one was changed later, and the first answer was edited meanwhile."""
    fresh = [{**node, "children": []} for node in nodes]
    if len(fresh) > 3:
        message = {**fresh[1]["message"], "content": {"content_type": "text", "parts": ["an edited answer"]}}
        fresh[1] = {**fresh[1], "message": message}
    return json.dumps([export_samples.chat(*fresh, update_time=1_700_000_000.25 + len(fresh))]).encode()


def _claude(messages: Sequence[Any]) -> bytes:
    said = json.loads(
        json.dumps(list(messages)).replace("See:", "Look:") if len(messages) > 3 else json.dumps(messages)
    )
    at = datetime.fromtimestamp(1_752_000_000 + len(messages), UTC).isoformat()
    return json.dumps([export_samples.claude(*said, updated_at=at)]).encode()


NODES = [
    export_samples.node(1, "user", "one"),
    export_samples.node(2, "assistant", "an answer", after=1),
    export_samples.node(3, "assistant", "another answer", after=1),
    export_samples.node(4, "user", "two", after=3),
    export_samples.node(5, "assistant", "so be it", after=4),
]
SAID = export_samples.claude_talk(3)["chat_messages"]
GEMINI_MESSAGES = [record for record in gemini_samples.SESSION_RECORDS if "type" in record]
GROWING = {
    "claude_code": Growing(
        f"{claude_code_samples.SESSION}.jsonl", _agents_session(), lambda p: claude_code_samples.lines(*p)
    ),
    "codex": Growing("sample.jsonl", codex_support.sample().records, codex_support.content_of),
    "gemini_cli": Growing("session-a.jsonl", gemini_samples.SESSION_RECORDS, lambda p: gemini_samples.lines(*p)),
    "gemini_cli json": Growing("session-a.json", GEMINI_MESSAGES, _gemini_json),
    "chatgpt": Growing("conversations.json", NODES, _chat),
    "claude": Growing("conversations.json", SAID, _claude),
    "gemini": Growing("MyActivity.json", gemini_samples.ROWS, lambda p: json.dumps(list(reversed(p))).encode()),
}


def bring_in(log: Path, name: str, *paths: Path) -> None:
    source = source_type(name.split()[0]).from_options(SourceOptions("amy"))
    with TurnRecorder(log, durability="os") as recorder:
        import_streams(recorder, source, source.discover(paths))


def events(log: Path) -> list[Any]:
    with TurnRecorder(log, durability="os") as recorder:
        return [entry.event for entry in recorder.log.read()]


def newest(log: Path) -> dict[str, bytes]:
    return {event.turn_id: content_digest(event) for event in events(log) if isinstance(event, TurnRecorded)}


@pytest.mark.parametrize("name", GROWING)
@settings(max_examples=6)
@given(order=ORDERS, cuts=st.lists(st.integers(0, 99), min_size=4, max_size=4))
def test_the_order_of_copies_decides_nothing(name: str, order: Sequence[int], cuts: Sequence[int]) -> None:
    """However many copies are read, in whatever order, it is as if only the longest of them had been."""
    growing = GROWING[name]
    whole = len(growing.pieces)
    lengths = [*sorted(1 + cut * whole // 100 for cut in cuts), whole]
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for number, length in enumerate(lengths):
            path = Path(folder, f"copy{number}", growing.file_name)
            path.parent.mkdir()
            path.write_bytes(growing.copy(growing.pieces[:length]))
            paths.append(path)
        for number in order:
            bring_in(Path(folder, "log"), name, paths[number])
        bring_in(Path(folder, "once"), name, paths[max(order)])
        once, found = newest(Path(folder, "once")), newest(Path(folder, "log"))
        assert once.items() <= found.items()
        count = len(found)
        for number in order:
            bring_in(Path(folder, "log"), name, paths[number])
        assert newest(Path(folder, "log")) == found
        assert len(found) == count


@pytest.mark.parametrize("name", GROWING)
def test_copies_in_two_folders_are_one(name: str, tmp_path: Path) -> None:
    """No turn is there twice, and none is missing, whether they are imported together or one after the other."""
    growing = GROWING[name]
    paths = [tmp_path / folder / growing.file_name for folder in ("one", "other")]
    for path in paths:
        path.parent.mkdir()
        path.write_bytes(growing.copy(growing.pieces))
    for path in paths:
        bring_in(tmp_path / "after", name, path)
    bring_in(tmp_path / "together", name, *paths)
    bring_in(tmp_path / "once", name, paths[0])
    turns = [
        [e for e in events(tmp_path / log) if isinstance(e, TurnRecorded)] for log in ("after", "together", "once")
    ]
    assert turns[0] == turns[1] == turns[2] != []


def test_both_spellings_of_an_activity_are_one(tmp_path: Path) -> None:
    """Takeout's HTML and JSON of the same rows, in either order."""
    html, json_ = tmp_path / "MyActivity.html", tmp_path / "MyActivity.json"
    html.write_text(gemini_samples.page(gemini_samples.ROWS), encoding="utf-8")
    json_.write_text(json.dumps(gemini_samples.ROWS))
    for log, order in (("a", [html, json_]), ("b", [json_, html])):
        for path in order:
            bring_in(tmp_path / log, "gemini", path)
        found = [event.turn_id for event in events(tmp_path / log) if isinstance(event, TurnRecorded)]
        assert len(set(found)) == len(gemini_samples.ROWS)


def test_what_an_older_copy_says_otherwise_is_kept(tmp_path: Path) -> None:
    """The answer as it was before it was edited is no revision, and is in a blob that a note names, once."""
    old, new = export_samples.chat(*NODES[:2], update_time=1.0), json.loads(_chat(NODES))
    for number, content in enumerate([new, [old], [old]]):
        path = tmp_path / str(number) / "conversations.json"
        path.parent.mkdir()
        path.write_text(json.dumps(content))
        bring_in(tmp_path / "log", "chatgpt", path)
    found = events(tmp_path / "log")
    assert {event.revision for event in found if isinstance(event, TurnRecorded)} == {1}
    (note,) = [event.notes for event in found if isinstance(event, ConversationNoted) and "older" in event.notes]
    digest = note["older"]["digest"]
    kept = json.loads((tmp_path / "log" / "blobs" / digest[:2] / digest).read_bytes())
    assert kept["turn_id"] == note["turn"]
    assert kept["messages"][1]["content"] == "an answer"


def test_a_dry_run_tells_older_copies_apart_too(tmp_path: Path) -> None:
    """What it would have recorded is compared with, though it is nowhere."""
    path = tmp_path / GROWING["codex"].file_name
    source = source_type("codex").from_options(SourceOptions("amy"))
    with TurnRecorder(tmp_path / "log", dry_run=True) as recorder:
        counts = []
        for length in (len(GROWING["codex"].pieces), 7):
            path.write_bytes(codex_support.content_of(GROWING["codex"].pieces[:length]))
            counts.append(import_streams(recorder, source, source.discover([path])))
    assert (counts[0].recorded, counts[1].recorded, counts[1].revised) == (3, 0, 0)
    assert counts[1].unchanged == 1
    assert not (tmp_path / "log").exists()
