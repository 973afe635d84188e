"""Real rollouts of Codex, where they are there: nothing that is in them is missing in the log.

What is in them is counted by plain JSON alone; nothing here uses what reads rollouts.
"""

import gzip
import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .codex_support import bring_in, log_of
from .shared import TRANSCRIPTS

SAMPLES = TRANSCRIPTS / "codex"
FILES = sorted(path for path in SAMPLES.rglob("*") if path.name.endswith((".jsonl", ".jsonl.gz")))
INJECTED = ("<", "#AGENTS.md")

pytestmark = pytest.mark.skipif(not FILES, reason="there are no samples here")


def records_in(path: Path) -> Iterator[dict[str, Any]]:
    data = path.read_bytes()
    for line in (gzip.decompress(data) if path.suffix == ".gz" else data).splitlines():
        if line.strip():
            yield json.loads(line)


def texts_of(content: Any) -> str:
    blocks = content if isinstance(content, list) else [content]
    said = [block.get("text") if isinstance(block, dict) else block for block in blocks]
    return squeezed("".join(text for text in said if isinstance(text, str)))


def squeezed(text: str) -> str:
    return "".join(text.split())


def things_in(record: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The prompts, answers, calls and results that a record holds."""
    payload = record.get("payload") if isinstance(record.get("payload"), dict) else record
    assert payload is not None
    kind, role = payload.get("type", "message"), payload.get("role")
    content = payload.get("content", payload.get("message"))
    if record.get("type") == "event_msg":
        if kind in ("user_message", "agent_message"):
            yield kind.replace("agent", "assistant").removesuffix("_message"), texts_of(payload["message"])
        if kind == "item_completed" and payload["item"]["type"] in ("UserMessage", "AgentMessage"):
            said = "user" if payload["item"]["type"] == "UserMessage" else "assistant"
            yield said, texts_of(payload["item"]["content"])
    elif kind == "message" and role in ("user", "assistant"):
        text = texts_of(content)
        if role == "assistant" or not text.startswith(INJECTED):
            yield role, text
    elif kind.endswith(("_call_output", "tool_result", "function_result", "tool_search_output")):
        output = payload.get("output", payload.get("result"))
        yield "result", str(payload.get("call_id") or payload.get("name")) + ":" + texts_of(output)
    elif kind.endswith("_call"):
        said = payload.get("arguments", payload.get("input"))
        shown = squeezed(said) if isinstance(said, str) else ""
        name = payload.get("name") or payload.get("function", {}).get("name") or kind.removesuffix("_call")
        yield "call", str(payload.get("call_id") or payload.get("id") or name) + ":" + shown


def things_told(turns: Iterable[Any], blobs: Path) -> Iterator[tuple[str, str]]:
    for turn in turns:
        for message in turn.messages:
            role = "user" if message.name == "parent" else message.role  # what an agent is told is typed by nobody
            yield role, squeezed(message.content)
            for part in message.parts:
                text = part.text or ""
                if part.digest and part.type in ("tool_call", "tool_result"):
                    text = (blobs / part.digest[:2] / part.digest).read_text()
                kind = {"tool_call": "call", "tool_result": "result"}.get(part.type)
                if kind:
                    yield kind, f"{part.id or part.name}:{squeezed(text)}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name[:48])
def test_everything_in_a_sample_is_in_the_log(tmp_path: Path, path: Path) -> None:
    """Each prompt, answer, call and result; a second import records nothing."""
    counts = bring_in(tmp_path, [path])
    again = bring_in(tmp_path, [path])
    assert counts.recorded > 0
    assert (again.recorded, again.revised, counts.quarantined) == (0, 0, 0)
    there = {thing for record in records_in(path) for thing in things_in(record)}
    told = set(things_told(log_of(tmp_path).values(), tmp_path / "blobs"))
    assert there - told == set()
    assert {thing for thing in told if thing[0] != "system"} - there <= {("assistant", ""), ("tool", "")}


def test_all_samples_together_hold_every_turn_once(tmp_path: Path) -> None:
    """Also in a folder, where steps of growth of one session lie side by side."""
    folder = shutil.copytree(SAMPLES, tmp_path / "samples")
    first = bring_in(tmp_path / "log", [folder])
    second = bring_in(tmp_path / "log", [folder])
    assert first.recorded > 70
    assert (second.recorded, second.revised) == (0, 0)
    prompts = {turn.turn_id: turn for turn in log_of(tmp_path / "log").values()}
    assert len(prompts) == first.recorded


def test_a_session_that_grew_is_what_it_is_when_read_at_once(tmp_path: Path) -> None:
    """The steps of growth, one after the other, and the last one alone give the same turns."""
    steps = sorted((SAMPLES / "growth").glob("*/t*.jsonl.gz"))
    for step in steps:
        bring_in(tmp_path / "steps", [step])
    bring_in(tmp_path / "once", steps[-1:])
    grown, whole = log_of(tmp_path / "steps"), log_of(tmp_path / "once")
    assert {key: turn.messages for key, turn in grown.items()} == {key: turn.messages for key, turn in whole.items()}
