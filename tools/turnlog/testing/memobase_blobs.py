"""A chat blob as `MemobaseDouble` has it: parsed, checked, counted, and told to the model."""

import re
from typing import Any, Literal

from msgspec import Struct

State = Literal["idle", "processing", "failed", "done", "dropped", "orphan", "deleted"]
STATUSES = ("idle", "processing", "failed", "done")
"""Those that can be asked for: whatever became of a blob otherwise, no status lists it."""

_BAD = re.compile("[\0\ud800-\udfff]")
_SPECIAL_TOKENS = ("<|endoftext|>", "<|endofprompt|>")
_SPECIAL_WORDS = ("endoftext", "endofprompt")


class Blob(Struct, eq=False):
    """A blob in the ledger: `order` of arrival from 1, `row` the id of its row in the buffer (an orphan has none).

    `done`: the model had it. `dropped`: it was silently left out. Unless blobs persist, both are deleted from then on.
    """

    order: int
    id: str
    row: str | None
    user: str
    messages: list[dict[str, str]]
    fields: dict[str, Any] | None
    tokens: int
    state: State
    created_at: str


class Prompt(Struct, frozen=True):
    """One call of the model: what it was told, and the contents that this was made of, in order of arrival."""

    id: str
    user: str
    text: str
    contents: list[str]


def count_tokens(text: str) -> int:
    """The double's own count, as no tokenizer is at hand: a token a word, or 3 bytes of UTF-8, whatever is more."""
    return max(len(text.split()), -(-len(text.encode("utf-8", "surrogatepass")) // 3))


def prompt_line(message: dict[str, str]) -> str:
    """A message as the model is told it: its `created_at` verbatim, its alias or role, its content."""
    at = f"[{message['created_at']}] " if "created_at" in message else ""
    return f"{at}{message.get('alias', message['role'])}: {message['content']}"


def parse_messages(blob_data: dict[str, Any]) -> list[dict[str, str]] | None:
    """The messages of a chat blob, without what the server drops of them. None: it cannot parse them."""
    messages = blob_data.get("messages")
    if not isinstance(messages, list):
        return None
    parsed = [_parse_message(message) for message in messages]
    return None if None in parsed else [message for message in parsed if message is not None]


def _parse_message(message: object) -> dict[str, str] | None:
    if not isinstance(message, dict) or message.get("role") not in ("user", "assistant"):
        return None
    keys = ("role", "content", "alias", "created_at")
    said = {key: message.get(key) for key in keys if key == "content" or message.get(key) is not None}
    texts = {key: value for key, value in said.items() if isinstance(value, str)}
    return texts if texts == said else None


def _texts(value: object) -> list[str]:
    """Every text in a JSON value, keys too."""
    found, todo = [], [value]
    while todo:
        value = todo.pop()
        if isinstance(value, str):
            found.append(value)
        elif isinstance(value, dict):
            todo += [*value, *value.values()]
        elif isinstance(value, list):
            todo += value
    return found


def is_bad(messages: list[dict[str, str]], fields: dict[str, Any] | None) -> bool:
    """Whether the database would refuse the blob for its text."""
    return any(map(_BAD.search, _texts(messages))) or any("\0" in text for text in _texts(fields))


def is_special(messages: list[dict[str, str]], *, loosely: bool) -> bool:
    """Whether the tokenizer would refuse a message. `loosely`: whatever is put between the letters, or left out."""
    texts = _texts(messages)
    if loosely:
        texts = ["".join(filter(str.isalpha, text)) for text in texts]
    return any(token in text for text in texts for token in (_SPECIAL_WORDS if loosely else _SPECIAL_TOKENS))
