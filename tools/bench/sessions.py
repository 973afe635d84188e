"""Folders of generated sessions, one writer per source; see `speech` for where sizes are from."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
from sessions_claude_code import claude_code_session
from sessions_codex import codex_session
from sessions_exports import chatgpt_conversation, save_data_lines
from sessions_gemini_cli import gemini_cli_session
from speech import Speech

Files = Iterable[tuple[str, Iterable[Any]]]
"""The files of a session: the path of each below the folder, and the records that are added to it, one a line."""

SESSIONS: dict[str, Callable[[Speech, int], Files]] = {
    "claude_code": claude_code_session,
    "codex": codex_session,
    "gemini_cli": gemini_cli_session,
    "save_data": save_data_lines,
}
"""By the source that reads them: a writer of one session, by its number."""

_encode = msgspec.json.Encoder().encode


def write_sessions(source: str, folder: Path, size_bytes: int) -> int:
    """Sessions of a source of at least that size together; returns their size in bytes."""
    speech, written, number = Speech(len(source)), 0, 0
    while written < size_bytes:
        for name, records in SESSIONS[source](speech, number):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab") as file:
                written += file.write(b"".join(_encode(record) + b"\n" for record in records))
        number += 1
    return written


def write_conversations(path: Path, size_bytes: int) -> int:
    """A conversations.json of ChatGPT of at least that size; returns its size in bytes."""
    speech, written = Speech(len(path.name)), 0
    with path.open("wb") as file:
        while written < size_bytes:
            written += file.write(b"," if written else b"[")
            written += file.write(_encode(chatgpt_conversation(speech)))
        return written + file.write(b"]")
