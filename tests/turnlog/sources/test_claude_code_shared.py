"""Real transcripts, where the folder with them is there: what is in them is in the log.

What is counted here is counted by plain JSON, from what is known of the format, and by no code of the importer.
"""

import gzip
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eventlog import TurnRecorded
from turnlog.recorder import TurnRecorder
from turnlog.sources.claude_code import ClaudeCode
from turnlog.sources.importing import ImportCounts, import_streams
from turnlog.sources.registry import recognise

from .shared import TRANSCRIPTS

SHARED = TRANSCRIPTS / "claude-code"

pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason="the folder with shared transcripts is not here")

NO_PROMPTS = (
    "[Request interrupted by user",
    "<command-name>",
    "<command-message>",
    "<local-command-stdout>",
    "<local-command-caveat>",
    "<bash-input>",
    "<bash-stdout>",
    "<task-notification>",
    "<agent-notification>",
)


@pytest.fixture(scope="module")
def transcripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files, in their folders, those that are compressed unpacked."""
    folder = tmp_path_factory.mktemp("shared") / "claude-code"
    for path in SHARED.rglob("*"):
        target = folder / path.relative_to(SHARED)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".gz":
            target.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        elif path.suffix == ".jsonl" or path.name.endswith(".meta.json"):
            shutil.copyfile(path, target)
    return folder


@pytest.fixture(scope="module")
def imported(
    transcripts: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[ImportCounts], list[TurnRecorded]]:
    """The counts of two imports, and the turns that are in the log then."""
    log = tmp_path_factory.mktemp("log")
    counts = []
    for _ in range(2):
        with TurnRecorder(log, durability="os") as recorder:
            known, unknown = recognise([transcripts])
            assert not unknown
            source = ClaudeCode(user="amy")
            counts.append(import_streams(recorder, source, source.discover(known["claude_code"])))
            turns = [entry.event for entry in recorder.log.read() if isinstance(entry.event, TurnRecorded)]
    return counts, turns


def records_in(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.rglob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.strip():
                yield json.loads(line)


def blocks_in(record: dict[str, Any]) -> list[dict[str, Any]]:
    content = (record.get("message") or {}).get("content") or []
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def prompts_in(folder: Path) -> set[str]:
    """What people typed: ordinary lines, and what waited in the queue, in both forms."""
    found = set()
    queues: dict[str, list[str | None]] = {}
    for record in records_in(folder):
        queue = queues.setdefault(record.get("sessionId", ""), [])
        if record.get("type") == "queue-operation":
            if record["operation"] == "enqueue":
                queue.append(record.get("content"))
            elif queue:
                taken = queue.pop(0)
                found |= {taken} if record["operation"] == "remove" and taken else set()
        attachment = record.get("attachment") or {}
        if attachment.get("type") == "queued_command" and attachment.get("commandMode") == "prompt":
            found.add(attachment["prompt"])
        blocks = blocks_in(record)
        is_result = any(block["type"] == "tool_result" for block in blocks)
        if record.get("type") != "user" or is_result or record.get("isMeta") or record.get("isCompactSummary"):
            continue
        if record.get("isSidechain") or (record.get("origin") or {}).get("kind") == "task-notification":
            continue
        found |= {block["text"] for block in blocks if block["type"] == "text"}
    return {prompt for prompt in found if not prompt.startswith(NO_PROMPTS)}


def test_a_second_import_records_nothing(imported: tuple[list[ImportCounts], list[TurnRecorded]]) -> None:
    """Nothing is damaged in these files, and nothing is new the second time."""
    (first, second), _ = imported
    assert first.recorded > 30
    assert first.quarantined == 0
    assert (second.recorded, second.revised, second.quarantined) == (0, 0, 0)


def test_every_prompt_is_in_the_log(transcripts: Path, imported: tuple[list[ImportCounts], list[TurnRecorded]]) -> None:
    """As a message of the role user, and nothing else is one."""
    turns = imported[1]
    prompts = prompts_in(transcripts)
    assert len(prompts) > 25
    assert {message.content for turn in turns for message in turn.messages if message.role == "user"} == prompts


def test_every_answer_is_in_the_log(transcripts: Path, imported: tuple[list[ImportCounts], list[TurnRecorded]]) -> None:
    """Each text of an assistant, the agents' too."""
    said = "\n".join(m.content for turn in imported[1] for m in turn.messages if m.role == "assistant")
    answers = {
        block["text"]
        for record in records_in(transcripts)
        if record.get("type") == "assistant"
        for block in blocks_in(record)
        if block["type"] == "text"
    }
    assert len(answers) > 150
    assert [answer for answer in answers if answer not in said] == []


def test_every_call_and_result_is_in_the_log(
    transcripts: Path, imported: tuple[list[ImportCounts], list[TurnRecorded]]
) -> None:
    """By their ids; what progress records repeat of agents without a file of their own counts too."""
    blocks = [(record, block) for record in records_in(transcripts) for block in blocks_in(record)]
    for record in records_in(transcripts):
        said = (record.get("data") or {}).get("message")
        blocks += [(said, block) for block in blocks_in(said)] if said else []
    parts = [part for turn in imported[1] for message in turn.messages for part in message.parts]
    for block_type, key, part_type in (("tool_use", "id", "tool_call"), ("tool_result", "tool_use_id", "tool_result")):
        wanted = {block.get(key) for _, block in blocks if block["type"] == block_type}
        assert len(wanted) > 300
        assert {part.id for part in parts if part.type == part_type} == wanted


def test_every_record_is_in_the_log_once(
    transcripts: Path, imported: tuple[list[ImportCounts], list[TurnRecorded]]
) -> None:
    """Each that was said, in one turn: revisions apart, no message stands in two."""
    said = {"user", "assistant", "system", "attachment"}
    uuids = {record.get("uuid") for record in records_in(transcripts) if record.get("type") in said}
    assert uuids - {None} - {message.id for turn in imported[1] for message in turn.messages} == set()
    newest = {turn.turn_id: turn for turn in imported[1]}
    held = Counter(message.id for turn in newest.values() for message in turn.messages)
    assert [message_id for message_id, times in held.items() if message_id and len(message_id) > 30 and times > 1] == []
