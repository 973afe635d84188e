"""Gemini CLI's `logs.json`: what was typed.

An array of `{"sessionId","messageId","type":"user","message","timestamp"}`, rewritten whole. `messageId` counts from 0
in each session and has nothing to do with the ids of its messages.
"""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from eventlog import ConversationNoted, Message, Part, TurnRecorded
from turnlog.sources.base import Chunk, Unreadable
from turnlog.sources.gemini_cli_session import LINE_BYTES_MAX, Prefix
from turnlog.sources.gemini_content import as_text, as_time, salvage
from turnlog.sources.gemini_files import Filling


def is_log(head: bytes) -> bool:
    """Whether a file that begins like this is a log of prompts."""
    return head.startswith(b"[") and all(b'"%s"' % key in head[:4096] for key in (b"sessionId", b"messageId"))


def log_chunks(file: BinaryIO, path: Path, source: str, user: str) -> Iterator[Chunk]:
    """The prompts as turns, or, where sessions stand beside the file, as notes of their conversations."""
    file.seek(0)
    content = file.read(LINE_BYTES_MAX)
    prefix = Prefix()
    prefix.update(content)
    filling, cursor = Filling(), {"bytes": len(content), "digest": prefix.hexdigest(), "from": 0}
    text = content.decode("utf-8", "replace")
    records = list({json.dumps(record, sort_keys=True): record for record in salvage(text, _is_entry)}.values())
    if not text.rstrip().endswith("]"):
        filling.add(Unreadable("byte 0", "it does not end as an array does", content), 0)
    notes: list[ConversationNoted] = []
    if any((path.parent / "chats").glob("session-*.json*")):
        notes = [_note(record, source) for record in records]
    else:
        seen: Counter[str] = Counter()
        for record in records:
            turn_id = f"{source}:{record['sessionId']}:log:{record['messageId']}"
            seen[turn_id] += 1
            turn_id += f":{seen[turn_id]}" if seen[turn_id] > 1 else ""
            if filling.add(_turn(record, turn_id, source, user), len(record["message"])):
                yield filling.end(cursor, prefix.hexdigest(), 0)
    yield filling.end(cursor, prefix.hexdigest(), len(content), notes)


def _is_entry(record: dict[str, Any]) -> bool:
    return bool(as_text(record.get("sessionId"))) and "messageId" in record and isinstance(record.get("message"), str)


def _note(record: dict[str, Any], source: str) -> ConversationNoted:
    typed = {key: value for key, value in record.items() if key != "sessionId"}
    return ConversationNoted(source=source, conversation=record["sessionId"], notes={"typed": typed})


def _turn(record: dict[str, Any], turn_id: str, source: str, user: str) -> TurnRecorded:
    rest = {key: value for key, value in record.items() if key not in ("sessionId", "messageId", "message")}
    at = as_time(rest.pop("timestamp", None))
    kind = rest.pop("type", None)
    parts = (Part(type="fields", data=rest),) if rest else ()
    return TurnRecorded(
        turn_id=turn_id,
        source=source,
        user=user,
        conversation=record["sessionId"],
        started_at=at,
        ended_at=at,
        meta={"log": True},
        messages=(Message(role="user" if kind == "user" else "system", content=record["message"], at=at, parts=parts),),
    )
