"""Sessions of Claude Code that are compressed, and what their tools gave that was too large for the transcript."""

import gzip
import os
from pathlib import Path
from typing import Any

import pytest
import zstandard

from eventlog import ConversationNoted, TurnRecorded
from turnlog.config import ImportLimits
from turnlog.errors import WrongUsage
from turnlog.recorder import TurnRecorder
from turnlog.sources.claude_code import ClaudeCode
from turnlog.sources.importing import import_streams
from turnlog.sources.registry import recognise
from turnlog.testing.source_contract import read_all, turns_of

from .claude_code_samples import SESSION, Script, lines, talk, text, turns_in

PACKED = {".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}


def with_agent(folder: Path, ending: str = "") -> Path:
    """A session with a sub-agent's file in its folder, compressed if there is an ending."""
    pack = PACKED.get(ending, bytes)
    script, agent = talk(), Script(first=900, isSidechain=True, agentId="a1")
    script.call("t9", "Task", prompt="look around")
    script.result("t9", "seen")
    agent.user("look around")
    agent.assistant(text("I see."))
    beside = folder / SESSION / "subagents" / f"agent-a1.jsonl{ending}"
    beside.parent.mkdir(parents=True)
    beside.write_bytes(pack(agent.content()))
    path = folder / f"{SESSION}.jsonl{ending}"
    path.write_bytes(pack(script.content()))
    return path


@pytest.mark.parametrize("ending", PACKED)
def test_a_compressed_session_is_what_it_was(tmp_path: Path, ending: str) -> None:
    """With its sub-agents' files, which are compressed too; named, found in a folder, or recognised."""
    (tmp_path / "plain").mkdir(), (tmp_path / "packed").mkdir()
    plain, packed = with_agent(tmp_path / "plain"), with_agent(tmp_path / "packed", ending)
    assert "I see." in [message.content for turn in turns_in(plain) for message in turn.messages]
    assert turns_in(packed) == turns_in(packed.parent) == turns_in(plain)
    known, unknown = recognise([packed.parent])
    assert (sorted(known), unknown) == (["claude_code"], [])
    assert turns_in(*known["claude_code"]) == turns_in(plain)
    stream = ClaudeCode().discover([packed])[0]
    chunks = list(ClaudeCode(user="amy").read(stream))
    assert [chunk.offset <= stream.size_bytes for chunk in chunks] == [True] * len(chunks)
    there = ClaudeCode(user="amy").discover([plain])[0]
    on = [turns_of(ClaudeCode(user="amy").read(each, chunks[-1].cursor)) for each in (stream, there)]
    assert on[0] == on[1]
    assert len(on[0]) < len(turns_of(chunks))


def test_a_plain_session_counts_for_its_compressed_copy(tmp_path: Path) -> None:
    """Where both lie in a folder, it is the one that grows."""
    (tmp_path / f"{SESSION}.jsonl.gz").write_bytes(gzip.compress(talk().content()[:900]))
    plain = tmp_path / f"{SESSION}.jsonl"
    plain.write_bytes(talk().content())
    assert [stream.path for stream in ClaudeCode().discover([tmp_path])] == [plain]


def test_what_is_left_of_damaged_data_is_read(tmp_path: Path) -> None:
    """What comes before the damage, which is told; where nothing does, that is told too."""
    script = talk()
    script.user(os.urandom(2**16).hex())
    path = tmp_path / f"{SESSION}.jsonl.gz"
    whole = gzip.compress(script.content())
    for length, turns in ((len(whole) - 2000, 3), (40, 0)):
        path.write_bytes(whole[:length])
        chunks = read_all(ClaudeCode(user="amy"), [path])
        assert len(turns_of(chunks)) == turns
        (piece,) = [piece for chunk in chunks for piece in chunk.unreadable]
        assert (piece.position, piece.reason[:31]) == ("the end", "the compressed data are damaged")


def test_what_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    """By a sentence that names the limit."""
    path = tmp_path / f"{SESSION}.jsonl.gz"
    path.write_bytes(gzip.compress(talk().content() + b" " * 2**25))
    (stream,) = ClaudeCode().discover([path])
    with pytest.raises(WrongUsage, match=r"if you trust it, raise ratio_max in \[import\]"):
        list(ClaudeCode().read(stream))
    with pytest.raises(WrongUsage, match=r"more than 100 bytes; entry_bytes_max in \[import\]"):
        list(ClaudeCode(limits=ImportLimits(entry_bytes_max=100)).read(stream))
    assert turns_of(ClaudeCode(limits=ImportLimits(ratio_max=10**6)).read(stream))


# --- outputs ----------------------------------------------------------------------------------------------------------

STUB = (
    "<persisted-output>\nOutput too large (53.4KB). Full output saved to: "
    f"/home/amy/.claude/projects/-p/{SESSION}/tool-results/{{}}\n\nPreview (first 2KB):\nabc\n</persisted-output>"
)


@pytest.fixture
def session(tmp_path: Path) -> Path:
    """A session whose first tool's output is named by the call, whose second one's by the result."""
    script = Script()
    script.user("list it")
    script.call("toolu_1", command="ls")
    script.result("toolu_1", STUB.format("toolu_1.txt"))
    script.call("toolu_2", command="ls")
    script.result("toolu_2", STUB.format("b1.txt"))
    folder = tmp_path / "p" / SESSION / "tool-results"
    folder.mkdir(parents=True)
    for name in ("toolu_1.txt", "b1.txt", "stray.json"):
        (folder / name).write_text(f"all of {name}")
    (tmp_path / "secret").write_text("elsewhere")
    (folder / "link.txt").symlink_to(tmp_path / "secret")
    os.mkfifo(folder / "pipe.txt")
    path = tmp_path / "p" / f"{SESSION}.jsonl"
    path.write_bytes(lines(*script.records))
    return path


def bring_in(log: Path, path: Path) -> list[Any]:
    with TurnRecorder(log, durability="os") as recorder:
        source = ClaudeCode(user="amy")
        import_streams(recorder, source, source.discover([path]))
        return [entry.event for entry in recorder.log.read()]


def test_outputs_are_kept_and_are_parts_of_the_results(session: Path, tmp_path: Path) -> None:
    """By digest, with the call's id; one that no result tells of is noted; links and pipes are none."""
    events = bring_in(tmp_path / "log", session)
    (turn,) = [event for event in events if isinstance(event, TurnRecorded)]
    outputs = [part for message in turn.messages for part in message.parts if part.type == "output"]
    blobs = tmp_path / "log" / "blobs"
    assert [(part.id, part.name) for part in outputs] == [
        ("toolu_1", "tool-results/toolu_1.txt"),
        ("toolu_2", "tool-results/b1.txt"),
    ]
    kept = [(blobs / str(part.digest)[:2] / str(part.digest)).read_text() for part in outputs]
    assert kept == ["all of toolu_1.txt", "all of b1.txt"]
    (note,) = [event.notes for event in events if isinstance(event, ConversationNoted) and "outputs" in event.notes]
    assert [each["name"] for each in note["outputs"]] == ["tool-results/stray.json"]
    assert len(list(blobs.rglob("*"))) == 3 * 2


def test_a_copy_without_its_outputs_takes_nothing_away(session: Path, tmp_path: Path) -> None:
    """The session alone, read later, is no revision; read before, it is one when the outputs are there."""
    alone = tmp_path / "copy" / session.name
    alone.parent.mkdir()
    alone.write_bytes(session.read_bytes())
    revisions = []
    for log, paths in (("log", [session, alone]), ("other", [alone, session])):
        events = [bring_in(tmp_path / log, path) for path in paths][-1]
        revisions.append([event.revision for event in events if isinstance(event, TurnRecorded)])
    assert revisions == [[1], [1, 2]]
