"""What may happen to a daemon in months: it says what is wrong, waits, and goes on when it is right again."""

import os
import resource
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ..waiting import until
from .daemons import Service
from .support import Cli, memory_sink
from .test_watch import line

linux = pytest.mark.skipif(sys.platform != "linux", reason="limits of another process are set by prlimit(2)")


@contextmanager
def full_disk(pid: int) -> Iterator[None]:
    """As far as the daemon can see: no file of its grows any more."""
    _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, most))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, most))


@linux
def test_a_full_disk_is_told_and_waited_for(cli: Cli, service: Service, tmp_path: Path) -> None:
    """Delivery and sources go on when there is room again; what was said meanwhile is there, once."""
    talk = tmp_path / "talk.jsonl"
    talk.touch()
    cli.configure(memory_sink("team"), f'[[sources]]\ntype = "save_data"\npath = "{talk}"\nsettle_seconds = 0\n')
    pid = service.start()
    with full_disk(pid):
        cli.record("hi")
        talk.write_text(line("one"))
        until(lambda: service.part("delivery")["trouble"])
        until(lambda: service.part("source save_data")["error"])
        status = cli("daemon", "status", "--json")
        assert (status.code, status.object["state"], status.object["pid"]) == (1, "running", pid)
        assert "waits: " in status.object["attention"]["sentence"]
        assert service.sink()["delivered"] == 0
        assert "File too large" in cli("daemon", "status").out
    until(lambda: service.sink()["delivered"] == 2)
    until(lambda: all(part["state"] == "running" for part in service.status()["parts"]))
    assert service.part("delivery")["trouble"] is None
    assert service.part("source save_data")["restarts"] >= 1
    assert cli.ok("verify", "--json").object["ok"]
    assert sorted(turn.messages[0].content for turn in cli.events("TurnRecorded")) == ["hi", "one"]


def test_a_log_that_vanishes_is_waited_for(cli: Cli, service: Service) -> None:
    """Nothing is made in its place; when it is there again, so is everything else."""
    cli.configure(memory_sink("team"))
    pid = service.start()
    cli.record("hi")
    until(lambda: service.sink()["delivered"] == 1)
    elsewhere = cli.directory.with_name("elsewhere")
    cli.directory.rename(elsewhere)
    until(lambda: service.status()["state"] == "waiting")
    status = cli("daemon", "status", "--json")
    assert (status.code, status.object["pid"]) == (1, pid)
    assert "has gone" in status.object["attention"]["sentence"]
    assert cli.ok("daemon", "start", "--json").object == {"running": True, "pid": pid, "started": False}
    assert not cli.directory.exists()
    elsewhere.rename(cli.directory)
    until(lambda: service.status()["state"] == "running")
    cli.record("bye")
    until(lambda: service.sink()["delivered"] == 2)


def test_a_log_that_is_replaced_is_another_log(cli: Cli, service: Service) -> None:
    """The daemon takes its lock and counts from its beginning."""
    cli.configure(memory_sink("team"))
    pid = service.start()
    for text in ("one", "two"):
        cli.record(text)
    until(lambda: service.sink()["delivered"] == 2)
    shutil.rmtree(cli.directory)
    until(lambda: service.status()["state"] == "waiting")
    cli.configure(memory_sink("team"))
    cli.record("three")
    until(lambda: service.status()["state"] == "running" and service.sink().get("delivered") == 1)
    status = service.status()
    assert (status["pid"], status["turns"]) == (pid, 1)
    assert cli.ok("daemon", "start", "--json").object == {"running": True, "pid": pid, "started": False}
    assert cli.ok("daemon", "stop").out == "the daemon has stopped\n"


@linux
def test_nothing_is_left_open_by_reloads_and_restarts_of_parts(cli: Cli, service: Service, tmp_path: Path) -> None:
    """After some more of them there are as many descriptors and threads as before, give or take one at work."""
    talk = tmp_path / "talk.jsonl"
    talk.touch()
    source = f'[[sources]]\ntype = "save_data"\npath = "{talk}"\n'
    cli.configure(memory_sink("team"), source)
    pid = service.start()

    def count() -> tuple[int, int]:
        return len(os.listdir(f"/proc/{pid}/fd")), len(os.listdir(f"/proc/{pid}/task"))

    def turn_over() -> None:
        cli.configure(memory_sink("other"))
        cli.ok("daemon", "reload")
        cli.configure(memory_sink("team"), source)
        cli.ok("daemon", "reload")

    def is_settled() -> bool:
        return service.part("source save_data").get("state") == "running" and service.sink()["state"] == "idle"

    def turn_over_and_settle(times: int) -> tuple[int, int]:
        for _ in range(times):
            turn_over()
            until(is_settled)
        return count()

    files, threads = turn_over_and_settle(2)
    turn_over_and_settle(6)
    until(lambda: count()[0] <= files + 2 and count()[1] <= threads + 2)
