"""Importing again what has not changed costs its stat; whatever has changed is read."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from turnlog.recorder import INDEX_NAME, TurnRecorder
from turnlog.sources import unchanged
from turnlog.sources.base import Chunk, Keep, Stream, keep_nothing
from turnlog.sources.claude_code import ClaudeCode
from turnlog.sources.importing import ImportCounts, import_streams

PROMPT = '{"type":"user","uuid":"%s","sessionId":"s","message":{"role":"user","content":"%s"}}\n'


class Watched(ClaudeCode):
    """Tells which files were read."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[str] = []

    def read(self, stream: Stream, cursor: Any = None, *, keep: Keep = keep_nothing) -> Iterator[Chunk]:
        self.opened.append(stream.path.name)
        return super().read(stream, cursor, keep=keep)


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits until a file is old."""
    monkeypatch.setattr(unchanged, "SETTLED_NANOSECONDS", 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "projects"
    found.mkdir()
    for name in "ab":
        lines = [PROMPT % (f"{name}{turn:040}", f"say {turn}") for turn in range(3)]
        (found / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    return found


def take_in(folder: Path, settings: str | None = "ann") -> tuple[ImportCounts, list[str]]:
    """Import; which files were read."""
    source = Watched()
    with TurnRecorder(folder.parent / "log") as recorder:
        counts = import_streams(recorder, source, source.discover([folder]), settings=settings)
    return counts, source.opened


def test_what_has_not_changed_is_not_read_again(folder: Path) -> None:
    """The second import opens no stream, and counts its turns as unchanged all the same."""
    assert take_in(folder) == (ImportCounts(recorded=6), ["a.jsonl", "b.jsonl"])
    assert take_in(folder) == (ImportCounts(unchanged=6), [])


def test_other_settings_read_everything(folder: Path) -> None:
    """Who reads otherwise, or says nothing of how, reads all of it."""
    take_in(folder)
    for settings in ("bob", None):
        assert take_in(folder, settings)[1] == ["a.jsonl", "b.jsonl"]


def grow(path: Path) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(PROMPT % ("n" * 40, "more"))


def rewrite_to_equal_size(path: Path) -> None:
    """And set the time of its content back."""
    status = path.stat()
    path.write_text(path.read_text(encoding="utf-8").replace("say 2", "cry 2"), encoding="utf-8")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def replace_by_a_copy(path: Path) -> None:
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)


def add_an_agent(path: Path) -> None:
    agents = path.with_suffix("") / "subagents"
    agents.mkdir(parents=True)
    (agents / "agent-x.jsonl").write_text(PROMPT % ("x" * 40, "look"), encoding="utf-8")


@pytest.mark.parametrize("change", [grow, rewrite_to_equal_size, replace_by_a_copy, add_an_agent])
def test_what_has_changed_is_read_again(folder: Path, change: Any) -> None:
    """Growth, another content of equal size, another file, a new sub-agent: that stream is read, and no other."""
    take_in(folder)
    change(folder / "b.jsonl")
    counts, opened = take_in(folder)
    assert opened == ["b.jsonl"]
    assert counts.unchanged >= 3
    assert take_in(folder)[1] == []


def test_what_changed_just_now_is_read_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change within the clock's tick of the last one might not be seen, so nothing is believed of a young file."""
    monkeypatch.setattr(unchanged, "SETTLED_NANOSECONDS", 3600 * 10**9)
    for _ in range(2):
        assert take_in(folder)[1] == ["a.jsonl", "b.jsonl"]
    monkeypatch.setattr(time, "time_ns", lambda: os.stat(folder).st_mtime_ns + 7200 * 10**9)
    take_in(folder)
    assert take_in(folder)[1] == []


def test_an_index_that_is_lost_forgets_what_was_read(folder: Path) -> None:
    """The log alone is believed: without the index everything is read again, and nothing recorded twice."""
    take_in(folder)
    for path in (folder.parent / "log").glob(f"{INDEX_NAME}*"):
        path.unlink()
    assert take_in(folder) == (ImportCounts(unchanged=6), ["a.jsonl", "b.jsonl"])


def test_a_dry_run_reads_everything(folder: Path) -> None:
    """It says what would be, not what was."""
    take_in(folder)
    source = Watched()
    with TurnRecorder(folder.parent / "log", dry_run=True) as recorder:
        import_streams(recorder, source, source.discover([folder]), settings="ann")
    assert source.opened == ["a.jsonl", "b.jsonl"]
