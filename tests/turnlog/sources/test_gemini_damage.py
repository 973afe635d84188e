"""What no bytes may do to the sources of Google's formats, and what the shared samples hold."""

import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventlog import TurnRecorded
from turnlog.sources.base import Source
from turnlog.sources.gemini_cli import GeminiCli
from turnlog.sources.gemini_content import salvage
from turnlog.sources.gemini_takeout import Gemini
from turnlog.testing.source_contract import ids_of, turns_of

from .gemini_samples import (
    FIRST,
    ROWS,
    SECOND,
    SESSION_RECORDS,
    call,
    header,
    import_into,
    lines,
    page,
    prompt_file,
    read,
    recorded,
    said,
    unreadable_of,
    write,
)  # fmt: skip
from .shared import TRANSCRIPTS

DOCUMENT = json.dumps({**header(), "messages": [FIRST, said("gemini", "g1", "ok", 1, toolCalls=[call()]), SECOND]})
LOG = json.dumps([{"sessionId": "s", "messageId": n, "type": "user", "message": f"p{n}"} for n in range(3)])
SAMPLES: dict[str, tuple[Source, bytes]] = {
    "session.jsonl": (GeminiCli(), lines(*SESSION_RECORDS)),
    "session.json": (GeminiCli(), DOCUMENT.encode()),
    "logs.json": (GeminiCli(), LOG.encode()),
    "MyActivity.json": (Gemini(), json.dumps(ROWS).encode()),
    "MyActivity.html": (Gemini(), page(ROWS).encode()),
    "A cat": (Gemini(), prompt_file()),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_cut_anywhere_grows_whole_again(tmp_path: Path, name: str) -> None:
    """Cut, imported, restored and imported again, it gives the turns that it gives when imported once."""
    source, content = SAMPLES[name]
    path = write(tmp_path, f"x/{name}", content)
    import_into(tmp_path / "once", source, path)
    once = {turn_id: turn.messages for turn_id, turn in recorded(tmp_path / "once").items()}
    chance = random.Random(name)
    for number, cut in enumerate(sorted(chance.randrange(len(content)) for _ in range(6))):
        for piece in (content[:cut], content):
            path.write_bytes(piece)
            import_into(tmp_path / str(number), source, path)
        assert {turn_id: turn.messages for turn_id, turn in recorded(tmp_path / str(number)).items()} == once


PIECES = (
    b"", b"\0" * 9, b"\xff", b"\n", b'"', b"{", b"}", b"[" * 200, b"<div", b"\\ud800", b"9" * 30, b"NaN",
)  # fmt: skip


@pytest.mark.parametrize("name", SAMPLES)
@settings(max_examples=25)
@given(data=st.data())
def test_no_bytes_are_an_error(tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject) -> None:
    """Whatever is put in, left out or put twice: turns that the log can hold, and pieces that say where and why."""
    source, content = SAMPLES[name]
    for _ in range(data.draw(st.integers(1, 3))):
        start, length = data.draw(st.integers(0, len(content))), data.draw(st.integers(0, 60))
        middle = data.draw(st.sampled_from([*PIECES, content[start : start + 99]]))
        content = content[:start] + middle + content[start + length :]
    content = b"{" + content if "." not in name and content[:1] not in b"{[<" else content
    path = write(tmp_path_factory.mktemp("fuzz"), name, content)
    chunks = read(source, path)
    assert len(set(ids_of(chunks))) == len(ids_of(chunks))
    for turn in turns_of(chunks):
        assert msgspec.json.decode(msgspec.json.encode(turn), type=TurnRecorded) == turn
    assert all(piece.position and piece.reason.encode() for piece in unreadable_of(chunks))


@pytest.mark.parametrize(
    ("broken", "positions"),
    [
        (lines(FIRST)[:-9] + b"\n", ["line 2"]),
        (b"\0" * 4096 + b"\n", ["line 2"]),
        (lines(FIRST).rstrip() + lines(said("gemini", "g", "x")), []),
        (lines(FIRST)[:40] + lines(said("gemini", "g", "x")), ["line 2"]),
        (lines(FIRST).replace(b"List", b"\xff"), ["byte"]),
        (b'{"id":"d","type":"gemini","content":' + b"[" * 1000 + b"]" * 1000 + b"}\n", ["line 2"]),
        (b'{"id":"d","type":"gemini","content":' + b"[" * 120 + b"]" * 120 + b"}\n", ["byte"]),
        (b'{"$set":[1]}\n', ["line 2"]),
        (b'{"id":7,"type":[],"content":{}}\n', []),
        (b"[1]\n", ["line 2"]),
        (b'{"$set":{"messages":7}}\n', ["line 2"]),
    ],
)
def test_a_damaged_line_costs_what_is_damaged(tmp_path: Path, broken: bytes, positions: list[str]) -> None:
    """Torn, NULs, two objects, a splice, bad UTF-8, too deep, wrong types: what is around it is read."""
    content = lines(header()) + broken + lines(SECOND, said("gemini", "g3", "end"))
    chunks = read(GeminiCli(), write(tmp_path, "s.jsonl", content))
    assert [
        piece.position[: len(each)] for piece, each in zip(unreadable_of(chunks), positions, strict=True)
    ] == positions
    assert [message.content for message in turns_of(chunks)[-1].messages][-2:] == ["谢谢", "end"]


def test_an_unfinished_last_line_is_left_for_later(tmp_path: Path) -> None:
    """It is neither a turn nor quarantined; a whole object without its line's end is taken."""
    content = lines(header(), FIRST, SECOND)
    chunks = read(GeminiCli(), write(tmp_path, "s.jsonl", content[:-20]))
    assert (len(turns_of(chunks)), unreadable_of(chunks)) == (1, [])
    assert chunks[-1].cursor["bytes"] == len(lines(header(), FIRST))
    assert len(turns_of(read(GeminiCli(), write(tmp_path, "s.jsonl", content[:-1])))) == 2


def test_numbers_that_nothing_can_hold_and_half_characters_are_kept(tmp_path: Path) -> None:
    """As text, and as U+FFFD, also where they stand in a call's arguments."""
    args = b'{"x":[99999999999999999999,1e999]}'
    raw = b'{"id":"g","type":"gemini","content":"\\ud800","toolCalls":[{"id":"c","name":"n","args":%s}]}' % args
    chunks = read(GeminiCli(), write(tmp_path, "s.jsonl", lines(header(), FIRST) + raw + b"\n"))
    answer = turns_of(chunks)[0].messages[1]
    assert answer.content == "\ufffd"
    assert answer.parts[0].data == {"x": ["99999999999999999999", "1e999"]}


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "piece", ["{", '{"a":', '{"', "[", '{"id":"x","type":"user","timestamp":"",', '{"a":{}},', "\\"]
)
def test_no_text_takes_long_to_be_salvaged(piece: str) -> None:
    """A megabyte of objects that never end is given up after a moment."""
    assert list(salvage(piece * (1_000_000 // len(piece)), lambda record: "id" in record)) == []


def test_files_that_are_damaged_at_their_beginning_are_quarantined(tmp_path: Path) -> None:
    """Named by the user they are not refused: what is not readable is kept, and the rest is read."""
    for name in ("session.json", "MyActivity.json", "x.zip"):
        source, _ = SAMPLES.get(name, SAMPLES["MyActivity.json"])
        assert len(unreadable_of(read(source, write(tmp_path, name, b"\0\0\0")))) == 1
    chunks = read(GeminiCli(), write(tmp_path, "session.jsonl", b"\0\0\0\n" + lines(*SESSION_RECORDS)))
    assert (len(turns_of(chunks)), len(unreadable_of(chunks))) == (2, 1)


# --- the shared samples, counted with plain json and nothing of the sources -------------------------------------------

CLI_FILES = sorted(
    path for path in (TRANSCRIPTS / "gemini-cli").rglob("*.json*") if not path.name.endswith(".expected.json")
)
WEB_FILES = sorted((TRANSCRIPTS / "gemini-web").rglob("*.json")) + sorted((TRANSCRIPTS / "gemini-web").rglob("*.html"))
needs_samples = pytest.mark.skipif(not CLI_FILES, reason="the shared samples are not here")


def cli_messages(path: Path) -> Iterator[dict[str, Any]]:
    text = path.read_text(encoding="utf-8")
    try:
        whole = json.loads(text)
        yield from whole.get("messages") or whole.get("history")
    except json.JSONDecodeError:
        records = [json.loads(line) for line in text.splitlines()]
        yield from {record["id"]: record for record in records if "id" in record}.values()


def text_of(content: Any) -> str:
    if isinstance(content, list):
        return "".join(part if isinstance(part, str) else part.get("text", "") for part in content)
    return content or ""


def count_of_cli(path: Path) -> Counter[Any]:
    counts: Counter[Any] = Counter()
    for message in cli_messages(path):
        kind = message.get("type") or message["role"]
        text = text_of(message.get("content", message.get("parts")))
        if kind == "user" and not text.startswith(("<", "System:")):
            counts["prompt", text] += 1
        elif kind in ("gemini", "model") and text:
            counts["answer", text] += 1
        for each in message.get("toolCalls") or ():
            counts["call", each["id"], json.dumps(each["args"], sort_keys=True)] += 1
            for result in each.get("result") or ():
                response = result["functionResponse"]["response"]
                counts["result", each["id"], json.dumps(response.get("output", response), sort_keys=True)] += 1
        for thought in message.get("thoughts") or ():
            counts["thought", thought["description"]] += 1
    return counts


def count_in_log(log: Path) -> Counter[Any]:
    counts: Counter[Any] = Counter()
    for turn in recorded(log).values():
        for message in turn.messages:
            if message.content and message.role in ("user", "assistant"):
                counts["prompt" if message.role == "user" else "answer", message.content] += 1
            for part in message.parts:
                if part.type == "tool_call":
                    counts["call", part.id, json.dumps(part.data, sort_keys=True)] += 1
                elif part.type == "tool_result" and message.role == "tool":
                    said = part.data if part.text is None else part.text
                    counts["result", part.id, json.dumps(said, sort_keys=True)] += 1
                elif part.type == "thinking":
                    counts["thought", part.text] += 1
    return counts


@needs_samples
def test_everything_in_the_shared_sessions_is_in_the_log(tmp_path: Path) -> None:
    """Prompts, answers, thoughts, calls and results, as often as they are there; importing again records nothing."""
    expected: Counter[Any] = sum((count_of_cli(path) for path in CLI_FILES), Counter())
    assert import_into(tmp_path / "log", GeminiCli(), *CLI_FILES).quarantined == 0
    assert count_in_log(tmp_path / "log") == expected
    assert expected.total() > 80
    again = import_into(tmp_path / "log", GeminiCli(), TRANSCRIPTS / "gemini-cli")
    assert (again.recorded, again.revised) == (0, 0)


@needs_samples
def test_everything_in_the_shared_exports_is_in_the_log(tmp_path: Path) -> None:
    """Each row in Gemini with its prompt; those of other products are not; importing again records nothing."""
    rows = [row for path in WEB_FILES if path.suffix == ".json" for row in json.loads(path.read_text(encoding="utf-8"))]
    prompts = {row["title"].removeprefix("Prompted ") for row in rows if row["header"] == "Gemini Apps"}
    prompts |= {"train games where you ride a train ?", "and how about putitng playlist intead of one link"}
    answers = {row["description"] for row in rows if "description" in row}
    assert import_into(tmp_path / "log", Gemini(), *WEB_FILES).quarantined == 0
    messages = [message for turn in recorded(tmp_path / "log").values() for message in turn.messages]
    assert {message.content for message in messages if message.role == "user"} == prompts
    said_so = {message.content for message in messages if message.role == "assistant"}
    assert said_so > answers
    assert len(said_so) == len(answers) + 3
    again = import_into(tmp_path / "log", Gemini(), *WEB_FILES)
    assert (again.recorded, again.revised) == (0, 0)
