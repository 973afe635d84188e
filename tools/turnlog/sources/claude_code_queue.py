"""Prompts that were typed while Claude Code's assistant worked, as `queue-operation` records tell of them.

They say what was queued, but of what was taken out only that something was: so the queue is played again, first in,
first out. What is dequeued follows as an ordinary line; what is removed is handed to the assistant in the middle of its
work, and from 2.1.10x on that stands in the file as an attachment too, which then is what counts.
"""

from collections import deque
from typing import Any, BinaryIO

from turnlog.sources.claude_code_lines import Lines, Record
from turnlog.sources.claude_code_prompts import is_envelope, texts_of
from turnlog.sources.claude_code_records import queued_text


class Queue:
    """The queue as it was at some point of a file."""

    def __init__(self, file: BinaryIO, waiting: list[str | None]) -> None:
        self._file = file
        self._waiting = deque(waiting)
        self._attached: dict[str, deque[int]] | None = None

    def waiting(self) -> list[str | None]:
        """What is in the queue now; None for what nobody wrote down."""
        return list(self._waiting)

    def take(self, fields: dict[str, Any], offset: int) -> str | None:
        """Take in an operation. Returns what it handed to the assistant, if nothing else in the file says so."""
        operation = fields.get("operation")
        if operation == "enqueue":
            texts = texts_of(fields.get("content"))
            self._waiting.append("\n\n".join(texts) if texts else None)
        elif operation == "popAll":
            self._waiting.clear()
        elif operation in ("dequeue", "remove") and self._waiting:
            text = self._waiting.popleft()
            if operation == "remove" and text and not self._is_attached(text, offset):
                return text
        return None

    @staticmethod
    def mode(text: str) -> str:
        """Whether a person typed what was queued, in the words of the attachments."""
        return "prompt" if text.strip() and not is_envelope(text) else "task-notification"

    def _is_attached(self, text: str, offset: int) -> bool:
        """Whether an attachment behind this place says the same, which no operation has claimed yet."""
        if self._attached is None:
            self._attached = self._find_attached(offset)
        places = self._attached.get(text, deque())
        while places and places[0] <= offset:
            places.popleft()
        if not places:
            return False
        places.popleft()
        return True

    def _find_attached(self, offset: int) -> dict[str, deque[int]]:
        """Where the attachments are that say what was queued, by what they say."""
        found: dict[str, deque[int]] = {}
        here = self._file.tell()
        for piece in Lines(self._file, offset=offset, holding=b'"queued_command"').read():
            attachment = piece.fields.get("attachment") if isinstance(piece, Record) else None
            if (
                isinstance(piece, Record)
                and isinstance(attachment, dict)
                and attachment.get("type") == "queued_command"
            ):
                found.setdefault(queued_text(piece.fields), deque()).append(piece.start)
        self._file.seek(here)
        return found
