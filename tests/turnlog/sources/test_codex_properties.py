"""What holds of every rollout of Codex, however it was cut, copied or damaged."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from turnlog.sources.codex import Codex
from turnlog.sources.codex_messages import key_of

from .codex_support import (
    FORK,
    TASKS,
    THREAD,
    Record,
    Rollout,
    bring_in,
    content_of,
    conversations,
    read,
    sample,
    turns,
    unreadable,
)

properties = settings(deadline=None)  # they write files, and a disk may pause
few = settings(deadline=None, max_examples=25)  # they write logs

texts = st.sampled_from(["go on", "yes", "<environment_context>x</environment_context>", "你好", ""]) | st.text(
    max_size=9
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts
values = st.recursive(
    scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=4), v, max_size=3), max_leaves=5
)
FIELDS = (
    "id", "call_id", "turn_id", "name", "role", "content", "message", "text", "summary", "arguments", "output", "info",
    "item", "images", "model", "num_turns", "last_agent_message", "thread_name", "source", "forked_from_id", "status",
    "history_base", "subagent_history_start_ordinal", "started_at", "result", "encrypted_content", "error", "thread_id",
)  # fmt: skip
KINDS = (
    "message", "reasoning", "function_call", "function_call_output", "image_generation_call", "user_message", "error",
    "agent_message", "agent_reasoning", "token_count", "task_started", "task_complete", "turn_aborted", "compaction",
    "item_completed", "thread_rolled_back", "thread_name_updated", "exec_command_end", "image_generation_end", "new",
)  # fmt: skip
items = st.fixed_dictionaries(
    {"type": st.sampled_from(["UserMessage", "AgentMessage", "Reasoning", "Plan"]) | values},
    optional={"content": values, "id": values, "summary_text": values},
)
blocks = st.lists(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["input_text", "input_image"]) | values},
        optional={"text": values, "image_url": values | st.just("data:image/png;base64,AAAA")},
    )
    | values,
    max_size=3,
)
payloads = st.fixed_dictionaries(
    {"type": st.sampled_from(KINDS) | values},
    optional=dict.fromkeys(FIELDS, values)
    | {"item": items | values, "role": st.sampled_from(["user", "assistant"])}
    | {"content": blocks | values, "output": blocks | values},
)
odd_records = st.fixed_dictionaries(
    {
        "type": st.sampled_from(
            ["session_meta", "turn_context", "response_item", "event_msg", "compacted", "world_state"]
        )
        | values,
        "payload": payloads | values,
    },
    optional={"timestamp": texts | values, "ordinal": values, "role": values, "record_type": values},
) | st.dictionaries(st.sampled_from(FIELDS), values, max_size=4)


def _used(rollout: Rollout, more: int) -> dict[str, Any]:
    """The tokens of the session up to here, which only grow."""
    counts = [r["payload"]["info"] for r in rollout.records if r.get("payload", {}).get("type") == "token_count"]
    total = counts[-1]["total_token_usage"]["total_tokens"] if counts else 0
    return {"total_token_usage": {"total_tokens": total + more}}


STEPS: dict[str, Callable[[Rollout, str], Rollout]] = {
    "prompt": Rollout.prompt,
    "answer": Rollout.answer,
    "injected": lambda rollout, _: rollout.said("user", "<environment_context>x</environment_context>"),
    "rollback": lambda rollout, text: rollout.event("thread_rolled_back", num_turns=len(text)),
    "call": lambda rollout, text: rollout.item("function_call", name="f", arguments=text, call_id="c"),
    "count": lambda rollout, text: rollout.event("token_count", info=_used(rollout, len(text))),
    "new": lambda rollout, text: rollout.add("new", text=text),
}


@given(text=st.text(st.sampled_from("ab\x1c\x1f\x85\u3000\xa0 \t\r\n你") | st.characters()))
def test_white_space_is_no_part_of_what_was_said(text: str) -> None:
    """Texts that differ in nothing else have one key, whatever their letters and their spaces are."""
    key = key_of("user", text)
    assert key == key_of("user", f"\n{text}\u3000")
    assert key == ("user", "".join(text.split()))


@st.composite
def rollouts(draw: st.DrawFn) -> Rollout:
    """A session as Codex writes them: tasks with and without ids, prompts typed in between, calls, counts, ends."""
    rollout = Rollout().session()
    with_ids = draw(st.booleans())
    for task in TASKS[: draw(st.integers(1, 4))]:
        if with_ids:
            rollout.begin(task)
        for step, text in draw(st.lists(st.tuples(st.sampled_from(sorted(STEPS)), texts), max_size=6)):
            STEPS[step](rollout, text)
        if with_ids and draw(st.booleans()):
            rollout.end(task, "fine")
    return rollout


@properties
@given(rollouts(), st.data())
def test_reading_on_is_reading_all(rollout: Rollout, data: st.DataObject) -> None:
    """Whatever was there when the cursor was made: from there on come the last turns, as they are in the whole."""
    content = rollout.content
    cut = data.draw(st.integers(0, len(content)))
    before = read(content[:cut])
    rest = turns(content, cursor=json.loads(json.dumps(before[-1].cursor)) if before else None)
    whole = turns(content)
    assert rest == whole[len(whole) - len(rest) :]
    known = [turn.turn_id for chunk in before for turn in chunk.turns]
    assert {turn.turn_id for turn in whole} == {*known, *(turn.turn_id for turn in rest)}


@few
@given(rollouts(), st.data())
def test_importing_a_part_first_changes_nothing_in_the_end(rollout: Rollout, data: st.DataObject) -> None:
    """Cut anywhere, imported, restored, imported again: the conversations are those of one import."""
    content = rollout.content
    cut = data.draw(st.integers(0, len(content)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "sample.jsonl")
        path.write_bytes(content[:cut])
        bring_in(Path(folder, "twice"), [path])
        path.write_bytes(content)
        bring_in(Path(folder, "twice"), [path])
        again = bring_in(Path(folder, "twice"), [path])
        bring_in(Path(folder, "once"), [path])
        assert conversations(Path(folder, "twice")) == conversations(Path(folder, "once"))
    assert (again.recorded, again.revised) == (0, 0)


@few
@given(rollouts(), st.randoms(use_true_random=False))
def test_a_copy_and_a_fork_add_no_turn(rollout: Rollout, random: Any) -> None:
    """In whichever order they are imported; the fork's own turn is the only one that is more."""
    late = FORK.replace("01900001", "01900007")
    fork = Rollout(late, second=1800).session(forked_from_id=THREAD, timestamp="2026-06-17T10:30:00.000Z")
    fork.copy(rollout).begin(TASKS[8]).prompt("the fork's own")
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, f"{name}.jsonl") for name in ("original", "copy", "fork")]
        for path, each in zip(paths, (rollout, rollout, fork), strict=True):
            path.write_bytes(each.content)
        bring_in(Path(folder, "alone"), paths[:1])
        random.shuffle(paths)
        for path in paths:
            bring_in(Path(folder, "log"), [path])
        alone, together = conversations(Path(folder, "alone")), conversations(Path(folder, "log"))
    assert {turn[0] for turn in together.pop(late)} == {f"codex:{TASKS[8]}"}
    assert {name: sorted(turn[0] for turn in held) for name, held in together.items()} == {
        name: sorted(turn[0] for turn in held) for name, held in alone.items()
    }


@few
@given(st.lists(odd_records, max_size=8), st.booleans())
def test_records_of_any_shape_are_read(records: list[Record], begins_well: bool) -> None:
    """Nothing raises, whatever stands where; every chunk can be written to the log."""
    content = content_of(records)
    content = (sample().content if begins_well else b"") + content
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "sample.jsonl")
        path.write_bytes(content)
        Codex.recognises(path)
        first = bring_in(Path(folder, "log"), [path])
        second = bring_in(Path(folder, "log"), [path])
    assert (second.recorded, second.revised, second.quarantined) == (0, 0, first.quarantined)


SAMPLE = sample().content


@properties
@given(st.data())
def test_bytes_changed_anywhere_are_read_or_set_apart(data: st.DataObject) -> None:
    """No exception, and what is set apart is a piece of the file."""
    content = bytearray(SAMPLE)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(content)))
        end = min(len(content), start + data.draw(st.integers(0, 300)))
        content[start:end] = data.draw(
            st.binary(max_size=6) | st.sampled_from([b"\n", b'"', b"{", SAMPLE[100:700], b"\0" * 50])
        )
    for piece in unreadable(bytes(content)):
        assert piece.raw in content
        assert piece.reason
