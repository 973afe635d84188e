"""Items of the model's history (`response_item`, or bare lines) as messages."""

import re
from collections.abc import Callable
from itertools import filterfalse
from typing import Any

import msgspec

from eventlog import Part
from turnlog.sources.codex_messages import Draft, key_of
from turnlog.sources.codex_payloads import Payloads

_Record = dict[str, Any]

_INJECTED = (
    "# AGENTS.md instructions",
    "<INSTRUCTIONS>",
    "<environment_context",
    "<permissions instructions>",
    "<user_instructions>",
    "<user_shell_command>",
    "<user_action>",
    "<turn_aborted>",
    "<hook_prompt",
    "<skill>",
    "<subagent_notification",
    "<personality_spec>",
    "<collaboration_mode>",
    "<model_switch>",
    "<goal_context>",
    "<realtime_conversation>",
    "Warning: The maximum number of unified exec processes",
)
"""How texts begin that the program says in the user's name."""

_WRAPPED = re.compile(r"<([a-z]+_[a-z_]+)>")
_TYPED = frozenset(("send_user_message_question_reply",))
_IMAGE_START, _IMAGE_END = re.compile(r"<image name=([^<>]{0,1000})>"), "</image>"
_TEXT_BLOCKS = ("input_text", "output_text", "text", "Text", "inputText")  # no sets: a type may be anything
_IMAGE_BLOCKS = ("input_image", "inputImage", "image")
_PASSED = ("internal_chat_message_metadata_passthrough", "metadata")
_PASSED_KNOWN = frozenset(("turn_id", "create_time", "content_item_kinds"))


def passed_on(item: _Record) -> _Record:
    """What the program tells itself beside an item: `turn_id`, `content_item_kinds`, ..."""
    passed = item.get(_PASSED[0])
    return passed if isinstance(passed, dict) else {}


def item_draft(item: _Record, payloads: Payloads) -> Draft | None:
    """The message that an item is; None for a type that nobody knows. Raises CannotRead."""
    kind = item.get("type", "message")
    make = _ITEMS.get(kind) if type(kind) is str else None
    return make(item, payloads) if make else None


def blocks_of(content: Any, payloads: Payloads) -> tuple[list[str], tuple[Part, ...]]:
    """The texts of a list of blocks (or of one, or of a text), and the others as parts."""
    texts: list[str] = []
    parts: list[Part] = []
    name: str | None = None
    for block in content if isinstance(content, list) else [content]:
        text = _text_of(block)
        wrapper = _IMAGE_START.fullmatch(text) if text is not None and text.startswith("<image ") else None
        if wrapper:
            name = wrapper[1]
        elif text is not None:
            if name is None or text != _IMAGE_END:
                texts.append(text)
            name = None if text == _IMAGE_END else name
        elif block is not None:
            parts.append(_block_part(block, name, payloads))
    return texts, tuple(parts)


def is_injected(text: str) -> bool:
    """Whether a text in the user's name begins as those do that the program says."""
    text = text.lstrip()
    if text.startswith(_INJECTED):
        return True
    wrapped = _WRAPPED.match(text)
    return wrapped is not None and wrapped[1] not in _TYPED and text.rstrip().endswith(f"</{wrapped[1]}>")


def rest_part(record: _Record, known: frozenset[str], payloads: Payloads, kind: str = "fields") -> tuple[Part, ...]:
    """A part with the fields of a record that nothing else holds, if there are any."""
    if known.issuperset(record):
        return ()
    keys = filterfalse(known.__contains__, record)
    rest = {key: value for key in keys if (value := record[key]) or value in (0, False)}
    if rest.get("status") == "completed":
        del rest["status"]
    if not rest:
        return ()
    for name in _PASSED:
        if name not in rest:
            continue
        passed = rest.pop(name)
        if isinstance(passed, dict):
            passed = {key: value for key, value in passed.items() if key not in _PASSED_KNOWN}
        if passed:
            rest[name] = passed
    return (payloads.data(kind, rest),) if rest else ()


def text_or_none(value: Any) -> str | None:
    """The value if it is a text that says something."""
    return value if isinstance(value, str) and value else None


def _text_of(block: Any) -> str | None:
    if isinstance(block, str):
        return block
    if isinstance(block, dict) and block.get("type") in _TEXT_BLOCKS and isinstance(block.get("text"), str):
        return str(block["text"])
    return None


def _block_part(block: Any, name: str | None, payloads: Payloads) -> Part:
    if not isinstance(block, dict):
        return payloads.data("record", block)
    kind = block.get("type")
    if kind in _IMAGE_BLOCKS:
        url = block.get("image_url", block.get("url"))
        return payloads.image(url, name=name)
    return payloads.data(kind if isinstance(kind, str) and kind else "record", block)


_MESSAGE = frozenset(("type", "role", "content", "message", "id", "timestamp", "created_at", "ordinal"))
_ROLES = {"assistant": "assistant", "user": "user", "system": "system", "developer": "system", "tool": "tool"}


def _message(item: _Record, payloads: Payloads) -> Draft | None:
    said = item.get("role")
    role = _ROLES.get(said) if isinstance(said, str) else None
    if role is None:
        return None
    blocks = item.get("content", item.get("message"))
    texts, parts = blocks_of(blocks, payloads)
    name = "developer" if said == "developer" else None
    is_prompt = False
    if role == "user":
        kinds = passed_on(item).get("content_item_kinds")
        is_prompt, texts, context = _prompt(texts, parts, kinds, blocks)
        role = "user" if is_prompt else "system"
        parts = (*parts, *(payloads.text("context", text) for text in context))
    content = "\n\n".join(texts)
    key = key_of(str(said), content) if said in ("user", "assistant") else None
    parts = (*parts, *rest_part(item, _MESSAGE, payloads))
    return Draft(role, content, text_or_none(item.get("id")), name, parts, key=key, is_prompt=is_prompt)


def _prompt(texts: list[str], parts: tuple[Part, ...], kinds: Any, blocks: Any) -> tuple[bool, list[str], list[str]]:
    """Whether the user said this, which of the texts, and which the program added to them."""
    if isinstance(kinds, list) and isinstance(blocks, list) and len(kinds) == len(blocks):
        told = [
            (text, str(kind).startswith("user."))
            for block, kind in zip(blocks, kinds, strict=True)
            if (text := _text_of(block)) in texts and text is not None
        ]
    elif isinstance(kinds, list) and kinds:
        told = [(text, any(str(kind).startswith("user.") for kind in kinds)) for text in texts]
    else:
        told = [(text, not is_injected(text)) for text in texts]
    typed = [text for text, is_typed in told if is_typed]
    has_image = not texts and any(part.type == "image" for part in parts)
    if not typed and not has_image:
        return False, texts, []
    return True, typed, [text for text, is_typed in told if not is_typed]


_THOUGHTS = frozenset(("type", "id", "summary", "content", "encrypted_content"))


def _reasoning(item: _Record, payloads: Payloads) -> Draft:
    own, encrypted = text_or_none(item.get("id")), text_or_none(item.get("encrypted_content"))
    secret = (payloads.short("thinking", "encrypted_content", encrypted),) if encrypted else ()
    thoughts = [
        part for name in ("summary", "content") if item.get(name) for part in _thought_parts(item[name], payloads)
    ]
    parts = (*thoughts, *secret, *rest_part(item, _THOUGHTS, payloads)) or (Part("thinking"),)
    return Draft("assistant", "", own, None, parts, is_plain=not thoughts, is_thought=bool(thoughts))


def _thought_parts(blocks: Any, payloads: Payloads) -> list[Part]:
    parts = []
    for block in blocks if isinstance(blocks, list) else [blocks]:
        text = block.get("text") if isinstance(block, dict) else block
        parts.append(payloads.text("thinking", text) if isinstance(text, str) else payloads.data("thinking", block))
    return parts


_FRAME = ("type", "id", "call_id", "name", "timestamp", "created_at", "ordinal")
_CALL = frozenset((*_FRAME, "arguments", "input", "function"))
_PLAIN_CALL = frozenset(("type", "id", "call_id", "name", "arguments", "input", "status"))
_DONE = (None, "completed")


def _call(item: _Record, payloads: Payloads) -> Draft:
    """A call of a function, a tool, a shell or a search; `function` is how the oldest rollouts say its name."""
    own, call, name = text_or_none(item.get("id")), item.get("call_id"), text_or_none(item.get("name"))
    call = call if isinstance(call, str) else own
    said = item.get("arguments", item.get("input"))
    if name and isinstance(said, str) and not item.keys() - _PLAIN_CALL and item.get("status") in _DONE:
        return Draft("assistant", "", own, None, (payloads.text("tool_call", said, call, name),), is_plain=True)
    function = item.get("function")
    if name is None:
        named = function.get("name") if isinstance(function, dict) else None
        name = text_or_none(named) or str(item["type"]).removesuffix("_call")
    rest = {key: value for key, value in item.items() if key not in _CALL and value}
    extra: tuple[Part, ...] = ()
    if item["type"] == "image_generation_call" and isinstance(rest.get("result"), str):
        extra = image_part(rest, payloads)
    if said is not None and not isinstance(said, str):
        rest["arguments"] = said
    fields = rest_part(rest, frozenset(), payloads, "tool_call")
    part = payloads.text("tool_call", said, call, name) if isinstance(said, str) else Part("tool_call", call, name)
    if fields and fields[0].digest is None:
        part = msgspec.structs.replace(part, data=fields[0].data)
    elif fields:
        extra = (msgspec.structs.replace(fields[0], type="fields"), *extra)
    return Draft("assistant", "", own, None, (part, *extra), is_plain=True)


def image_part(record: _Record, payloads: Payloads) -> tuple[Part, ...]:
    """The image in a record's `result`, which is taken out of it; nothing if that is none."""
    kept = payloads.base64(record["result"], "image/png")
    if kept is None:
        return ()
    del record["result"]
    return (Part(type="image", **kept),)


_RESULT = frozenset((*_FRAME, "output", "result"))


def _result(item: _Record, payloads: Payloads) -> Draft:
    own = text_or_none(item.get("id"))
    call, name = text_or_none(item.get("call_id")) or own, text_or_none(item.get("name"))
    output = item.get("output", item.get("result"))
    parts: tuple[Part, ...] = ()
    if not isinstance(output, str):
        texts, parts = blocks_of(output, payloads)
        output = "\n".join(texts)
    part = payloads.text("tool_result", output, call, name)
    return Draft("tool", "", own, None, (part, *parts, *rest_part(item, _RESULT, payloads)), is_plain=True)


_BETWEEN = frozenset(("type", "id", "content", "author"))


def _agent_message(item: _Record, payloads: Payloads) -> Draft:
    """What one agent says to another, which no user has said."""
    texts, parts = blocks_of(item.get("content"), payloads)
    parts = (*parts, *rest_part(item, _BETWEEN, payloads))
    own, author = text_or_none(item.get("id")), text_or_none(item.get("author"))
    return Draft("system", "\n\n".join(texts), own, author, parts)


def _as_it_is(item: _Record, payloads: Payloads) -> Draft:
    rest = {key: value for key, value in item.items() if key not in _PASSED}
    return Draft("system", "", text_or_none(item.get("id")), parts=(payloads.data(str(item["type"]), rest),))


_ITEMS: dict[str, Callable[[_Record, Payloads], Draft | None]] = {
    "message": _message,
    "reasoning": _reasoning,
    "agent_message": _agent_message,
    **dict.fromkeys(
        (
            "function_call",
            "custom_tool_call",
            "local_shell_call",
            "web_search_call",
            "tool_search_call",
            "image_generation_call",
            "tool_call",
        ),
        _call,
    ),
    **dict.fromkeys(
        (
            "function_call_output",
            "custom_tool_call_output",
            "local_shell_call_output",
            "tool_search_output",
            "tool_result",
            "function_result",
        ),
        _result,
    ),
    **dict.fromkeys(("compaction", "context_compaction", "compaction_summary", "ghost_snapshot"), _as_it_is),
}
