"""What the program tells its user interface (`event_msg`) as messages; much of it repeats items."""

from collections.abc import Callable
from typing import Any

from eventlog import Part
from turnlog.sources.codex_items import blocks_of, image_part, rest_part, text_or_none
from turnlog.sources.codex_messages import Draft, key_of
from turnlog.sources.codex_payloads import Payloads

_Record = dict[str, Any]

KNOWN = frozenset(
    (
        "collab_agent_interaction_end", "collab_agent_spawn_end", "collab_close_end", "collab_resume_end",
        "collab_waiting_end", "context_compacted", "deprecation_notice", "dynamic_tool_call_request",
        "dynamic_tool_call_response", "entered_review_mode", "error", "exec_command_end", "exited_review_mode",
        "guardian_assessment", "image_generation_end", "item_completed", "mcp_tool_call_end", "patch_apply_end",
        "stream_error", "sub_agent_activity", "thread_goal_updated", "thread_settings_applied", "turn_aborted",
        "undo_completed", "view_image_tool_call", "warning", "web_search_end",
    )
)  # fmt: skip
"""Events that are kept as they are, as a part of their own type; others that no function here knows are counted."""

_SAID = frozenset(("type", "message", "phase", "kind", "client_id", "turn_id", "id"))


def event_draft(event: _Record, payloads: Payloads) -> tuple[Draft | None, str]:
    """The message that an event is, and its origin (see `Script.add`); None if nobody knows the type.

    Raises CannotRead.
    """
    kind = event.get("type")
    item = event.get("item")
    if kind == "item_completed" and isinstance(item, dict):
        return _completed(item, payloads), "completed"
    make = _EVENTS.get(kind) if isinstance(kind, str) else None
    if make:
        return make(event, payloads), "event"
    return (_as_it_is(event, kind, payloads) if isinstance(kind, str) and kind in KNOWN else None), "event"


def _user_message(event: _Record, payloads: Payloads) -> Draft:
    images = [payloads.image(url) for url in _listed(event, "images")]
    files = [Part(type="attachment", name=str(path)) for path in _listed(event, "local_images")]
    fields = rest_part(event, _SAID | {"images", "local_images"}, payloads)
    is_prompt = event.get("kind", "plain") == "plain"  # the oldest name what the program says in the user's name
    return _said("user", event.get("message"), (*images, *files, *fields), is_prompt=is_prompt)


def _agent_message(event: _Record, payloads: Payloads) -> Draft:
    return _said("assistant", event.get("message"), _phased(event, _SAID, payloads))


def _phased(record: _Record, known: frozenset[str], payloads: Payloads) -> tuple[Part, ...]:
    """The phase alone, as the item has it, and what only this record has."""
    phase = text_or_none(record.get("phase"))
    return (*((Part(type="fields", data={"phase": phase}),) if phase else ()), *rest_part(record, known, payloads))


def _said(role: str, said: Any, parts: tuple[Part, ...], own: str | None = None, *, is_prompt: bool = False) -> Draft:
    text = said if isinstance(said, str) else ""
    shown = "system" if role == "user" and not is_prompt else role
    return Draft(shown, text, own, parts=parts, key=key_of(role, text), is_prompt=is_prompt)


def _thought(event: _Record, payloads: Payloads) -> Draft:
    text = event.get("text")
    part = payloads.text("thinking", text) if isinstance(text, str) else payloads.data("thinking", event)
    return Draft("assistant", parts=(part,), is_thought=True)


def _as_it_is(event: _Record, kind: str, payloads: Payloads) -> Draft:
    call = text_or_none(event.get("call_id", event.get("callId")))
    data = {key: value for key, value in event.items() if key not in ("type", "call_id", "callId") and value != ""}
    is_tool = call is not None and not kind.startswith("collab_")
    extra: tuple[Part, ...] = ()
    if kind == "image_generation_end" and isinstance(data.get("result"), str):
        extra = image_part(data, payloads)
    return Draft(
        "tool" if is_tool else "system", parts=(payloads.data(kind, data, id=call), *extra), call=call
    )  # fmt: skip


_COMPLETED = frozenset(("type", "id", "client_id", "content", "phase"))


def _completed(item: _Record, payloads: Payloads) -> Draft:
    kind, own = item.get("type"), text_or_none(item.get("id"))
    if kind in ("UserMessage", "AgentMessage"):
        texts, parts = blocks_of(item.get("content"), payloads)
        parts = (*parts, *_phased(item, _COMPLETED, payloads))
        is_prompt = kind == "UserMessage"
        return _said("user" if is_prompt else "assistant", "\n\n".join(texts), parts, own, is_prompt=is_prompt)
    if kind == "Reasoning":
        thoughts = [*_listed(item, "summary_text"), *_listed(item, "raw_content")]
        parts = tuple(payloads.text("thinking", str(text)) for text in thoughts)
        return Draft("assistant", id=own, parts=parts, is_thought=True)
    data = {key: value for key, value in item.items() if key not in ("type", "id") and value != ""}
    name = kind if isinstance(kind, str) else None
    role = "tool" if own and kind not in _NO_TOOLS else "system"
    return Draft(role, parts=(payloads.data("item_completed", data, id=own, name=name),), call=own)


_NO_TOOLS = ("Plan", "HookPrompt", "ContextCompaction", "EnteredReviewMode", "ExitedReviewMode")


def _listed(record: _Record, field: str) -> list[Any]:
    value = record.get(field)
    return value if isinstance(value, list) else []


_EVENTS: dict[str, Callable[[_Record, Payloads], Draft]] = {
    "user_message": _user_message,
    "agent_message": _agent_message,
    "agent_reasoning": _thought,
    "agent_reasoning_raw_content": _thought,
}
