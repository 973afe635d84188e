"""What holds of any session of Claude Code, whatever is done to its file."""

import json
import random
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from eventlog import TurnRecorded
from projections import content_digest
from turnlog.recorder import TurnRecorder
from turnlog.sources.base import Chunk
from turnlog.sources.claude_code import ClaudeCode
from turnlog.sources.importing import ImportCounts, import_streams
from turnlog.testing.source_contract import ids_of, turns_of

from .claude_code_samples import OTHER, SESSION, Script, lines, talk, text

properties = settings(deadline=None, max_examples=40)  # they write files, and a disk may pause

Step = Callable[[Script, random.Random], Any]

STEPS: dict[str, Step] = {
    "prompt": lambda script, _: script.user("the same again"),
    "other prompt": lambda script, chance: script.user(f"prompt {chance.randrange(9)}"),
    "answer": lambda script, chance: script.assistant(text("answer"), mid=f"m{chance.randrange(9)}", usage={"a": 1}),
    "call": lambda script, chance: script.call(f"t{chance.randrange(9)}", "Task", prompt="look", z=1, a=2),
    "result": lambda script, chance: script.result(f"t{chance.randrange(9)}", toolUseResult={"b": 1, "a": {"d": 1}}),
    "enqueue": lambda script, chance: script.queue("enqueue", f"queued {chance.randrange(3)}"),
    "remove": lambda script, _: script.queue("remove"),
    "dequeue": lambda script, _: script.queue("dequeue"),
    "attached": lambda script, chance: script.queued(f"queued {chance.randrange(3)}"),
    "command": lambda script, _: script.user("<command-name>/x</command-name>"),
    "system": lambda script, _: script.add("system", subtype="turn_duration", durationMs=0),
    "title": lambda script, chance: script.bare("custom-title", customTitle=f"title {chance.randrange(9)}"),
    "tick": lambda script, _: script.add("progress", data={"type": "bash_progress"}, parentToolUseID="t1"),
    "aside": lambda script, chance: script.add(
        "user", isSidechain=True, agentId=f"a{chance.randrange(3)}", message={"role": "user", "content": "look"}
    ),
    "unknown": lambda script, _: script.add("teleport", where="there"),
}


def make_script(steps: Sequence[str], seed: int) -> Script:
    chance = random.Random(seed)
    script = Script()
    for step in steps:
        if step == "back" and script.records:
            uuids = [record["uuid"] for record in script.records if "uuid" in record]
            script.parent = chance.choice(uuids) if uuids else None
        elif step != "back":
            STEPS[step](script, chance)
    return script


scripts = st.builds(make_script, st.lists(st.sampled_from([*STEPS, "back"]), max_size=25), st.integers(0, 99))


def read(content: bytes, cursor: Any = None) -> list[Chunk]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"{SESSION}.jsonl")
        path.write_bytes(content)
        source = ClaudeCode(user="amy")
        return [chunk for stream in source.discover([path]) for chunk in source.read(stream, cursor)]


def newest(log: Path) -> dict[tuple[str, str], list[bytes]]:
    """What each conversation holds: the newest revision of each of its turns."""
    with TurnRecorder(log, durability="os") as recorder:
        found = {e.event.turn_id: e.event for e in recorder.log.read() if isinstance(e.event, TurnRecorded)}
    return {(turn.conversation, turn_id): [content_digest(turn)] for turn_id, turn in found.items()}


def bring_in(log: Path, path: Path) -> ImportCounts:
    with TurnRecorder(log, durability="os") as recorder:
        source = ClaudeCode(user="amy")
        return import_streams(recorder, source, source.discover([path]))


WHOLE = talk()
WHOLE.queue("enqueue", "attached")
WHOLE.queue("remove")
WHOLE.call("t7", "Task", prompt="look")
WHOLE.queued("attached")
WHOLE.assistant(text("The end."), mid="msg_9")
CONTENT = WHOLE.content()


@settings(properties, max_examples=10)
@given(st.integers(0, len(CONTENT)))
def test_a_session_that_was_read_too_early_ends_the_same(cut: int) -> None:
    """Cut at any byte and taken in, then whole: the conversations are those of the whole file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"{SESSION}.jsonl")
        path.write_bytes(CONTENT[:cut])
        bring_in(Path(folder, "log"), path)
        path.write_bytes(CONTENT)
        bring_in(Path(folder, "log"), path)
        bring_in(Path(folder, "once"), path)
        assert newest(Path(folder, "log")) == newest(Path(folder, "once"))
        again = bring_in(Path(folder, "log"), path)
        assert (again.recorded, again.revised) == (0, 0)


@properties
@given(scripts, st.integers(0, 25))
def test_no_turn_that_was_read_early_is_another_later(script: Script, cut: int) -> None:
    """Cut behind any record, the turns that are there are turns of the whole, in the same order."""
    before = ids_of(read(lines(*script.records[:cut])))
    after = ids_of(read(script.content()))
    assert len(set(after)) == len(after)
    assert before == [turn_id for turn_id in after if turn_id in set(before)]


@properties
@given(scripts, st.integers(0, 25))
def test_reading_on_is_reading_all(script: Script, cut: int) -> None:
    """What was read up to anywhere, and from that cursor on, has each turn as the whole file has it."""
    chunks = read(lines(*script.records[:cut]))
    cursor = json.loads(json.dumps(chunks[-1].cursor)) if chunks else None
    found = {turn.turn_id: turn for turn in [*turns_of(chunks), *turns_of(read(script.content(), cursor))]}
    whole = {turn.turn_id: turn for turn in turns_of(read(script.content()))}
    assert found == whole


def shuffled(value: Any, chance: random.Random) -> Any:
    if isinstance(value, list):
        return [shuffled(item, chance) for item in value]
    if not isinstance(value, dict):
        return value
    return {key: shuffled(value[key], chance) for key in chance.sample(sorted(value), len(value))}


@settings(properties, max_examples=25)
@given(st.lists(st.sampled_from([*STEPS, "back"]), max_size=25), st.randoms(use_true_random=False))
def test_a_forks_turns_are_the_same(steps: list[str], chance: random.Random) -> None:
    """Another session, other keys' order, what forks write anew: each turn has its id and its content."""
    records = make_script(["system", *steps], 0).records  # a session begins with a record that has an id
    fork = [shuffled({**record, "sessionId": OTHER, "slug": "x", "version": "9"}, chance) for record in records]
    original, copy = (
        {turn.turn_id: content_digest(turn) for turn in turns_of(read(lines(*each)))} for each in (records, fork)
    )
    assert original == copy


mutations = st.lists(
    st.tuples(
        st.sampled_from(["flip", "cut", "insert", "repeat", "swap"]),
        st.integers(0, len(CONTENT)),
        st.integers(0, 300),
        st.binary(min_size=1, max_size=8)
        | st.sampled_from([b"\0" * 50, b"\n", b"}", b'{"', b"[[", b"1e999", b"\\ud800"]),
    ),
    min_size=1,
    max_size=6,
)


def mutate(content: bytes, changes: list[tuple[str, int, int, bytes]]) -> bytes:
    for change, at, length, filling in changes:
        start, middle, end = content[:at], content[at : at + length], content[at + length :]
        content = {
            "flip": start + filling + content[at + len(filling) :],
            "cut": start + end,
            "insert": start + filling + middle + end,
            "repeat": start + middle + middle + end,
            "swap": start + end[:length] + middle + end[length:],
        }[change]
    return content


@settings(properties, max_examples=80)
@given(mutations)
def test_whatever_is_done_to_a_file_it_can_be_read(changes: list[tuple[str, int, int, bytes]]) -> None:
    """There is no exception, and what comes of it can be recorded."""
    for chunk in read(mutate(CONTENT, changes)):
        assert all(msgspec.json.decode(msgspec.json.encode(turn), type=TurnRecorded) == turn for turn in chunk.turns)
        assert json.loads(json.dumps(chunk.cursor, allow_nan=False)) == chunk.cursor
        assert all(piece.raw for piece in chunk.unreadable)


junk = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=5),
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=3), v, max_size=3),
    max_leaves=5,
)


@settings(properties, max_examples=80)
@given(st.lists(st.tuples(st.integers(0, len(WHOLE.records) - 1), st.integers(0, 99), junk), max_size=8))
def test_whatever_a_field_holds_it_can_be_read(changes: list[tuple[int, int, Any]]) -> None:
    """Any JSON value in the place of any other, within messages and attachments too."""
    records = json.loads(json.dumps(WHOLE.records))
    for number, which, value in changes:
        places = list(_places(records[number]))
        holder, key = places[which % len(places)]
        holder[key] = value
    for turn in turns_of(read(lines(*records))):
        assert msgspec.json.decode(msgspec.json.encode(turn), type=TurnRecorded) == turn


def _places(value: Any) -> Any:
    """Each place in a JSON value, with what it is in."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield value, key
        yield from _places(item)


def test_hostile_megabytes_are_read_at_once() -> None:
    """Nothing takes more than its length: objects without end, opening brackets, wrappers, starts of records."""
    hostile = [
        b"{}" * 2**16,
        b'{"type":["a",' * 2**16,
        b'{"type":"user","sessionId":' * 2**15,
        lines({"type": "user", "message": {"role": "user", "content": "<ide_selection></ide_selection>" * 2**15}}),
        lines({"type": "user", "message": {"role": "user", "content": "<ide_selection>" * 2**16}}),
        b"\0" * 2**20,
        b"\n" * 2**18,
    ]
    for content in hostile:
        chunks = read(content)
        assert not chunks or chunks[-1].offset == len(content)
