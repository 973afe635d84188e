"""Taking streams into the log: when what was recorded is durable."""

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from eventlog import AppendFailed
from turnlog.errors import WrongUsage
from turnlog.recorder import TurnRecorder
from turnlog.sources import importing
from turnlog.sources.claude_code import ClaudeCode
from turnlog.sources.importing import import_stream, import_streams

PROMPT = '{"type":"user","uuid":"%032d","sessionId":"s%d","message":{"role":"user","content":"%s"}}\n'


@pytest.fixture
def recorder(tmp_path: Path) -> TurnRecorder:
    for session in range(3):
        lines = [PROMPT % (session * 10_000 + turn, session, f"say {turn}") for turn in range(600)]  # two chunks
        (tmp_path / f"{session}.jsonl").write_text("".join(lines), encoding="utf-8")
    return TurnRecorder(tmp_path / "log")


def calls_of(recorder: TurnRecorder, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the log is asked for from here on: to `append` something, or to `sync` all of it."""
    calls: list[str] = []
    append_many, sync = recorder.log.append_many, recorder.log.sync

    def appended(events: Sequence[Any], **options: bool) -> range:
        calls.append("append" if events else "nothing")
        return append_many(events, **options)

    def synced() -> None:
        calls.append("sync")
        sync()

    monkeypatch.setattr(recorder.log, "append_many", appended)
    monkeypatch.setattr(recorder.log, "sync", synced)
    return calls


def test_an_import_is_durable_at_its_end(
    tmp_path: Path, recorder: TurnRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is small is synced once, behind all of it."""
    with recorder:
        streams = ClaudeCode().discover([tmp_path])
        calls = calls_of(recorder, monkeypatch)
        import_streams(recorder, ClaudeCode(), streams)
        assert calls == ["append"] * 6 + ["sync"]
        calls.clear()
        import_stream(recorder, ClaudeCode(), streams[0])
        assert calls[-1] == "sync"


def test_a_long_import_is_synced_on_its_way(
    tmp_path: Path, recorder: TurnRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sync follows whenever so much was read, within a stream too."""
    monkeypatch.setattr(importing, "_SYNC_BYTES", 1)
    with recorder:
        streams = ClaudeCode().discover([tmp_path])
        calls = calls_of(recorder, monkeypatch)
        import_streams(recorder, ClaudeCode(), streams)
        assert calls == ["append", "sync"] * 6 + ["sync"]


def test_what_was_recorded_before_a_refusal_is_durable(
    tmp_path: Path, recorder: TurnRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An import that ends with an error keeps what it has taken in."""
    with recorder:
        streams = ClaudeCode().discover([tmp_path])
        streams[2].path.unlink()
        calls = calls_of(recorder, monkeypatch)
        with pytest.raises(WrongUsage):
            import_streams(recorder, ClaudeCode(), streams)
        assert calls == ["append"] * 4 + ["sync"]


def test_what_ended_an_import_is_what_is_told(
    tmp_path: Path, recorder: TurnRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk the sync that follows fails too, and says less."""

    def refuse(events: Sequence[Any], **_: bool) -> range:
        raise AppendFailed(tmp_path, len(events), OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))

    with recorder:
        streams = ClaudeCode().discover([tmp_path])
        monkeypatch.setattr(recorder.log, "append_many", refuse)
        monkeypatch.setattr(recorder.log, "sync", lambda: refuse(()))
        with pytest.raises(AppendFailed, match="events were not recorded"):
            import_streams(recorder, ClaudeCode(), streams)
