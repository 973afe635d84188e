"""Each kind of record of a rollout of Codex: where in a turn it is found again."""

from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from eventlog import Part
from turnlog.recorder import TurnRecorder
from turnlog.sources.base import PAYLOAD_BYTES_MAX
from turnlog.sources.codex import Codex

from .codex_support import TASKS, Rollout, message_of, only_turn, parts, told, turns

PNG = b"\x89PNG not really"
PNG_URL = f"data:image/png;base64,{b64encode(PNG).decode()}"
PNG_PART: dict[str, Any] = {"digest": sha256(PNG).hexdigest(), "media_type": "image/png", "size_bytes": len(PNG)}


def begun() -> Rollout:
    return Rollout().session().begin(TASKS[0]).prompt("hi")


CALLS = [
    (
        {"type": "function_call", "name": "shell", "namespace": "x", "arguments": '{"cmd":"ls"}', "call_id": "c"},
        Part(type="tool_call", id="c", name="shell", text='{"cmd":"ls"}', data={"namespace": "x"}),
    ),
    (
        {
            "type": "custom_tool_call",
            "name": "apply_patch",
            "input": "*** Begin",
            "call_id": "c",
            "status": "completed",
        },
        Part(type="tool_call", id="c", name="apply_patch", text="*** Begin"),
    ),
    (
        {"type": "local_shell_call", "call_id": "c", "status": "failed", "action": {"type": "exec", "command": ["ls"]}},
        Part(
            type="tool_call",
            id="c",
            name="local_shell",
            data={"action": {"command": ["ls"], "type": "exec"}, "status": "failed"},
        ),
    ),
    (
        {"type": "web_search_call", "id": "ws", "status": "completed", "action": {"type": "search", "query": "q"}},
        Part(type="tool_call", id="ws", name="web_search", data={"action": {"query": "q", "type": "search"}}),
    ),
    (
        {"type": "tool_search_call", "call_id": "c", "execution": "local", "arguments": {"query": "q"}},
        Part(type="tool_call", id="c", name="tool_search", data={"arguments": {"query": "q"}, "execution": "local"}),
    ),
]


@pytest.mark.parametrize(("item", "part"), CALLS, ids=[str(item["type"]) for item, _ in CALLS])
def test_a_call_is_a_part_of_the_assistants(item: dict[str, Any], part: Part) -> None:
    """With the id that its result names, and what it was called with as it was said."""
    turn = only_turn(begun().add("response_item", **item))
    assert parts(turn, "tool_call") == [part]
    assert message_of(turn, "tool_call").role == "assistant"


RESULTS: list[tuple[dict[str, Any], list[Part]]] = [
    ({"type": "function_call_output", "output": "done"}, [Part(type="tool_result", id="c", text="done")]),
    (
        {"type": "custom_tool_call_output", "output": [{"type": "input_text", "text": t} for t in "ab"]},
        [Part(type="tool_result", id="c", text="a\nb")],
    ),
    (
        {"type": "function_call_output", "output": {"type": "input_text", "text": "one"}, "status": "failed"},
        [Part(type="tool_result", id="c", text="one"), Part(type="fields", data={"status": "failed"})],
    ),
    (
        {"type": "function_call_output", "output": [{"type": "input_image", "image_url": PNG_URL}]},
        [Part(type="tool_result", id="c", text=""), Part(type="image", **PNG_PART)],
    ),
    (
        {"type": "function_call_output", "output": [{"type": "hologram", "size": 3}]},
        [Part(type="tool_result", id="c", text=""), Part(type="hologram", data={"size": 3, "type": "hologram"})],
    ),
    (
        {"type": "tool_search_output", "tools": [{"name": "t"}]},
        [Part(type="tool_result", id="c", text=""), Part(type="fields", data={"tools": [{"name": "t"}]})],
    ),
]


@pytest.mark.parametrize(("item", "expected"), RESULTS)
def test_a_result_is_a_part_of_the_tools(item: dict[str, Any], expected: list[Part]) -> None:
    """A text, a list of blocks or one; what is no text stands beside it."""
    turn = only_turn(begun().add("response_item", call_id="c", **item))
    assert (turn.messages[-1].role, list(turn.messages[-1].parts)) == ("tool", expected)


def test_images_are_kept_beside_the_log_by_digest() -> None:
    """The wrappers that the program puts around one are no text of the prompt; a URL stays one."""
    blocks = [
        {"type": "input_text", "text": "<image name=[Image #1]>"},
        {"type": "input_image", "image_url": PNG_URL},
        {"type": "input_text", "text": "</image>"},
        {"type": "input_text", "text": "[Image #1] what is this?"},
        {"type": "input_image", "image_url": "https://example.invalid/a.png"},
    ]
    rollout = Rollout().session().begin(TASKS[0]).item("message", role="user", content=blocks)
    rollout.event(
        "user_message", message="[Image #1] what is this?", images=[PNG_URL], local_images=["/home/ann/a.png"]
    )
    (message,) = only_turn(rollout).messages
    assert (message.role, message.content) == ("user", "[Image #1] what is this?")
    assert message.parts == (
        Part(type="image", name="[Image #1]", **PNG_PART),
        Part(type="image", data={"url": "https://example.invalid/a.png"}),
        Part(type="attachment", name="/home/ann/a.png"),
    )


def test_a_prompt_may_be_an_image_alone() -> None:
    """It begins a turn like any other."""
    rollout = (
        begun().answer("yes").item("message", role="user", content=[{"type": "input_image", "image_url": PNG_URL}])
    )
    rollout.event("user_message", message="", images=[PNG_URL])
    with_image = [turn for turn in turns(rollout) if parts(turn, "image")]
    assert [len(turn.messages) for turn in with_image] == [1]
    assert with_image[0].messages[0].role == "user"


def test_generated_images_are_kept_beside_the_log() -> None:
    """Whichever of the item and the event has them."""
    image = b64encode(PNG).decode()
    rollout = begun().event("image_generation_end", call_id="ig", result=image, revised_prompt="a cat")
    turn = only_turn(rollout.item("image_generation_call", id="ig", result=image, revised_prompt="a cat"))
    assert [part.digest for part in parts(turn, "image")] == [PNG_PART["digest"]] * 2
    assert parts(turn, "tool_call") == [
        Part(type="tool_call", id="ig", name="image_generation", data={"revised_prompt": "a cat"})
    ]


KEPT_EVENTS: list[tuple[str, dict[str, Any], str]] = [
    (
        "mcp_tool_call_end",
        {"call_id": "c", "invocation": {"server": "s"}, "result": {"Ok": {"isError": False}}},
        "tool",
    ),
    ("patch_apply_end", {"call_id": "c", "success": True, "changes": {"/a": {"type": "add"}}}, "tool"),
    ("web_search_end", {"call_id": "c", "query": "q", "results": [{"title": "T"}]}, "tool"),
    ("view_image_tool_call", {"call_id": "c", "path": "/a.png"}, "tool"),
    ("dynamic_tool_call_response", {"call_id": "c", "success": False}, "tool"),
    ("collab_agent_spawn_end", {"call_id": "c", "new_thread_id": "t"}, "system"),
    ("entered_review_mode", {"target": {"type": "uncommittedChanges"}}, "system"),
    ("exited_review_mode", {"review_output": {"overall_explanation": "fine"}}, "system"),
    ("turn_aborted", {"turn_id": TASKS[0], "reason": "interrupted"}, "system"),
    ("error", {"message": "no", "codex_error_info": "x"}, "system"),
    ("guardian_assessment", {"status": "approved"}, "system"),
    ("undo_completed", {"success": True}, "system"),
]


@pytest.mark.parametrize(("kind", "fields", "role"), KEPT_EVENTS, ids=[kind for kind, _, _ in KEPT_EVENTS])
def test_other_events_are_parts_of_their_own_type(kind: str, fields: dict[str, Any], role: str) -> None:
    """As they are; they are known, so nothing is counted."""
    turn = only_turn(begun().event(kind, **fields))
    call = fields.pop("call_id", None)
    assert parts(turn, kind) == [Part(type=kind, id=call, data=fields)]
    assert message_of(turn, kind).role == role
    assert "unknown" not in turn.meta


ITEMS: list[tuple[dict[str, Any], str]] = [
    ({"type": "Plan", "id": "i", "text": "1. do it"}, "system"),
    ({"type": "CommandExecution", "id": "c", "command": ["ls"], "exit_code": 0}, "tool"),
    ({"type": "FileChange", "id": "c", "changes": {"/a": {}}}, "tool"),
    ({"type": "McpToolCall", "id": "c", "server": "s"}, "tool"),
    ({"type": "Extension", "id": "c", "kind": "web", "query": "q"}, "tool"),
    ({"type": "HookPrompt", "id": "c", "fragments": ["f"]}, "system"),
]


@pytest.mark.parametrize(("item", "role"), ITEMS, ids=[str(item["type"]) for item, _ in ITEMS])
def test_completed_items_are_named_parts(item: dict[str, Any], role: str) -> None:
    """Of the type of their event, with the type of the item as their name."""
    turn = only_turn(begun().event("item_completed", thread_id="t", turn_id=TASKS[0], item=item))
    data = {key: value for key, value in item.items() if key not in ("type", "id")}
    assert parts(turn, "item_completed") == [Part(type="item_completed", id=item["id"], name=item["type"], data=data)]
    assert message_of(turn, "item_completed").role == role


def test_thoughts_are_told_once_whoever_tells_them() -> None:
    """One by one by events, together by the item, again by a completed item."""
    rollout = begun().event("agent_reasoning", text="a").event("agent_reasoning", text="b")
    summary = [{"type": "summary_text", "text": text} for text in "ab"]
    content = [{"type": "reasoning_text", "text": "raw"}]
    rollout.item("reasoning", id="rs", summary=summary, content=content, encrypted_content="secret")
    rollout.event(
        "item_completed", item={"type": "Reasoning", "id": "rs", "summary_text": ["a", "b"], "raw_content": []}
    )
    rollout.event("agent_reasoning_raw_content", text="raw").event("agent_reasoning", text="only here")
    turn = only_turn(rollout)
    texts = [part.text for part in parts(turn, "thinking")]
    assert texts == ["a", "b", "raw", None, "only here"]
    assert [message.id for message in turn.messages] == [None, "rs", None]


def test_messages_between_agents_are_system_messages() -> None:
    """With the author's name."""
    content = [{"type": "input_text", "text": "please"}, {"type": "encrypted_content", "encrypted_content": "x"}]
    turn = only_turn(begun().item("agent_message", author="/root", recipient="/root/a", content=content))
    message = turn.messages[-1]
    assert (message.role, message.name, message.content) == ("system", "/root", "please")
    assert [part.type for part in message.parts] == ["encrypted_content", "fields"]


def test_compaction_keeps_what_the_history_was_replaced_with() -> None:
    """Texts that are nowhere else are in it."""
    history = [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "only here"}]}]
    turn = only_turn(begun().add("compacted", message="summary", replacement_history=history))
    assert told(turn)[-1] == ("system", "summary")
    assert parts(turn, "compacted")[0].data == {"replacement_history": history}


def test_state_of_the_world_is_kept_as_it_is() -> None:
    """So are metadata between agents, snapshots and compaction items."""
    rollout = begun().add("world_state", full=True, state={"a": 1}).add("inter_agent_communication", trigger_turn=False)
    turn = only_turn(rollout.item("ghost_snapshot", ghost_commit={"id": "x"}).item("compaction", encrypted_content="y"))
    assert parts(turn, "world_state")[0].data == {"full": True, "state": {"a": 1}}
    assert parts(turn, "inter_agent_communication")[0].data == {"trigger_turn": False}
    assert parts(turn, "ghost_snapshot")[0].data["ghost_commit"] == {"id": "x"}
    assert parts(turn, "compaction")[0].data["encrypted_content"] == "y"


def test_what_nobody_knows_is_kept_and_counted() -> None:
    """Records, events, items and roles of other kinds, raw."""
    rollout = begun().add("brand_new", a=1).event("brand_new", b=2).event("brand_new", b=3).item("brand_new_item", c=4)
    rollout.item("message", role="narrator", content="once upon a time")
    rollout.records.append({"type": 7, "payload": [1]})
    turn = only_turn(rollout)
    assert turn.meta["unknown"] == {"7": 1, "brand_new": 3, "brand_new_item": 1, "message": 1}
    kept = [part.data for part in parts(turn, "record")]
    assert kept[1] == {"payload": {"b": 2, "type": "brand_new"}, "type": "event_msg"}
    assert kept[-1] == {"payload": [1], "type": 7}
    assert len(kept) == 6


def test_what_a_task_ends_with_is_not_said_again() -> None:
    """Its last message only where nobody said it, its error, and in `meta` how long it took."""
    turn = only_turn(begun().answer("fine").end(TASKS[0], "fine"))
    assert told(turn) == [("user", "hi"), ("assistant", "fine")]
    assert turn.meta["tasks"] == [{"duration_ms": 5}]
    unsaid = only_turn(
        begun().event("task_complete", turn_id=TASKS[0], last_agent_message="late", error={"message": "e"})
    )
    assert told(unsaid) == [("user", "hi"), ("assistant", "late")]
    assert parts(unsaid, "error")[0].data == {"message": "e"}


def test_contexts_and_sessions_stand_in_meta() -> None:
    """Each once, what is large in them by digest; the model is the first that the turn was answered by."""
    rollout = Rollout().session(base_instructions={"text": "x" * 2000}, git={"branch": "main"}).begin(TASKS[0])
    rollout.prompt("hi").add("turn_context", turn_id=TASKS[0], cwd="/work", model="gpt-5.5")
    rollout.add("turn_context", turn_id=TASKS[0], cwd="/else", model="gpt-6")
    turn = only_turn(rollout)
    assert turn.model == "gpt-5.5"
    assert turn.meta["contexts"] == [{"cwd": "/work", "model": "gpt-5.5"}, {"cwd": "/else", "model": "gpt-6"}]
    session = turn.meta["session"]
    assert session["git"] == {"branch": "main"}
    assert session["base_instructions"]["media_type"] == "application/json"


def test_large_payloads_go_beside_the_log(tmp_path: Path) -> None:
    """Outputs, arguments and raw records over the limit; what somebody said stays in the event."""
    text = "长" * PAYLOAD_BYTES_MAX
    rollout = Rollout().session().begin(TASKS[0]).prompt(text)
    rollout.item("function_call_output", call_id="c", output=text).item("function_call", name="f", arguments=text)
    rollout.add("compacted", message="", replacement_history=[{"text": "a" * 1000}] * 100)
    path = tmp_path / "sample.jsonl"
    path.write_bytes(rollout.content)
    source = Codex(user="ann")
    (stream,) = source.discover([path])
    with TurnRecorder(tmp_path / "log", durability="os") as recorder:
        ((turn,),) = [chunk.turns for chunk in source.read(stream, keep=recorder.keep_blob)]
        for kind in ("tool_result", "tool_call", "compacted"):
            (part,) = parts(turn, kind)
            assert part.digest is not None
            data = recorder.log.blobs.get(part.digest)
            assert len(data) == part.size_bytes
            assert (part.text, part.data) == (None, None)
            assert kind == "compacted" or data.decode() == text
    assert turn.messages[0].content == text


def test_what_the_log_cannot_hold_is_told_as_text() -> None:
    """Half a character, a number of more than 64 bits, one that is none."""
    rollout = begun().event("brand_new", big=2**70)
    content = rollout.content + b'{"timestamp":"2026-01-01T00:00:00Z","type":"event_msg","payload":'
    content += b'{"type":"warning","message":"\\ud83d","size":NaN}}\n'
    (turn,) = turns(content)
    assert parts(turn, "record")[0].data["payload"]["big"] == str(2**70)
    assert parts(turn, "warning")[0].data == {"message": "\ufffd", "size": "NaN"}
    assert turn.meta["replaced_surrogates"] == 1
