"""Turns as Memobase can take them: its two roles, text that does not poison a blob, sizes in tokens.

Everything is sent and everything can be read back. `ESCAPE` (U+241B, a visible sign) marks what was changed:

========================================  ======================
in the turn                               in the blob
========================================  ======================
the sign itself                           the sign twice
NUL                                       the sign and `0`
a lone surrogate, such as U+D83D          the sign and `{d83d}`
`<|`, which begins a special token        `<`, the sign, `|`
an empty message                          the sign and `[empty]`
a name that begins with `[`, or is empty  the sign before it
========================================  ======================

A fragment of a message that was split is restored when it has been joined with the others.

Memobase knows the roles `user` and `assistant`. Another one becomes `assistant` with its name in brackets as `alias`:
`[system]`, `[tool] NAME`; a structured part is a message of its own, behind that which it belongs to, with the alias
`[TYPE] NAME` and its text, or else its data as JSON.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Literal

import msgspec
from msgspec import Struct

from eventlog import Message, Part, TurnRecorded

ESCAPE = "\u241b"
EMPTY = f"{ESCAPE}[empty]"

MESSAGE_TOKENS = 24
"""What a message costs beside its text: its time, its role, and what stands between messages."""

_UNSAFE = re.compile(f"{ESCAPE}|\0|[\ud800-\udfff]|(?<=<)\\|")
_ESCAPED = re.compile(f"{ESCAPE}(?:\\{{([0-9a-f]{{4}})\\}}|(.))", re.DOTALL)
_DENSE = re.compile(rb"[A-Za-z0-9+/=_-]{12,}")
_WORDS = bytes(range(0x30, 0x3A)) + bytes(range(0x41, 0x5B)) + bytes(range(0x61, 0x7B)) + b" \n\r\t"
_NOT_ASCII = bytes(range(0x80, 0x100))
_SENTENCE_END = re.compile(r"[.!?](?=\s)\s+|[。！？…]+\s*|\n+")
_SPACE = re.compile(r"\s+")


class ChatMessage(Struct, frozen=True, omit_defaults=True):
    """A message as Memobase takes it; `created_at` goes word by word into its model's prompt."""

    role: Literal["user", "assistant"]
    content: str
    created_at: str
    alias: str | None = None

    @property
    def tokens(self) -> int:
        """At least how many tokens it is, see `tokens`."""
        return MESSAGE_TOKENS + tokens(self.content) + tokens(self.alias or "")


class Piece(Struct, frozen=True):
    """What goes into one blob; with `continues` its first message goes on with the last one of the piece before."""

    messages: tuple[ChatMessage, ...]
    continues: bool = False

    @property
    def tokens(self) -> int:
        """At least how many tokens it is, see `tokens`."""
        return sum(message.tokens for message in self.messages)


def safe(text: str) -> str:
    """The text with everything changed that Memobase refuses, or takes and never processes; see the module."""
    return _UNSAFE.sub(_escape, text)


def restore(text: str) -> str:
    """The text that `safe` made this of."""
    return "" if text == EMPTY else _ESCAPED.sub(_unescape, text)


def tokens(text: str) -> int:
    """About how many tokens a text is, on the high side.

    Measured with the vocabulary o200k on prose in 9 languages, code, JSON, base64, hex digits, emoji, and random
    letters, accents and signs: in truth never more than 4/3 of this, and for prose about half of it.
    """
    data = text.encode("utf-8", "surrogatepass")
    dense = sum(map(len, _DENSE.findall(data)))
    wide = len(data) - len(data.translate(None, _NOT_ASCII))
    signs = len(data.translate(None, _WORDS)) - wide
    marks = data.count(b"\xcc") + data.count(b"\xcd")  # accents written apart, which no vocabulary has with letters
    return (4 * (signs + marks) + 3 * wide + 2 * (len(data) - signs - wide) + dense + 3) // 4


def chat_messages(turn: TurnRecorded, recorded_at: datetime, older: TurnRecorded | None = None) -> list[ChatMessage]:
    """The messages of a turn; of one that grew, what is new in it since an `older` revision."""
    at = turn.started_at or recorded_at
    found: list[ChatMessage] = []
    for message in _new_messages(turn.messages, older.messages if older else ()):
        found.extend(_render(message, message.at or at))
    return found


def split(messages: Sequence[ChatMessage], budget: int) -> list[Piece]:
    """The messages in pieces of at most `budget` tokens, divided between messages or, where one is longer, sentences.

    The budget must have room for a few words.
    """
    pieces: list[Piece] = []
    gathered: list[ChatMessage] = []
    continues, room = False, budget
    for message in messages:
        for i, fragment in enumerate(_fragments(message, budget)):
            if gathered and (i or fragment.tokens > room):
                pieces.append(Piece(tuple(gathered), continues))
                gathered, continues, room = [], bool(i), budget
            gathered.append(fragment)
            room -= fragment.tokens
    return [*pieces, Piece(tuple(gathered), continues)] if gathered else pieces


def _escape(match: re.Match[str]) -> str:
    found = match[0]
    if found == "\0":
        return f"{ESCAPE}0"
    if found in (ESCAPE, "|"):
        return ESCAPE + found
    return f"{ESCAPE}{{{ord(found):04x}}}"


def _unescape(match: re.Match[str]) -> str:
    if match[1]:
        return chr(int(match[1], 16))
    return "\0" if match[2] == "0" else match[2]


def _new_messages(messages: Sequence[Message], known: Sequence[Message]) -> Iterator[Message]:
    """The messages from the first one that differs; of that one the new end, if it only grew."""
    same = 0
    while same < min(len(messages), len(known)) and messages[same] == known[same]:
        same += 1
    for i, message in enumerate(messages[same:], same):
        if i == same < len(known) and _grew(message, known[i]):
            text, parts = message.content[len(known[i].content) :], message.parts[len(known[i].parts) :]
            if text or parts:
                yield msgspec.structs.replace(message, content=text, parts=parts)
        else:
            yield message


def _grew(message: Message, known: Message) -> bool:
    return (
        (message.role, message.name) == (known.role, known.name)
        and message.content.startswith(known.content)
        and message.parts[: len(known.parts)] == known.parts
    )


def _render(message: Message, at: datetime) -> Iterator[ChatMessage]:
    role: Literal["user", "assistant"] = "user" if message.role == "user" else "assistant"
    folded = message.role not in ("user", "assistant")
    created_at = at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if message.content or not message.parts:
        alias = _label(message.role, message.name) if folded else _alias(message.name)
        yield ChatMessage(role, safe(message.content) or EMPTY, created_at, alias)
    for part in message.parts:
        yield ChatMessage(role, safe(_part_text(part)) or EMPTY, created_at, _label(part.type, part.name))


def _alias(name: str | None) -> str | None:
    if name is None:
        return None
    return ESCAPE + safe(name) if name.startswith("[") or not name else safe(name)


def _label(kind: str, name: str | None) -> str:
    return safe(f"[{kind}] {name}" if name else f"[{kind}]")


def _part_text(part: Part) -> str:
    """What a part says; of one that says nothing in words, what else is known of it."""
    told = msgspec.to_builtins(part)
    known = {key: value for key, value in told.items() if key not in ("type", "name", "text")}
    data = msgspec.json.encode(known).decode() if known else ""
    return "\n".join(text for text in (part.text, data) if text)


def _fragments(message: ChatMessage, budget: int) -> Iterator[ChatMessage]:
    """The message whole, or in fragments that are within the budget."""
    if message.tokens <= budget:
        yield message
        return
    room = max(1, budget - MESSAGE_TOKENS - tokens(message.alias or ""))
    text, start = message.content, 0
    while start < len(text):
        end = _cut(text, start, room)
        yield msgspec.structs.replace(message, content=text[start:end])
        start = end


def _cut(text: str, start: int, room: int) -> int:
    """Where to divide the text from `start` on: behind a sentence, or a word, in the later half of what fits."""
    low, high = start + 1, min(len(text), start + 2 * room)  # no sign is cheaper than half a token
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if tokens(text[start:middle]) <= room else (low, middle - 1)
    if low == len(text):
        return low
    half = (start + low) // 2
    for boundary in (_SENTENCE_END, _SPACE):
        ends = [match.end() for match in boundary.finditer(text, half, low)]
        if ends:
            return ends[-1]
    return low
