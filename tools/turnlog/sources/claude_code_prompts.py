"""What in Claude Code's transcripts a person typed, and what the program wrote in the person's name."""

import re
from typing import Any

_ENVELOPES = (
    "[Request interrupted by user",
    "<command-name>",
    "<command-message>",
    "<command-args>",
    "<local-command-stdout>",
    "<local-command-stderr>",
    "<local-command-caveat>",
    "<bash-input>",
    "<bash-stdout>",
    "<bash-stderr>",
    "<task-notification>",
    "<agent-notification>",
)
"""How a text begins that is none of the person's: commands, their output, notices of the program."""

_OPENING = re.compile("<(ide_opened_file|ide_selection|system-reminder)>")
"""What is put in front of what a person typed."""

_INK = re.compile(r"\S")


def blocks_of(content: Any) -> list[Any]:
    """A message's content as a list of blocks; a text is one block."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return content if isinstance(content, list) else [] if content is None else [content]


def is_prompt(record: dict[str, Any]) -> bool:
    """Whether a `user` record is what a person typed: neither results, nor context, envelopes or notices."""
    origin = record.get("origin")
    if any(record.get(flag) for flag in ("isMeta", "isCompactSummary", "isVisibleInTranscriptOnly")):
        return False
    if record.get("promptSource") == "system" or (
        isinstance(origin, dict) and origin.get("kind") == "task-notification"
    ):
        return False
    message = record.get("message")
    return is_typed(message.get("content")) if isinstance(message, dict) else False


def is_typed(content: Any) -> bool:
    """Whether the content of a message is a person's: text that is no envelope, an image, a document."""
    if isinstance(content, str):
        return bool(typed := typed_texts(content)) and not is_envelope(typed[0])
    kinds = {kind_of(block) for block in blocks_of(content)}
    if "tool_result" in kinds:
        return False
    typed = typed_texts(content)
    return not is_envelope(typed[0]) if typed else bool(kinds & {"image", "document"})


def is_envelope(text: str) -> bool:
    """Whether the program wrote this text in the person's name."""
    return text.lstrip().startswith(_ENVELOPES)


def typed_texts(content: Any) -> list[str]:
    """The texts of a message without what stands in front of them, those that are empty then left out."""
    rests = (unwrap(text)[1] for text in texts_of(content))
    return [rest for rest in rests if rest.strip()]


def texts_of(content: Any) -> list[str]:
    """The texts of a message's text blocks."""
    blocks = blocks_of(content)
    return [block["text"] for block in blocks if kind_of(block) == "text" and isinstance(block.get("text"), str)]


def kind_of(block: Any) -> str:
    """The type of a block, empty where it has none."""
    kind = block.get("type") if type(block) is dict else None
    return kind if isinstance(kind, str) else ""


def unwrap(text: str) -> tuple[list[tuple[str, str]], str]:
    """What was put in front of a text, as names and contents, and the text. A text without is left as it is."""
    found: list[tuple[str, str]] = []
    at, rest_at = _ink(text, 0), 0
    while opening := _OPENING.match(text, at):
        name = opening[1]
        end = text.find(f"</{name}>", opening.end())
        if end < 0:
            break
        found.append((name, text[opening.end() : end]))
        at = rest_at = _ink(text, end + len(name) + 3)
    return found, text[rest_at:]


def _ink(text: str, at: int) -> int:
    """Where the next character that is no white space stands."""
    ink = _INK.search(text, at)
    return ink.start() if ink else len(text)
