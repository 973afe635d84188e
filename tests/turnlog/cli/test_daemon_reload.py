"""Reloading: the new configuration is taken as a whole, or the old one stays; nobody waits for a sink."""

import signal
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ..waiting import until
from .daemons import Service
from .support import Answering, Cli, batch_sink, memory_sink
from .test_watch import line

SECRET = "canary-token-4711"


@pytest.fixture
def mute() -> Iterator[str]:
    """The address of a server that takes connections and never answers."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def reload(cli: Cli) -> list[str]:
    """The changes that a reload prints."""
    return list(cli.ok("daemon", "reload", "--json").object["changes"])


def test_what_is_different_is_told_and_done(cli: Cli, service: Service, server: Answering, tmp_path: Path) -> None:
    """Sinks and sources come, go and change; the values of their options, which may be secret, are not told."""
    cli.configure(memory_sink("one"), memory_sink("two"))
    service.start()
    cli.record("hi")
    until(lambda: service.sink("two").get("delivered") == 1)
    talk = tmp_path / "talk.jsonl"
    talk.write_text(line("hello"))
    source = f'[[sources]]\ntype = "save_data"\npath = "{talk}"\nsettle_seconds = 0\n'
    token = tmp_path / SECRET
    token.write_text(SECRET)
    cli.configure(memory_sink("one"), batch_sink(server.url, token=token), source, sync="max_attempts = 9")
    changes = reload(cli)
    assert changes == [
        "[sync] max_attempts: 5 -> 9",
        "the sink 'team' is new",
        "the sink 'two' is gone; what it is owed stays known",
        "the source 'save_data' is new",
    ]
    until(lambda: service.sink("team").get("delivered") == 2)
    assert service.status()["generation"] == 2
    assert service.sink("two")["state"] == "unconfigured"
    assert service.sink("two")["pending"] == 1
    assert not any("two" in event.sink for event in cli.events("SyncAttempted")[2:])
    cli.configure(memory_sink("one"), batch_sink(server.url + "/"), memory_sink("two"))
    changes = reload(cli)
    assert "the sink 'team' is another: token, url" in changes
    assert changes[-1] == "the source 'save_data' is gone"
    assert SECRET not in str(changes)
    until(lambda: service.sink("two").get("delivered") == 2)
    assert [part["name"] for part in service.status()["parts"]] == ["delivery"]
    cli.record("bye")
    until(lambda: [service.sink(name)["delivered"] for name in ("one", "two", "team")] == [3, 3, 3])


def test_a_broken_file_changes_nothing_and_is_told(cli: Cli, service: Service) -> None:
    """Everything goes on; the status says what is wrong until it is right again, and with what command it is seen."""
    cli.configure(memory_sink("team"))
    pid = service.start()
    path = cli.directory / "turnlog.toml"
    good = path.read_text()
    for bad in ("[sync\n", good.replace('"memory"', '"memroy"'), "[sync]\nmax_attempts = 0\n"):
        path.write_text(bad)
        sentence = cli.refused(78, "config", "check")
        assert cli.refused(78, "daemon", "reload").endswith(sentence)
        status = cli("daemon", "status", "--json")
        assert (status.code, status.object["generation"], status.object["pid"]) == (1, 1, pid)
        assert status.object["reload_error"] == sentence
        assert status.object["attention"]["command"] == "turnlog config check"
    path.unlink()
    assert "has gone" in cli.refused(78, "daemon", "reload")
    cli.record("hi")
    until(lambda: service.sink()["delivered"] == 1)
    path.write_text(good)
    assert cli.ok("daemon", "reload").out == "configuration 2 is in use; nothing is different\n"
    assert cli.ok("daemon", "status", "--json").object["reload_error"] is None


def test_a_signal_reloads_too(cli: Cli, service: Service) -> None:
    """SIGHUP, as service managers send it."""
    cli.configure(memory_sink("team"))
    service.start()
    cli.configure(memory_sink("team"), memory_sink("other"))
    service.signal(signal.SIGHUP)
    until(lambda: service.status()["generation"] == 2)
    cli.record("hi")
    until(lambda: service.sink("other").get("delivered") == 1)


def test_nobody_waits_for_a_sink_that_does_not_answer(cli: Cli, service: Service, mute: str) -> None:
    """The reload is over while its request is in flight; that is given up after the grace time, as in doubt."""
    cli.configure(memory_sink("team"), batch_sink(mute, name="mute"), sync="grace_seconds = 0.5")
    service.start()
    cli.record("hi")
    until(lambda: service.sink("mute")["in_flight"] == 1)
    sinks = memory_sink("team"), batch_sink(mute, name="mute", more="turns = 7"), memory_sink("new")
    cli.configure(*sinks, sync="grace_seconds = 0.5")
    changes = reload(cli)
    assert service.sink("mute")["in_flight"] == 1
    assert changes == ["the sink 'new' is new", "the sink 'mute' is another: turns"]
    until(lambda: service.sink("new").get("delivered") == 1)
    until(lambda: cli.events("SyncFailed"))
    assert {event.kind for event in cli.events("SyncFailed")} == {"in_doubt"}
    until(lambda: len([event for event in cli.events("SyncAttempted") if event.sink == "mute"]) == 2)


def test_what_does_not_end_in_time_is_written_down(cli: Cli, service: Service, mute: str) -> None:
    """At a stop what is in flight may take the grace time; what did not end by then is in doubt, and owed."""
    cli.configure(batch_sink(mute, name="mute"), sync="grace_seconds = 0.3")
    service.start()
    cli.record("hi")
    until(lambda: service.sink("mute")["in_flight"] == 1)
    assert cli.ok("daemon", "stop").code == 0
    (failure,) = cli.events("SyncFailed")
    assert (failure.kind, failure.final) == ("in_doubt", False)
    assert cli.states("mute") == {"retrying": 1}


def test_a_stop_lets_what_is_in_flight_end(cli: Cli, service: Service, server: Answering) -> None:
    """No attempt stays open, and nothing is in doubt."""
    cli.configure(batch_sink(server.url, more="connections = 1\nturns = 1"))
    for number in range(20):
        cli.record(f"turn {number}")
    service.start()
    until(lambda: cli.events("SyncSucceeded"))
    service.signal(signal.SIGTERM)
    until(lambda: service.status()["state"] == "not running")
    assert len(cli.events("SyncAttempted")) == len(cli.events("SyncSucceeded"))
    assert set(cli.states()) <= {"delivered", "pending"}
