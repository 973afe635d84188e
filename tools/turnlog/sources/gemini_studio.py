"""AI Studio's prompts, as they lie in Drive's folder `Google AI Studio` and in Takeout: a file each, without an ending.

::

    {"runSettings": {"model", "temperature", ...}, "systemInstruction": {"text"}, "citations": [...],
     "chunkedPrompt": {"chunks": [{"role": "user"|"model", "text", "isThought", "parts": [...], "tokenCount",
                                   "createTime", "driveImage": {"id"}, "inlineFile": {"mimeType", "data"},
                                   "branchParent": {...}, "branchChildren": [...], ...}],
                       "pendingInputs": [...]}}

The file's name is the title; it is rewritten in place. Chunks have no ids, the newer ones a `createTime`:

1. A turn is one or more chunks of the user in a row, and what follows them. If the first has a `createTime` the turn is
   known by that, wherever the chunk was copied to by a branch or a new name; otherwise by the file's name and which of
   its prompts it is, so that two files of one name that hold two conversations would be taken for versions of one.
2. `parts` repeat a chunk's `text` split up, with thoughts, code and images: they stand for it. What neither has a place
   for is a part `fields`. `tokenCount` is of each chunk; a turn's usage is the sum for each role, thoughts apart.
3. Branches are notes of the conversation, and so are inputs that were not sent yet.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from eventlog import ConversationNoted, Message, Part, TurnRecorded
from turnlog.sources.base import Keep, Unreadable
from turnlog.sources.gemini_content import Content, as_text, as_time, read_object, salvage
from turnlog.sources.objects import CannotRead
from turnlog.text import clean

_BLOBS = ("inlineFile", "inlineImage", "inlineData", "inlineAudio", "inlineVideo")
_LINKED = ("driveDocument", "driveImage", "driveAudio", "driveVideo", "youtubeVideo")
_CALLS = ("executableCode", "codeExecutionResult")
_NOTED_CHARACTERS_MAX = 4096

Found = TurnRecorded | Unreadable | ConversationNoted


def is_prompt_file(head: bytes) -> bool:
    """Whether a file that begins like this is a prompt of AI Studio."""
    return head.startswith(b"{") and any(key in head for key in (b'"chunkedPrompt"', b'"runSettings"'))


def read_prompt(raw: bytes, title: str, source: str, user: str, keep: Keep) -> Iterator[Found]:
    """What is in the file of this name; of a damaged one the chunks that are whole."""
    try:
        document = read_object(raw)
        prompt = document.get("chunkedPrompt")
        chunks = prompt.get("chunks") if isinstance(prompt, dict) else None
    except CannotRead as error:
        yield Unreadable("byte 0", str(error), raw)
        document, prompt = {}, {}
        text = raw.decode("utf-8", "replace")
        chunks = list(salvage(text.partition('"chunks"')[2].partition('"pendingInputs"')[0], _is_chunk))
    title = clean(title)[0]
    conversation = f"studio-{title}"
    groups = _groups(chunks if isinstance(chunks, list) else [])
    maker = _TurnMaker(document, conversation, source, user, keep)
    yield from (maker.turn(group, number) for number, group in enumerate(groups))
    notes = _notes(groups, prompt if isinstance(prompt, dict) else {})
    if groups:
        yield ConversationNoted(source=source, conversation=conversation, title=title, notes=notes)


def _groups(chunks: list[Any]) -> list[list[dict[str, Any]]]:
    groups: list[list[dict[str, Any]]] = []
    for chunk in chunks:
        known = chunk if isinstance(chunk, dict) else {"chunk": chunk}
        is_user = known.get("role") == "user"
        has_prompt = bool(groups) and any(each.get("role") == "user" for each in groups[-1])
        if not groups or (is_user and has_prompt and groups[-1][-1].get("role") != "user"):
            groups.append([])
        groups[-1].append(known)
    return groups


class _TurnMaker:
    """Makes the turns of one file."""

    def __init__(self, document: dict[str, Any], conversation: str, source: str, user: str, keep: Keep) -> None:
        self._settings = document.get("runSettings") if isinstance(document.get("runSettings"), dict) else {}
        self._rest = {key: value for key, value in document.items() if key not in _DOCUMENT}
        self._instruction = document.get("systemInstruction")
        self._conversation = conversation
        self._source = source
        self._user = user
        self._keep = keep
        self._seen: Counter[str] = Counter()

    def turn(self, group: list[dict[str, Any]], number: int) -> TurnRecorded:
        """The turn of these chunks, the file's `number`th from 0."""
        messages, tokens, unknown = self._first_messages(number), Counter[str](), Counter[str]()
        for chunk in group:
            message, found = _message(chunk, self._keep)
            messages.append(message)
            unknown.update(found)
            tokens.update(_tokens(chunk))
        times = [message.at for message in messages if message.at]
        settings = {key: value for key, value in (self._settings or {}).items() if key != "model"}
        meta = {"settings": settings, "file": self._rest if number == 0 else None, "unknown": dict(unknown)}
        return TurnRecorded(
            turn_id=self._turn_id(group, number),
            source=self._source,
            user=self._user,
            conversation=self._conversation,
            started_at=min(times, default=None),
            ended_at=max(times, default=None),
            model=as_text((self._settings or {}).get("model")),
            usage=dict(sorted(tokens.items())) or None,
            meta={key: value for key, value in meta.items() if value},
            messages=tuple(messages),
        )

    def _first_messages(self, number: int) -> list[Message]:
        instruction, content = self._instruction, Content(self._keep)
        if number or not instruction:
            return []
        content.take(instruction.get("parts", instruction) if isinstance(instruction, dict) else instruction)
        if not content.text and not content.parts:
            return []
        return [Message(role="system", content=content.text, name="instruction", parts=tuple(content.parts))]

    def _turn_id(self, group: list[dict[str, Any]], number: int) -> str:
        """Part of what is recorded; do not change."""
        prompt = next((chunk for chunk in group if chunk.get("role") == "user"), group[0])
        created = as_text(prompt.get("createTime"))
        key = f"studio:{created}" if created else f"studio:{self._conversation}:{number}"
        self._seen[key] += 1
        again = f":{self._seen[key]}" if self._seen[key] > 1 else ""
        return f"{self._source}:{key}{again}"


_DOCUMENT = ("runSettings", "systemInstruction", "chunkedPrompt")


def _message(chunk: dict[str, Any], keep: Keep) -> tuple[Message, dict[str, int]]:
    rest, content = dict(chunk), Content(keep)
    role, text, parts = rest.pop("role", None), rest.pop("text", None), rest.pop("parts", None)
    if not isinstance(parts, list):
        rest |= {} if parts is None else {"parts": parts}
        parts = []
    content.take(parts)
    split = [as_text(part.get("text")) or "" for part in parts if isinstance(part, dict)]
    if isinstance(text, str) and text != "".join(split):
        is_thought = rest.get("isThought") is True
        content.parts += [Part(type="thinking", text=text)] if is_thought else []
        content.text = content.text if is_thought else text
    at = as_time(rest.get("createTime"))
    for key in ("tokenCount", "branchParent", "branchChildren", "isThought", *(("createTime",) if at else ())):
        rest.pop(key, None)
    for key in (key for key in _BLOBS if isinstance(rest.get(key), dict)):
        content.add_base64(rest.pop(key), name=key)
    for key in (key for key in _LINKED if isinstance(rest.get(key), dict)):
        linked = rest.pop(key)
        content.add(Part(type="attachment", id=as_text(linked.get("id")), name=key, data=linked))
    content.take([{key: rest.pop(key)} for key in _CALLS if isinstance(rest.get(key), dict) and not parts])
    error = as_text(rest.pop("errorMessage", None))
    if error:
        content.add(Part(type="error", text=error))
    if rest:
        content.add(Part(type="fields", data=rest))
    known = {"user": "user", "model": "assistant"}
    if not isinstance(role, str) or role not in known:
        content.unknown[str(role)] += 1
        content.add(Part(type="record", data={"role": role}))
    return Message(
        role=known.get(role, "system"), content=content.text, at=at, parts=tuple(content.parts)
    ), content.unknown


def _tokens(chunk: dict[str, Any]) -> dict[str, int]:
    count = chunk.get("tokenCount")
    kind = (
        "thoughts"
        if chunk.get("isThought") is True
        else {"user": "input", "model": "output"}.get(chunk.get("role", ""))
    )
    return {kind: count} if kind and type(count) is int else {}


def _notes(groups: list[list[dict[str, Any]]], prompt: dict[str, Any]) -> dict[str, Any]:
    chunks = [chunk for group in groups for chunk in group]
    branches = [
        {"chunk": number, **{key: chunk[key] for key in ("branchParent", "branchChildren") if key in chunk}}
        for number, chunk in enumerate(chunks)
        if "branchParent" in chunk or "branchChildren" in chunk
    ]
    pending = prompt.get("pendingInputs")
    waiting = [each for each in (pending if isinstance(pending, list) else []) if isinstance(each, dict)]
    texts = [text[:_NOTED_CHARACTERS_MAX] for each in waiting if (text := as_text(each.get("text")))]
    notes = {"branches": branches, "pending": texts}
    return {key: value for key, value in notes.items() if value}


def _is_chunk(record: dict[str, Any]) -> bool:
    return record.get("role") in ("user", "model") and len(record) > 1
