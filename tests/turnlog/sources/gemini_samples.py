"""What Gemini CLI, Takeout and AI Studio write, in small, for their tests; and what reading it gives."""

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from eventlog import ConversationNoted, TurnRecorded
from turnlog.recorder import TurnRecorder
from turnlog.sources.base import Chunk, Source, Unreadable
from turnlog.sources.importing import ImportCounts, import_streams
from turnlog.testing.source_contract import turns_of

SESSION = "0ab84937-9fe7-4284-986a-33c832af0b6a"


def header(session: str = SESSION, **fields: Any) -> dict[str, Any]:
    """The first line of a session of Gemini CLI."""
    times = {"startTime": "2026-04-23T12:52:00.000Z", "lastUpdated": "2026-04-23T12:52:00.000Z"}
    return {"sessionId": session, "projectHash": "9da8", **times, "kind": "main", **fields}


def said(kind: str, id: str, content: Any, second: int = 0, **fields: Any) -> dict[str, Any]:  # noqa: A002
    """A message of a session."""
    at = f"2026-04-23T12:{53 + second // 60}:{second % 60:02}.000Z"
    return {"id": id, "timestamp": at, "type": kind, "content": content, **fields}


def lines(*records: Any) -> bytes:
    """A `.jsonl`."""
    return b"".join(json.dumps(each, ensure_ascii=False).encode() + b"\n" for each in records)


def call(id: str = "c1", output: str | None = "a.txt", **fields: Any) -> dict[str, Any]:  # noqa: A002
    """A tool call, with its result if there is one."""
    response = {"functionResponse": {"id": id, "name": "ls", "response": {"output": output}}}
    result = {} if output is None else {"result": [response], "resultDisplay": output}
    status = "executing" if output is None else "success"
    return {"id": id, "name": "ls", "args": {"dir": "."}, **result, "status": status, **fields}


TOKENS = {"input": 10, "output": 2, "cached": 4, "thoughts": 1, "tool": 0, "total": 13}
ANSWER: dict[str, Any] = {
    "thoughts": [{"subject": "S", "description": "D", "timestamp": "2026-04-23T12:53:01.000Z"}],
    "tokens": TOKENS,
    "model": "gemini-3",
}
FIRST = said("user", "u1", [{"text": "List the files"}])
SECOND = said("user", "u2", [{"text": "谢谢"}], 30)
CONTEXT = said("user", "s1", [{"text": "<session_context>\nToday is ..."}])
SESSION_RECORDS = (
    header(),
    CONTEXT,
    FIRST,
    {"$set": {"lastUpdated": "2026-04-23T12:53:01.000Z"}},
    said("gemini", "g1", "", 1, **ANSWER),
    said("gemini", "g1", "", 1, **ANSWER, toolCalls=[call()]),
    said("gemini", "g2", "There is one.", 2, tokens=TOKENS, model="gemini-3"),
    SECOND,
    said("gemini", "g3", "不客气", 31, tokens=TOKENS, model="gemini-3"),
    {"$set": {"summary": "Files"}},
)


def row(prompt: str, second: int, answers: Sequence[str] = ("<p>Yes.</p>",), **fields: Any) -> dict[str, Any]:
    """A row of activity as Takeout's JSON has it."""
    at = f"2026-08-02T20:{second // 60:02}:{second % 60:02}.412Z"
    html = {"safeHtmlItem": [{"html": answer} for answer in answers]} if answers else {}
    row = {"header": "Gemini Apps", "title": prompt, "time": at, "products": ["Gemini Apps"], **fields}
    return {**row, **html}


def page(rows: Sequence[dict[str, Any]]) -> str:
    """The same rows as Takeout's HTML has them, in Berlin."""
    return f"<html><head><style>p{{}}</style></head><body><div>{''.join(map(cell, rows))}</div></body></html>"


def cell(row: dict[str, Any]) -> str:
    """A row as a cell of the page."""
    minute, second = row["time"][14:16], row["time"][17:19]
    notes = "".join(
        f'<a href="{escape(each["url"])}">{escape(each["name"])}</a><br>' if "url" in each else each["name"] + "<br>"
        for each in row.get("subtitles", ())
    )
    links = "".join(f'<a href="{each["url"]}">{each["url"]}</a>' for each in row.get("details", ()))
    answers = "<br>".join(each["html"] for each in row.get("safeHtmlItem", ()))
    column = '<div class="content-cell mdl-cell mdl-cell--'
    return (
        '<div class="outer-cell mdl-cell"><div class="mdl-grid"><div class="header-cell mdl-cell">'
        f'<p class="mdl-typography--title">{row["header"]}<br></p></div>'
        f'{column}6-col mdl-typography--body-1">{escape(row["title"]).replace(" ", "&nbsp;", 1)}<br>{notes}'
        f"Aug 2, 2026, 10:{minute}:{second}\u202fPM CEST<br>{answers}<br></div>"
        f'{column}6-col mdl-typography--body-1 mdl-typography--text-right"></div>'
        f'{column}12-col mdl-typography--caption"><b>Details:</b><br>{links}</div></div></div>'
    )


ROWS = (
    row("Prompted and <b>then</b> & now?", 90, ["<p>One &amp; <b>two</b></p>\n<ul>\n<li>a</li>\n</ul>"]),
    row("Prompted what\nis it?", 60, ["<p>First</p>", "<p>Second &#39;draft&#39;</p>"]),
    row("Used an app", 50, []),
    row("Prompted ", 40, subtitles=[{"name": "Attached 1 file."}, {"name": "-  a.png", "url": "a-1f.png"}]),
    row("Prompted no answer", 30, [], details=[{"name": "x", "url": "https://gemini.google.com/app/995a37b426489105"}]),
    row("Created Gemini Canvas titled ", 20, ["```html\n&lt;p&gt;\n\n\n\nx\n```"]),
)

CHUNKS: tuple[dict[str, Any], ...] = (
    {"role": "user", "driveImage": {"id": "d1"}, "tokenCount": 3},
    {"role": "user", "text": "What is this?", "tokenCount": 4},
    {"role": "model", "text": "Looking ...", "isThought": True, "tokenCount": 5},
    {
        "role": "model",
        "text": "A cat.",
        "parts": [{"text": "A "}, {"text": "cat."}],
        "tokenCount": 6,
        "finishReason": "STOP",
    },
    {"role": "user", "text": "Draw it", "tokenCount": 2},
    {"role": "model", "inlineImage": {"mimeType": "image/png", "data": "AAAA"}, "tokenCount": 9},
)


def prompt_file(chunks: Sequence[dict[str, Any]] = CHUNKS, **fields: Any) -> bytes:
    """A file of AI Studio."""
    settings = {"model": "models/gemini-3", "temperature": 1}
    instruction = {"text": "Be brief."}
    prompt = {"chunks": list(chunks), "pendingInputs": [{"text": "and a dog", "role": "user"}]}
    whole = {"runSettings": settings, "systemInstruction": instruction, "chunkedPrompt": prompt, **fields}
    return json.dumps(whole, indent=2).encode()


def write(folder: Path, name: str, content: bytes | str) -> Path:
    """A file with its folders."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(source: Source, *paths: Path) -> list[Chunk]:
    """All chunks of what the paths name."""
    return [chunk for stream in source.discover(paths) for chunk in source.read(stream)]


def turns(source: Source, *paths: Path) -> list[TurnRecorded]:
    """All turns, where everything could be read."""
    chunks = read(source, *paths)
    assert unreadable_of(chunks) == []
    return turns_of(chunks)


def unreadable_of(chunks: Sequence[Chunk]) -> list[Unreadable]:
    """What could not be read."""
    return [piece for chunk in chunks for piece in chunk.unreadable]


def notes_of(chunks: Sequence[Chunk]) -> list[ConversationNoted]:
    """What was noted."""
    return [note for chunk in chunks for note in chunk.notes]


def import_into(log: Path, source: Source, *paths: Path) -> ImportCounts:
    """Take the paths into the log in that folder."""
    with TurnRecorder(log, durability="os") as recorder:
        return import_streams(recorder, source, source.discover(paths))


def recorded(log: Path) -> dict[str, TurnRecorded]:
    """The newest revision of each turn in the log."""
    with TurnRecorder(log, durability="os") as recorder:
        events = (entry.event for entry in recorder.log.read())
        return {event.turn_id: event for event in events if isinstance(event, TurnRecorded)}
