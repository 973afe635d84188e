"""Conversations of ChatGPT as its export holds them, and the lines of the old scripts' save_data.jsonl.

A conversation is a tree of some forty messages, 1.5 KB each, one of them answered twice; a line is a prompt and its
answer.
"""

from collections.abc import Iterator
from typing import Any

from speech import Speech

_TURNS = 20
_PROMPT = (5, 20, 90, 600, 3000, 9000)
_ANSWER = (20, 100, 900, 3000, 6000, 12_000)
_Record = dict[str, Any]


def save_data_lines(speech: Speech, _number: int) -> Iterator[tuple[str, list[_Record]]]:
    """The next thousand lines of the one file."""
    yield "save_data.jsonl", [save_data_record(speech) for _ in range(1000)]


def chatgpt_conversation(speech: Speech) -> _Record:
    """One conversation."""
    own, root = speech.uuid(), speech.uuid()
    mapping: dict[str, _Record] = {root: {"id": root, "message": None, "parent": None, "children": []}}
    last = root
    for turn in range(_TURNS):
        asked = _add(speech, mapping, last, "user", _PROMPT)
        if turn == _TURNS // 2:
            _add(speech, mapping, asked, "assistant", _ANSWER)
        last = _add(speech, mapping, asked, "assistant", _ANSWER)
    return {
        "title": speech.text((20,) * 6),
        "create_time": 1_772_000_000.25,
        "update_time": 1_772_000_900.5,
        "mapping": mapping,
        "current_node": last,
        "conversation_id": own,
        "id": own,
        "default_model_slug": "gpt-5",
        "moderation_results": [],
        "plugin_ids": None,
        "is_archived": False,
        "safe_urls": [],
    }


def save_data_record(speech: Speech) -> _Record:
    """One line."""
    said = (("user", _PROMPT), ("assistant", _ANSWER))
    messages = [{"role": role, "content": speech.text(lengths)} for role, lengths in said]
    return {"messages": messages, "synced": False, "retry_count": 0, "timestamp": speech.moment()}


def _add(speech: Speech, mapping: dict[str, _Record], parent: str, role: str, lengths: tuple[int, ...]) -> str:
    node = speech.uuid()
    message = {
        "id": node,
        "author": {"role": role, "name": None, "metadata": {}},
        "create_time": 1_772_000_000 + len(mapping) + 0.5,
        "update_time": None,
        "content": {"content_type": "text", "parts": [speech.text(lengths)]},
        "status": "finished_successfully",
        "end_turn": role == "assistant",
        "weight": 1.0,
        "metadata": {"model_slug": "gpt-5", "parent_id": parent, "request_id": speech.uuid(), "citations": []},
        "recipient": "all",
        "channel": None,
    }
    mapping[node] = {"id": node, "message": message, "parent": parent, "children": []}
    mapping[parent]["children"].append(node)
    return node
