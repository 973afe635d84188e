"""The source `codex`: what a turn is, which one it is, and what is said twice in a rollout and once in a turn."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections import content_digest
from turnlog.sources.base import Source
from turnlog.sources.codex import Codex
from turnlog.testing.source_contract import SourceContract

from .codex_support import TASKS, THREAD, Record, Rollout, content_of, only_turn, parts, sample, told, turns


class TestContract(SourceContract):
    def make_source(self) -> Source:
        return Codex(user="ann")

    def write_sample(self, folder: Path) -> list[Path]:
        path = folder / "rollout-2026-06-17T10-00-00-01900000-0000-7000-8000-000000000001.jsonl"
        path.write_bytes(sample().content)
        return [path]

    def cuts(self, content: bytes) -> list[int]:
        return list(range(0, len(content), 97))


def test_a_turn_is_a_prompt_and_all_until_the_next() -> None:
    """Also where the user typed on while the model worked; what a task begins with is read with its prompt."""
    first, second, third = turns(sample())
    assert told(first) == [("system", "be brief"), ("user", "hello")]
    assert told(second) == [("user", "and 你好"), ("assistant", "fine")]
    assert told(third) == [("user", "bye"), ("assistant", "so long")]
    assert [turn.turn_id for turn in (first, second, third)] == [
        f"codex:{TASKS[0]}", f"codex:{TASKS[0]}:1", f"codex:{TASKS[1]}",
    ]  # fmt: skip
    assert {turn.conversation for turn in (first, second, third)} == {THREAD}
    assert {turn.model for turn in (first, second, third)} == {"gpt-5.5"}


def test_items_and_events_that_say_the_same_are_one_message() -> None:
    """Whichever comes first: texts, thoughts, and the output of a call; what only one of them has is kept."""
    first, second, _ = turns(sample())
    assert [(part.text, part.data) for part in parts(first, "thinking")] == [
        ("**hm**", None), (None, {"encrypted_content": "xx"}),
    ]  # fmt: skip
    assert [part.text for part in parts(first, "tool_result")] == ["Output:\na.txt\n"]
    assert [(part.id, part.data) for part in parts(first, "exec_command_end")] == [("c1", {"exit_code": 0})]
    assert [message.role for message in second.messages] == ["user", "assistant"]
    assert parts(second, "fields")[0].data == {"phase": "final_answer"}


@given(st.permutations(["item", "event", "completed"]), st.sampled_from(["user", "assistant"]))
def test_three_records_of_one_text_are_one_message_in_any_order(order: list[str], role: str) -> None:
    """With the item's id, and with what only the others have."""
    rollout = Rollout().session().begin(TASKS[0])
    if role == "assistant":
        rollout.prompt("?")
    kind = {"user": "UserMessage", "assistant": "AgentMessage"}[role]
    for origin in order:
        if origin == "item":
            rollout.said(role, "one\n\ntwo", id="msg_1")
        elif origin == "event":
            extra = {"local_images": ["/a.png"]} if role == "user" else {"memory_citation": {"a": 1}}
            rollout.event(f"{'agent' if role == 'assistant' else 'user'}_message", message="one\ntwo", **extra)
        else:
            content = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
            rollout.event("item_completed", item={"type": kind, "id": "i", "content": content})
    turn = only_turn(rollout)
    message = turn.messages[-1]
    assert [m.role for m in turn.messages] == (["user"] if role == "user" else ["user", "assistant"])
    assert (message.content, message.id) == ("one\n\ntwo", "msg_1")
    assert len(message.parts) == 1


def test_the_same_text_said_twice_is_said_twice() -> None:
    """A text and its mirror are one, and the next ones another."""
    rollout = Rollout().session().begin(TASKS[0]).prompt("go on").answer("done").answer("done").prompt("go on")
    first, second = turns(rollout)
    assert told(first) == [("user", "go on"), ("assistant", "done"), ("assistant", "done")]
    assert told(second) == [("user", "go on")]


INJECTED = [
    "# AGENTS.md instructions for /work\n\n<INSTRUCTIONS>be good</INSTRUCTIONS>",
    "<environment_context>\n  <cwd>/work</cwd>\n</environment_context>",
    "<user_shell_command>ls</user_shell_command>",
    "<turn_aborted>\nThe user interrupted\n</turn_aborted>",
    "<some_new_kind>of context</some_new_kind>",
    "<hook_prompt hook=1>mind this</hook_prompt>",
]


@pytest.mark.parametrize("text", INJECTED)
def test_what_the_program_says_in_the_users_name_is_no_prompt(text: str) -> None:
    """It is a system message of the turn that it is said in, before a prompt and after one."""
    before, after = Rollout().session().begin(TASKS[0]), Rollout().session().begin(TASKS[0]).prompt("hi")
    before.said("user", text).prompt("hi")
    after.said("user", text)
    assert sorted(told(only_turn(before))) == sorted(told(only_turn(after))) == [("system", text), ("user", "hi")]


def test_what_an_event_says_was_typed_is_a_prompt_whatever_it_looks_like() -> None:
    """A user may paste what looks like the program's."""
    rollout = Rollout().session().begin(TASKS[0]).prompt("hi").answer("yes").event("user_message", message=INJECTED[1])
    assert [told(turn)[0] for turn in turns(rollout)] == [("user", "hi"), ("user", INJECTED[1])]
    first = Rollout().session().begin(TASKS[0]).said("user", INJECTED[1]).event("user_message", message=INJECTED[1])
    assert told(only_turn(first)) == [("system", INJECTED[1]), ("user", INJECTED[1])]


def test_kinds_of_content_tell_what_was_typed() -> None:
    """In the third generation each block says whose it is; an answer to a question is typed too."""
    rollout = Rollout().session(history_mode="paginated").begin(TASKS[0])

    def passed(*kinds: str) -> Record:
        return {"turn_id": TASKS[0], "create_time": 1, "content_item_kinds": list(kinds)}

    rollout.said("user", "be good", internal_chat_message_metadata_passthrough=passed("agents_md.instructions"))
    blocks = [{"type": "input_text", "text": "# AGENTS.md instructions"}, {"type": "input_text", "text": "context"}]
    kinds = passed("user.text", "environments.environment_context")
    rollout.item("message", role="user", content=blocks, internal_chat_message_metadata_passthrough=kinds)
    reply = "<send_user_message_question_reply>blue</send_user_message_question_reply>"
    rollout.answer("which?").said("user", reply)
    first, second = turns(rollout)
    assert told(first)[:2] == [("system", "be good"), ("user", "# AGENTS.md instructions")]
    assert [part.text for part in parts(first, "context")] == ["context"]
    assert told(second) == [("user", reply)]
    assert not parts(first, "fields")[1:]


def test_without_ids_of_turns_a_prompt_is_the_threads_nth() -> None:
    """As the oldest rollouts with envelopes are: a digest of the text stands in the id, but for the first."""
    rollout = Rollout().session().said("user", INJECTED[1])
    for text in ("one", "go on", "go on"):
        rollout.prompt(text).answer(f"re {text}").add("turn_context", model="gpt-5")
    ids = [turn.turn_id for turn in turns(rollout)]
    assert ids[0] == f"codex:{THREAD}:0"
    assert [turn_id.rpartition(":")[0] for turn_id in ids[1:]] == [f"codex:{THREAD}:1", f"codex:{THREAD}:2"]
    assert {turn_id.rpartition(":")[2] for turn_id in ids[1:]} == {"bae992ea22c80022"}


@pytest.mark.parametrize("end", ["turn_aborted", "task_complete"])
def test_a_prompt_after_the_end_of_a_turn_is_not_that_turns(end: str) -> None:
    """Where the program does not say which turn it begins, the prompt is the thread's nth."""
    rollout = Rollout().session().begin(TASKS[0]).prompt("one").event(end, turn_id=TASKS[0]).prompt("two")
    assert [turn.turn_id.rpartition(":")[0] for turn in turns(rollout)] == ["codex", f"codex:{THREAD}:1"]


def test_the_first_generation_has_neither_envelopes_nor_times() -> None:
    """A header, bare items, and lines that tell that there was a state."""
    header = {"id": THREAD, "timestamp": "2025-09-10T18:58:38.331Z", "instructions": "be good", "git": None}
    records: list[Record] = [header, {"record_type": "state"}]
    for role, text in (("user", INJECTED[1]), ("user", "one"), ("assistant", "re one"), ("user", "two")):
        records += [{"type": "message", "role": role, "content": [{"type": "input_text", "text": text}]}]
    records += [{"type": "function_call", "name": "shell", "arguments": "{}", "call_id": "c"}, {"record_type": "state"}]
    first, second = turns(content_of(records))
    assert told(first) == [("system", INJECTED[1]), ("user", "one"), ("assistant", "re one")]
    assert first.meta["session"] == header
    assert (first.turn_id, first.started_at, first.conversation) == (f"codex:{THREAD}:0", None, THREAD)
    assert [part.name for part in parts(second, "tool_call")] == ["shell"]


def test_what_came_before_there_were_rollouts_is_read_too() -> None:
    """Lines with a role and a text, calls with a `function`, results with a `name`."""
    records: list[Record] = [
        {"timestamp": "2025-09-10T12:00:00Z", "role": "user", "content": "translate", "model": "gpt-4o-mini"},
        {
            "created_at": "2025-09-10T12:00:01Z",
            "type": "function_call",
            "function": {"name": "t"},
            "arguments": {"a": 1},
        },
        {"created_at": "2025-09-10T12:00:01Z", "type": "function_result", "name": "t", "result": "hola"},
        {"timestamp": "2025-09-10T12:00:02Z", "role": "assistant", "message": "it is hola"},
    ]
    (turn,) = turns(content_of(records))
    assert told(turn) == [("user", "translate"), ("assistant", "it is hola")]
    assert [(part.name, part.data) for part in parts(turn, "tool_call")] == [("t", {"arguments": {"a": 1}})]
    assert [(part.name, part.text) for part in parts(turn, "tool_result")] == [("t", "hola")]
    assert turn.model == "gpt-4o-mini"
    assert turns(content_of(records), name="elsewhere.jsonl") == [turn]


def test_usage_is_what_each_request_used() -> None:
    """Not the cumulative count, and not again where an event is repeated; without the former, the difference."""
    rollout = Rollout().session().begin(TASKS[0]).prompt("hi")
    for total, last in ((10, 10), (10, 10), (25, 15), (25, 15)):
        info = {"total_token_usage": {"total_tokens": total}, "last_token_usage": {"total_tokens": last}}
        rollout.event("token_count", info=info, rate_limits={"primary": {"used_percent": total}})
    rollout.event("token_count", info=None).prompt("more")
    rollout.event("token_count", info={"total_token_usage": {"total_tokens": 40}, "model_context_window": 9})
    first, second = turns(rollout)
    assert (first.usage, second.usage) == ({"total_tokens": 25}, {"total_tokens": 15})
    assert first.meta["rate_limits"] == {"primary": {"used_percent": 25}}
    assert second.meta["context_window"] == 9


def test_the_order_of_keys_is_no_part_of_a_turn() -> None:
    """Nor are times and white space between tokens."""

    def reversed_keys(value: object) -> object:
        if isinstance(value, dict):
            return {key: reversed_keys(value[key]) for key in reversed(value)}
        return [reversed_keys(item) for item in value] if isinstance(value, list) else value

    records = sample().event("new_event", b=1, a={"d": 1, "c": 2}).records
    other = [{**reversed_keys(record), "timestamp": "2027-01-01T00:00:00Z"} for record in records]  # type: ignore[dict-item]
    assert [content_digest(turn) for turn in turns(content_of(other))] == [
        content_digest(turn) for turn in turns(content_of(records))
    ]


def test_a_session_without_a_prompt_is_one_turn() -> None:
    """Nothing is dropped; once the prompt is there, it is the same turn."""
    rollout = Rollout().session().begin(TASKS[0]).said("developer", "be brief")
    before = only_turn(rollout)
    after = only_turn(rollout.begin(TASKS[1]).prompt("hi"))
    assert told(before) == [("system", "be brief")]
    assert before.turn_id == after.turn_id
    assert not turns(Rollout().session())


def test_what_precedes_a_prompt_waits_for_it() -> None:
    """The turn before does not grow by it, unless the program works on without one."""
    rollout = Rollout().session().turn(TASKS[0], "hi", "yes")
    closed = only_turn(rollout)
    rollout.begin(TASKS[1], model="gpt-6").said("user", INJECTED[1])
    assert turns(rollout) == [closed]
    grown = only_turn(rollout.answer("by myself"))
    assert told(grown) == [*told(closed), ("system", INJECTED[1]), ("assistant", "by myself")]
    assert (grown.turn_id, grown.model) == (closed.turn_id, "gpt-5.5")
