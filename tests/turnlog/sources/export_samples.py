"""Small exports of chat programs, made up piece by piece, and what is asked of all of their sources."""

import io
import json
import random
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

from eventlog import ConversationNoted, Part, TurnRecorded
from turnlog.recorder import TurnRecorder
from turnlog.sources.base import Chunk, Unreadable, keep_nothing
from turnlog.sources.exports import ExportSource
from turnlog.sources.importing import ImportCounts, import_streams


def uid(number: int) -> str:
    return str(UUID(int=number + 2**96))


def node(number: int, role: str, *parts: Any, after: int | None = None, **fields: Any) -> dict[str, Any]:
    """A node of a mapping; `fields` replace those of its message."""
    message = {
        "id": uid(number),
        "author": {"role": role, "name": fields.pop("name", None), "metadata": {}},
        "create_time": 1_700_000_000.5 + number,
        "update_time": None,
        "content": {"content_type": "text", "parts": list(parts)},
        "status": "finished_successfully",
        "weight": 1.0,
        "recipient": "all",
        "metadata": {},
        **fields,
    }
    parent = "root" if after is None else uid(after)
    return {"id": uid(number), "message": message, "parent": parent, "children": []}


def chat(*nodes: dict[str, Any], number: int = 900, shown: int | None = None, **fields: Any) -> dict[str, Any]:
    """A conversation of ChatGPT."""
    mapping = {"root": {"id": "root", "message": None, "parent": None, "children": []}}
    mapping |= {each["id"]: each for each in nodes}
    for each in nodes:
        mapping[each["parent"]]["children"].append(each["id"])
    shown_id = nodes[-1]["id"] if shown is None and nodes else uid(shown or 0)
    named = {"id": uid(number), "conversation_id": uid(number), "title": "A chat", "current_node": shown_id}
    return {**named, "mapping": mapping, **fields}


def talk(number: int) -> dict[str, Any]:
    """A conversation of ChatGPT with a prompt that was edited and an answer that was made anew: three turns."""
    first = number * 10
    return chat(
        node(first, "system", "", weight=0.0),
        node(first + 1, "user", f"question {number}", after=first),
        node(first + 2, "assistant", "an answer", after=first + 1, metadata={"model_slug": "gpt-4o"}),
        node(first + 3, "assistant", "another answer 😀", after=first + 1, metadata={"model_slug": "o3"}),
        node(first + 4, "user", "go on", after=first + 3),
        node(first + 5, "user", "go on, edited", after=first + 3),
        node(first + 6, "assistant", "so be it", after=first + 5),
        number=9000 + number,
    )


def said(number: int, sender: str, *blocks: Any, after: int | None = None, **fields: Any) -> dict[str, Any]:
    """A message of Claude.ai."""
    blocks = tuple({"type": "text", "text": block} if isinstance(block, str) else block for block in blocks)
    at = f"2025-07-06T03:10:{number % 60:02}.123456Z"
    parent = {} if after is None else {"parent_message_uuid": uid(after)}
    made = {"uuid": uid(number), "text": "", "content": list(blocks), "sender": sender, "created_at": at}
    return {**made, "updated_at": at, "attachments": [], "files": [], **parent, **fields}


def claude(*messages: dict[str, Any], number: int = 900, **fields: Any) -> dict[str, Any]:
    """A conversation of Claude.ai."""
    about = {"uuid": uid(number), "name": "A chat", "created_at": "2025-07-06T03:10:12.000000Z"}
    return {**about, "account": {"uuid": uid(1)}, "chat_messages": list(messages), **fields}


def claude_talk(number: int) -> dict[str, Any]:
    """A conversation of Claude.ai with tools and branches: three turns."""
    first = 100_000 + number * 10
    thinking = {"type": "thinking", "thinking": "hm"}
    call = {"type": "tool_use", "id": f"call{number}", "name": "artifacts", "input": {"b": 1, "a": "x"}}
    result = {"type": "tool_result", "tool_use_id": f"call{number}", "content": [{"type": "text", "text": "OK"}]}
    return claude(
        said(first, "human", f"question {number}", after=-(2**95)),
        said(first + 1, "assistant", thinking, "See:", call, result, "Done.", after=first),
        said(first + 2, "assistant", "Another answer 😀", after=first),
        said(first + 3, "human", "go on", after=first + 2),
        said(first + 4, "human", "go on, edited", after=first + 2),
        said(first + 5, "assistant", "so be it", after=first + 4),
        number=9000 + number,
    )


def zipped(files: Mapping[str, bytes | str], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip file with these files."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return made.getvalue()


def shuffled(value: Any, seed: int) -> Any:
    """The value with the keys of its objects in another order."""
    if isinstance(value, list):
        return [shuffled(item, seed) for item in value]
    if not isinstance(value, dict):
        return value
    keys = list(value)
    random.Random(seed).shuffle(keys)
    return {key: shuffled(value[key], seed) for key in keys}


class Export:
    """What a source makes of some files, which are in a folder of their own."""

    def __init__(
        self, source: type[ExportSource], content: Any = None, *, files: Mapping[str, Any] | None = None
    ) -> None:
        self.kept: dict[str, bytes] = {}
        with tempfile.TemporaryDirectory() as folder:
            named = {"conversations.json": content} if files is None else files
            paths = []
            for name, data in named.items():
                path = Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(as_bytes(data))
                paths.append(path)
            reader = source(user="ann")
            streams = reader.discover(paths if files is None else [Path(folder)])
            self.chunks: list[Chunk] = [chunk for stream in streams for chunk in reader.read(stream, keep=self._keep)]

    def _keep(self, data: bytes) -> str:
        digest = keep_nothing(data)
        self.kept[digest] = data
        return digest

    @property
    def turns(self) -> list[TurnRecorded]:
        return [turn for chunk in self.chunks for turn in chunk.turns]

    @property
    def turn(self) -> TurnRecorded:
        (turn,) = self.turns
        return turn

    @property
    def notes(self) -> list[ConversationNoted]:
        return [note for chunk in self.chunks for note in chunk.notes]

    @property
    def note(self) -> ConversationNoted:
        (note,) = self.notes
        return note

    @property
    def unreadable(self) -> list[Unreadable]:
        return [piece for chunk in self.chunks for piece in chunk.unreadable]

    @property
    def reasons(self) -> list[tuple[str, str]]:
        return [(piece.position, piece.reason) for piece in self.unreadable]


def as_bytes(content: Any) -> bytes:
    if isinstance(content, bytes):
        return content
    return (content if isinstance(content, str) else json.dumps(content)).encode()


def outline(turns: Iterable[TurnRecorded]) -> list[list[tuple[str, str]]]:
    """Who said what, turn by turn."""
    return [[(message.role, message.content) for message in turn.messages] for turn in turns]


def parts(turn: TurnRecorded) -> list[Part]:
    return [part for message in turn.messages for part in message.parts]


def imported(directory: Path, source: type[ExportSource], *paths: Path) -> ImportCounts:
    """Import files into a log."""
    reader = source(user="ann")
    with TurnRecorder(directory, durability="os") as recorder:
        return import_streams(recorder, reader, reader.discover(paths))


def recorded(directory: Path) -> dict[str, TurnRecorded]:
    """The newest revision of each turn in a log, without what tells revisions apart."""
    import msgspec

    with TurnRecorder(directory, dry_run=True) as recorder:
        events = [entry.event for entry in recorder.log.read(gt=0)]
    turns = {event.turn_id: event for event in events if isinstance(event, TurnRecorded)}
    return {name: msgspec.structs.replace(turn, revision=1, supersedes=None) for name, turn in turns.items()}
