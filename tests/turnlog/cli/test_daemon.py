"""`turnlog daemon` as processes: started, asked, stopped, and what it does in between."""

import json
import os
import signal
from pathlib import Path

import pytest

from turnlog import Recorder
from turnlog.daemon import client, starting
from turnlog.daemon.lock import DaemonLock, Holder
from turnlog.daemon.process import start_of
from turnlog.sync.lease import worker_name

from ..waiting import until
from .daemons import Service
from .support import DEADLINE_SECONDS, NOBODY, Answering, Cli, batch_sink, memory_sink
from .test_watch import line


def freeze(pid: int) -> None:
    """Stop a process as Ctrl-Z does, and wait until it stands still."""
    os.kill(pid, signal.SIGSTOP)
    until(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")


def test_it_starts_tells_how_it_is_and_stops(cli: Cli, service: Service) -> None:
    """`already running` and `not running` are answers; only a status that needs attention ends 1."""
    cli.configure(memory_sink("team"))
    pid = service.start()
    assert cli.ok("daemon", "start").out == f"the daemon runs already, pid {pid}\n"
    assert cli.ok("daemon", "start", "--json").object == {"running": True, "pid": pid, "started": False}
    status = cli.ok("daemon", "status", "--json").object
    assert (status["state"], status["running"], status["pid"]) == ("running", True, pid)
    assert status["memory_bytes"] > 1_000_000
    assert f"running, pid {pid}, " in cli.ok("daemon", "status").out
    assert cli.ok("daemon", "stop").out == "the daemon has stopped\n"
    assert start_of(pid) is None
    assert cli.ok("daemon", "stop").out == "no daemon runs\n"
    assert cli.ok("daemon", "stop", "--json").object == {"running": False, "stopped": False, "killed": False}
    stopped = cli("daemon", "status", "--json")
    assert (stopped.code, stopped.object["state"], stopped.object["pid"]) == (1, "not running", None)
    assert stopped.object["attention"]["command"] == "turnlog daemon start"
    assert "not running" in cli("daemon", "status").out


def test_where_there_is_no_log_nothing_is_made_by_asking(cli: Cli, service: Service) -> None:
    """The folder comes to be when the daemon starts."""
    assert service.status()["state"] == "not running"
    assert cli.ok("daemon", "stop").code == 0
    assert cli("daemon", "reload").code == 1
    assert not cli.directory.exists()
    service.start()
    assert cli.directory.is_dir()


def test_it_has_no_terminal_and_a_session_of_its_own(cli: Cli, service: Service) -> None:
    """Nor a folder that could not be unmounted, nor anybody's standard streams."""
    pid = service.start()
    assert os.getsid(pid) == pid != os.getsid(0)
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    assert {os.readlink(f"/proc/{pid}/fd/{number}") for number in range(3)} == {os.devnull}


def test_a_configuration_that_is_wrong_keeps_it_from_starting(cli: Cli, service: Service) -> None:
    """It ends 78 with the sentence of `config check`; `restart` leaves the one that runs alone."""
    cli.configure(memory_sink("team"))
    pid = service.start()
    for text in ("[sync\n", '[[sinks]]\nname = "x"\ntype = "batsh"\n', '[[sources]]\ntype = "save_data"\n'):
        (cli.directory / "turnlog.toml").write_text(text)
        sentence = cli.refused(78, "config", "check")
        assert cli.refused(78, "daemon", "restart") == sentence
        assert cli.refused(78, "daemon", "test") == sentence
    assert service.status()["pid"] == pid
    cli.ok("daemon", "stop")
    assert cli.refused(78, "daemon", "start") == sentence
    assert cli.refused(78, "daemon", "run") == sentence
    assert service.status()["state"] == "not running"


def test_what_is_recorded_elsewhere_is_delivered_and_what_is_written_is_recorded(
    cli: Cli, service: Service, server: Answering, tmp_path: Path
) -> None:
    """By the daemon alone: a recorder that is told to deliver leaves it to the one at work."""
    talk = tmp_path / "talk.jsonl"
    talk.write_text(line("one"))
    source = f'[[sources]]\ntype = "save_data"\npath = "{talk}"\nsettle_seconds = 0.2\n'
    cli.configure(batch_sink(server.url), source)
    service.start()
    with talk.open("a") as file:
        file.write(line("two"))
    with Recorder(cli.directory, deliver=True) as recorder:
        recorder.record(messages=[{"role": "user", "content": "three"}])
        until(lambda: service.sink().get("delivered") == 3)
    workers = {event.worker for event in cli.events("SyncAttempted")}
    assert len(workers) == 1
    assert worker_name() not in workers
    status = service.status()
    saved = next(source for source in status["sources"] if source["source"] == "save_data")
    assert (saved["watched"], saved["turns"], saved["quarantined"]) == (True, 2, 0)
    assert saved["looked_at"] >= saved["read_at"]
    assert {part["name"]: part["state"] for part in status["parts"]} == {
        "delivery": "running",
        "source save_data": "running",
    }
    assert (status["sync"]["done"], status["sync"]["errors"]) == (len(cli.events("SyncAttempted")), 0)


def test_counters_survive_a_restart(cli: Cli, service: Service) -> None:
    """They come from the log; what is written beside it says the same, and after the end that nothing runs."""
    cli.configure(memory_sink("team"), sync="interval_seconds = 60")
    cli.record("hi")
    first = service.start()
    before = until(lambda: service.sink()["delivered"] and service.status())
    written = json.loads((cli.directory / "status.json").read_bytes())
    assert (written["pid"], written["running"], set(written)) == (first, True, set(before))
    result = cli.ok("daemon", "restart", "--json").object
    assert (result["started"], result["pid"] != first) == (True, True)
    after = service.status()
    for name in ("events", "turns", "sources"):
        assert after[name] == before[name]
    counted = ("delivered", "requests", "errors", "last_success_at", "last_seconds")
    assert [service.sink()[name] for name in counted] == [before["sinks"][0][name] for name in counted]
    cli.ok("daemon", "stop")
    written = json.loads((cli.directory / "status.json").read_bytes())
    assert (written["state"], written["running"], written["turns"]) == ("not running", False, 1)


def test_in_the_foreground_it_ends_well_by_a_signal(cli: Cli, service: Service) -> None:
    """SIGTERM and Ctrl-C; a second daemon for the same log ends 75, because somebody is at it."""
    cli.configure(memory_sink("team"))
    for number in (signal.SIGTERM, signal.SIGINT):
        process = cli.start("daemon", "run")
        until(lambda: service.status()["state"] == "running")
        assert "runs already" in cli.refused(75, "daemon", "run")
        process.send_signal(number)
        _, err = process.communicate(timeout=DEADLINE_SECONDS)
        assert process.returncode == 0, err
        messages = [json.loads(line)["message"] for line in err.splitlines()]
        assert messages[-1] == "stopped; turns that wait for the next start: 0"


def test_a_stale_pid_is_not_believed(cli: Cli, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """A number in the file that is another process's by now: nothing is sent to it, whoever holds the lock."""
    monkeypatch.setattr(starting, "KILL_SECONDS", 0.1)
    cli.directory.mkdir(parents=True)
    lock = DaemonLock(cli.directory)
    assert lock.acquire()
    lock.tell(Holder(os.getpid(), "another start"))
    assert service.status()["problems"] != []
    assert "does not end" in cli.refused(1, "daemon", "stop", "--timeout", "0.05")
    lock.release()
    assert service.status()["state"] == "not running"
    assert cli.ok("daemon", "stop").out == "no daemon runs\n"
    assert service.start() != os.getpid()


def test_one_that_does_not_end_is_killed(cli: Cli, service: Service) -> None:
    """It ends 1 and says so; the next one starts, with nobody's lock in its way."""
    pid = service.start()
    freeze(pid)
    result = cli("daemon", "stop", "--timeout", "0.2")
    assert (result.code, result.out) == (1, "the daemon was killed\n")
    assert start_of(pid) is None
    service.start()


def test_one_that_does_not_answer_is_told_and_what_it_wrote_last(
    cli: Cli, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The status needs attention then."""
    monkeypatch.setattr(client, "STATUS_SECONDS", 0.2)
    pid = service.start()
    freeze(pid)
    status = service.status()
    os.kill(pid, signal.SIGCONT)
    assert (status["pid"], status["running"]) == (pid, True)
    assert "does not answer" in status["attention"]["sentence"]


def test_a_drained_daemon_stays_and_begins_nothing(cli: Cli, service: Service) -> None:
    """Until it is reloaded."""
    cli.configure(memory_sink("team"))
    service.start()
    assert cli.ok("daemon", "drain").code == 0
    until(lambda: service.status()["state"] == "drained")
    cli.record("hi")
    status = service.status()
    assert (status["parts"], status["attention"]["command"]) == ([], "turnlog daemon reload")
    assert cli.ok("daemon", "reload", "--json").object["ok"]
    until(lambda: service.sink().get("delivered") == 1)


def test_a_test_reads_and_delivers_once(cli: Cli, tmp_path: Path, server: Answering) -> None:
    """With a report, and no daemon; it ends 1 if something is left, and says what is wrong."""
    talk = tmp_path / "talk.jsonl"
    talk.write_text(line("one") + "nonsense\n" + line("two"))
    cli.configure(batch_sink(server.url), f'[[sources]]\ntype = "save_data"\npath = "{talk}"\n')
    report = cli.ok("daemon", "test", "--json").object
    (looked,) = report["sources"]
    assert looked["source"] == "save_data"
    assert (looked["counts"]["recorded"], looked["counts"]["quarantined"], looked["problem"]) == (2, 1, None)
    assert (report["sync"]["delivered"], report["problems"]) == (2, [])
    assert "delivered 0" in cli.ok("daemon", "test").out
    cli.configure(batch_sink(NOBODY))
    cli.record("three")
    result = cli("daemon", "test")
    assert result.code == 1
    assert "is paused (unavailable)" in result.err
