"""Forks, agents and rolled-back turns of Codex: every turn once, whichever rollouts it stands in."""

from itertools import permutations
from pathlib import Path

import pytest

from .codex_support import (
    FORK,
    TASKS,
    THREAD,
    Rollout,
    bring_in,
    conversations,
    log_of,
    notes,
    only_turn,
    parts,
    read,
    told,
    turns,
)  # fmt: skip

CHILD = "01900001-0000-7000-8000-000000000003"
CREATED = "2026-06-17T10:30:00.000Z"


def parent() -> Rollout:
    return Rollout().session().turn(TASKS[0], "one", "re one")


def fork(upto: int | None = None) -> Rollout:
    rollout = Rollout(FORK, second=1800).session(forked_from_id=THREAD, timestamp=CREATED)
    return rollout.copy(parent(), upto).turn(TASKS[1], "instead", "re instead")


def write(folder: Path, **rollouts: Rollout) -> dict[str, Path]:
    paths = {name: folder / f"{name}.jsonl" for name in rollouts}
    for name, rollout in rollouts.items():
        paths[name].write_bytes(rollout.content)
    return paths


def test_a_fork_holds_its_parents_turns_and_its_own() -> None:
    """Those of the copy are the parent's to the last byte, but for their times; the others are in the fork."""
    (original,) = turns(parent())
    copied, own = turns(fork())
    assert (copied.turn_id, copied.conversation, copied.messages[0].parts) == (original.turn_id, THREAD, ())
    assert [(m.role, m.content, m.parts) for m in copied.messages] == [
        (m.role, m.content, m.parts) for m in original.messages
    ]
    assert copied.started_at is None
    assert (own.conversation, told(own)) == (FORK, [("user", "instead"), ("assistant", "re instead")])


def test_a_note_tells_what_a_fork_shares() -> None:
    """Its parent, and the first and the last turn that both have."""
    note = notes(fork())[-1]
    shared = {"shared_from": f"codex:{TASKS[0]}", "shared_up_to": f"codex:{TASKS[0]}"}
    assert (note.conversation, note.notes) == (FORK, {"forked_from": THREAD, **shared})


@pytest.mark.parametrize("order", list(permutations(["parent", "fork"])))
def test_a_fork_and_its_parent_add_no_turn_twice(tmp_path: Path, order: tuple[str, str]) -> None:
    """In whichever order they come, and once more together."""
    more = parent().turn(TASKS[2], "two", "re two")
    paths = write(tmp_path, parent=more, fork=fork())
    recorded = [bring_in(tmp_path / "log", [paths[name]]).recorded for name in order]
    again = bring_in(tmp_path / "log", list(paths.values()))
    assert sum(recorded) == 3
    assert (again.recorded, again.revised, again.unchanged) == (0, 0, 4)
    assert {name: len(held) for name, held in conversations(tmp_path / "log").items()} == {THREAD: 2, FORK: 1}


def test_a_fork_of_a_fork_adds_its_own_turns_only(tmp_path: Path) -> None:
    """The copy of a copy begins with the first records of both."""
    third = "01900002-0000-7000-8000-000000000004"
    nested = Rollout(third, second=3000).session(forked_from_id=FORK, timestamp="2026-06-17T10:50:00.000Z")
    nested.copy(fork()).turn(TASKS[3], "third way", "re third way")
    paths = write(tmp_path, a=parent(), b=fork(), c=nested)
    counts = bring_in(tmp_path / "log", list(paths.values()))
    assert (counts.recorded, counts.revised, counts.unchanged) == (3, 0, 3)
    assert {name: len(held) for name, held in conversations(tmp_path / "log").items()} == {THREAD: 1, FORK: 1, third: 1}


def test_turns_without_ids_are_told_from_copies_by_the_pause() -> None:
    """What was copied in one go is the parent's, what comes later the fork's, also where it says the same."""
    old = Rollout("parent").session().prompt("go on").answer("a")
    rollout = Rollout("child", second=1800).session(forked_from_id="parent").copy(old).prompt("go on").answer("b")
    copied, own = turns(rollout)
    assert copied.turn_id == only_turn(old).turn_id == "codex:parent:0"
    assert (own.turn_id, own.conversation) == ("codex:child:0", "child")


def test_ids_of_other_kinds_are_compared_by_when_turns_started() -> None:
    """Where neither thread nor turn has an id that tells its time, `started_at` does."""
    old = Rollout("p").session()
    old.event("task_started", turn_id="t0", started_at=1781690000).prompt("one").end("t0")
    rollout = Rollout("c", second=1800).session(forked_from_id="p", timestamp=CREATED).copy(old)
    rollout.event("task_started", turn_id="t1", started_at=1781692201).prompt("two")
    assert [(turn.turn_id, turn.conversation) for turn in turns(rollout)] == [("codex:t0", "p"), ("codex:t1", "c")]


def agent(**fields: object) -> Rollout:
    spawn = {"subagent": {"thread_spawn": {"parent_thread_id": THREAD, "depth": 1, "agent_path": "/root/a"}}}
    return Rollout(CHILD, second=1800).session(
        session_id=THREAD, parent_thread_id=THREAD, source=spawn, timestamp=CREATED, **fields
    )


def test_an_agents_thread_is_one_turn_without_a_prompt() -> None:
    """In the conversation of the session that started it: nobody typed what it was told."""
    rollout = agent().begin(TASKS[1]).prompt("review this").answer("fine").begin(TASKS[2]).prompt("more").answer("ok")
    turn = only_turn(rollout)
    assert (turn.turn_id, turn.conversation) == (f"codex:{CHILD}", THREAD)
    assert told(turn) == [("system", "review this"), ("assistant", "fine"), ("system", "more"), ("assistant", "ok")]
    assert turn.messages[0].name == "parent"


def test_an_agent_that_begins_with_a_copy_leaves_the_open_turn_to_its_parent(tmp_path: Path) -> None:
    """The copy was cut off within the turn that started the agent; alone, what there is of it is kept."""
    running = parent().begin(TASKS[8].replace("01900008", "01900000")).prompt("delegate").answer("I ask an agent")
    rollout = agent(forked_from_id=THREAD).copy(running).begin(TASKS[1]).said("assistant", "agent here")
    running.answer("all done")
    paths = write(tmp_path, a_parent=running, b_agent=rollout)
    (tmp_path / f"rollout-x-{THREAD}.jsonl").write_bytes(paths.pop("a_parent").read_bytes())
    whole = [tmp_path / f"rollout-x-{THREAD}.jsonl", paths["b_agent"]]
    counts = bring_in(tmp_path / "log", whole)
    assert (counts.recorded, counts.revised) == (3, 0)
    assert told(list(log_of(tmp_path / "log").values())[1])[-1] == ("assistant", "all done")
    alone = turns(rollout)
    assert told(alone[1])[-1] == ("assistant", "I ask an agent")
    assert told(alone[2]) == [("assistant", "agent here")]
    assert alone[2].meta["started_by"] == alone[1].turn_id


def test_an_agents_copied_history_ends_at_an_ordinal_where_it_says_so() -> None:
    """`subagent_history_start_ordinal` of the third generation."""
    rollout = agent(subagent_history_start_ordinal=7).copy(parent())
    rollout.said("assistant", "agent here")
    for ordinal, record in enumerate(rollout.records):
        record["ordinal"] = ordinal
    until = len(rollout.records) - 1
    rollout.records[0]["payload"]["subagent_history_start_ordinal"] = until
    copied, own = turns(rollout)
    assert (copied.turn_id, copied.conversation) == (f"codex:{TASKS[0]}", THREAD)
    assert told(own) == [("assistant", "agent here")]


def test_a_fork_that_names_its_history_tells_it_in_a_note() -> None:
    """The third generation copies nothing."""
    base = {"thread_id": THREAD, "end_ordinal_exclusive": 7, "end_byte_offset": 900}
    rollout = Rollout(FORK).session(history_mode="paginated", history_base=base).turn(TASKS[1], "instead", "yes")
    assert only_turn(rollout).conversation == FORK
    assert [note.notes for note in notes(rollout)] == [{"forked_from": THREAD, "history_base": base}]


def test_rolled_back_turns_are_kept_and_noted() -> None:
    """The last ones that were active, counted from where the user went back; the notes are no part of a turn."""
    rollout = Rollout().session()
    for number in range(3):
        rollout.turn(TASKS[number], f"p{number}", "a")
    rollout.event("thread_rolled_back", num_turns=2).turn(TASKS[3], "p3", "a")
    rollout.event("thread_rolled_back", num_turns=2)
    assert [told(turn)[0][1] for turn in turns(rollout)] == ["p0", "p1", "p2", "p3"]
    ids = [f"codex:{task}" for task in TASKS]
    assert [note.notes for note in notes(rollout)] == [{"inactive": ids[1:3]}, {"inactive": [ids[0], ids[3]]}]


def test_names_of_threads_are_notes() -> None:
    """From the rollout and from the index of names."""
    rollout = Rollout().session().prompt("hi").event("thread_name_updated", thread_id=THREAD, thread_name="A name")
    (note,) = notes(rollout)
    assert (note.conversation, note.title) == (THREAD, "A name")
    index = b'{"id":"%s","thread_name":"Another","updated_at":"2026-06-17T10:00:00Z"}\n' % THREAD.encode()
    (chunk,) = read(index)
    assert [(note.conversation, note.title) for note in chunk.notes] == [(THREAD, "Another")]
    assert not chunk.turns


def test_a_session_says_who_it_is_once() -> None:
    """A repeated first record is passed over; one of another thread, later on, is kept as it is."""
    rollout = Rollout().session().prompt("hi").session().session("another")
    turn = only_turn(rollout)
    assert turn.meta["session"]["id"] == THREAD
    assert [part.data["id"] for part in parts(turn, "session_meta")] == ["another"]
