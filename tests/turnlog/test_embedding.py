"""A recorder that delivers: in a thread of the application, and nothing of it reaches the caller."""

import logging
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from eventlog import Event, EventLog, LogClosed, SinkPaused, SyncAttempted, SyncSucceeded
from turnlog import ConfigError, Recorder
from turnlog.sync.lease import lease

from .cli.support import Answering, answering, batch_sink

DEADLINE_SECONDS = 30.0


@pytest.fixture
def server() -> Iterator[Answering]:
    with answering() as running:
        yield running


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("TURNLOG_CONFIG", "MEMOBASE_URL", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def configure(directory: Path, url: str) -> None:
    directory.mkdir()
    (directory / "turnlog.toml").write_text("[sync]\nprobe_seconds = 0.05\n" + batch_sink(url))


def say(recorder: Recorder, text: str) -> int:
    return recorder.record(user="ann", conversation="c", messages=[{"role": "user", "content": text}]).seq


@contextmanager
def following(directory: Path) -> Iterator[Iterator[Event]]:
    """The events of the log as they come; they end when nothing has come for too long."""
    stop = threading.Event()
    timer = threading.Timer(DEADLINE_SECONDS, stop.set)
    timer.start()
    try:
        log = EventLog.open(directory, read_only=True)
        yield (entry.event for entry in log.follow(stop=stop) if isinstance(entry.event, Event))
    finally:
        timer.cancel()
        timer.join()


def until_delivered(events: Iterator[Event], seq: int) -> list[Event]:
    """The events up to the success of a turn."""
    seen = []
    for event in events:
        seen.append(event)
        if isinstance(event, SyncSucceeded) and seq in event.turns:
            return seen
    raise AssertionError(f"the turn {seq} was never delivered: {seen}")


def test_what_is_recorded_is_delivered_at_once_and_in_order(tmp_path: Path, server: Answering) -> None:
    """While the recorder is open, without anybody asking for it; the last one at the latest when it is closed."""
    configure(tmp_path / "data", server.url)
    with Recorder(tmp_path / "data", deliver=True) as recorder, following(tmp_path / "data") as events:
        for text in ("one", "two", "three"):
            until_delivered(events, say(recorder, text))
    told = [m["content"] for body in server.bodies for c in body["conversations"] for m in c["messages"]]
    assert told == ["one", "two", "three"]


def test_without_being_asked_it_delivers_nothing(tmp_path: Path, server: Answering) -> None:
    """Recording is one thing, delivering another; a dry run does neither."""
    configure(tmp_path / "data", server.url)
    with Recorder(tmp_path / "data") as recorder:
        say(recorder, "one")
    with Recorder(tmp_path / "data", deliver=True, dry_run=True) as recorder:
        say(recorder, "two")
    assert server.bodies == []


def test_a_sink_that_is_away_does_not_reach_the_caller(
    tmp_path: Path, server: Answering, caplog: pytest.LogCaptureFixture
) -> None:
    """The turn is recorded, the pause is in the log, and the sink gets the turn when it is back."""
    configure(tmp_path / "data", server.url)
    server.statuses = [503, 503]
    with Recorder(tmp_path / "data", deliver=True) as recorder, following(tmp_path / "data") as events:
        seen = until_delivered(events, say(recorder, "one"))
    assert [event.kind for event in seen if isinstance(event, SinkPaused)] == ["unavailable"]
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_with_another_at_work_it_only_records_and_takes_over_at_its_end(tmp_path: Path, server: Answering) -> None:
    """One engine for a sink at a time."""
    configure(tmp_path / "data", server.url)
    with ExitStack() as stack:
        (tmp_path / "data" / "log").mkdir(mode=0o700)
        other = stack.enter_context(ExitStack())
        other.enter_context(lease(tmp_path / "data", "team"))
        recorder = stack.enter_context(Recorder(tmp_path / "data", deliver=True))
        events = stack.enter_context(following(tmp_path / "data"))
        seq = say(recorder, "one")
        assert not [e for e in EventLog.open(tmp_path / "data").read() if isinstance(e.event, SyncAttempted)]
        other.close()
        until_delivered(events, seq)
    assert len(server.bodies) > 0


def test_a_sink_that_another_delivers_to_keeps_no_other_from_its_turns(tmp_path: Path, server: Answering) -> None:
    """It is taken over when it becomes free; until then the rest goes on."""
    directory = tmp_path / "data"
    directory.mkdir()
    (directory / "turnlog.toml").write_text(batch_sink(server.url) + batch_sink(server.url, name="other"))
    with ExitStack() as stack:
        other = stack.enter_context(ExitStack())
        other.enter_context(lease(directory, "team"))
        recorder = stack.enter_context(Recorder(directory, deliver=True))
        events = stack.enter_context(following(directory))
        seq = say(recorder, "one")
        first = until_delivered(events, seq)[-1]
        assert isinstance(first, SyncSucceeded)
        assert first.sink == "other"
        other.close()
        second = until_delivered(events, seq)[-1]
        assert isinstance(second, SyncSucceeded)
        assert second.sink == "team"


def test_a_broken_configuration_is_told_at_once(tmp_path: Path) -> None:
    """Delivering cannot begin; the recorder is not left open. Recording alone goes on."""
    directory = tmp_path / "data"
    directory.mkdir()
    (directory / "turnlog.toml").write_text("[[sinks]]\n")
    with pytest.raises(ConfigError, match="name"):
        Recorder(directory, deliver=True)
    with Recorder(directory) as recorder:
        say(recorder, "one")


def test_a_missing_secret_is_logged_and_recording_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It keeps that sink from its turns, and nobody from recording."""
    directory = tmp_path / "data"
    directory.mkdir()
    (directory / "turnlog.toml").write_text(batch_sink("http://127.0.0.1:9", token=tmp_path / "no-such-file"))
    with Recorder(directory, deliver=True) as recorder:
        say(recorder, "one")
    assert "no-such-file" in caplog.text
    with pytest.raises(LogClosed):
        say(recorder, "two")
