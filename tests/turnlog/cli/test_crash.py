"""`kill -9` at random moments: nothing is lost, nothing comes twice, and no byte of the log changes.

TURNLOG_KILL_ROUNDS sets how often, TURNLOG_SEED the moments; a failure prints the seed.
"""

import io
import os
import random
import signal
import subprocess
import sys
import threading
from contextlib import suppress

import pytest

from turnlog.cli.main import run

from .support import DEADLINE_SECONDS, NOBODY, ROOT, Cli, Receiver, Witness, batch_sink, owed

ROUNDS = int(os.environ.get("TURNLOG_KILL_ROUNDS", "8"))


@pytest.fixture
def moments() -> random.Random:
    seed = int(os.environ.get("TURNLOG_SEED") or random.SystemRandom().getrandbits(32))
    print(f"TURNLOG_SEED={seed}")
    return random.Random(seed)


def kill_after_events(process: "subprocess.Popen[str]", cli: Cli, count: int) -> None:
    """Kill a process when the log has so many events more than now, or let it end."""
    stop = threading.Event()
    ended = threading.Thread(target=lambda: (process.wait(DEADLINE_SECONDS), stop.set()))
    last = cli.ok("replay", "--json").object["last_seq"]
    ended.start()
    for entry in cli.log().follow(gt=last, stop=stop):
        if entry.seq >= last + count:
            break
    end(process)
    ended.join()


def end(process: "subprocess.Popen[str]") -> None:
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGKILL)
    process.communicate(timeout=DEADLINE_SECONDS)


def test_a_sync_that_is_killed_again_and_again_delivers_every_turn_once(
    cli: Cli, receiver: Receiver, moments: random.Random
) -> None:
    """After some kills in the middle one more run delivers the rest: each message is there once, `verify` says ok."""
    cli.configure(receiver.sink("connections = 1\nturns = 1"), sync="base_seconds = 0")
    cli("import", "save-data", str(ROOT / "data" / "save_data.jsonl"))
    for number in range(4 * ROUNDS):
        cli.record(f"more {number}")
    witness = Witness(cli.directory)
    killed = 0
    for number in range(ROUNDS):
        process = cli.start("sync", "--once")
        if number % 4 == 3:
            with suppress(subprocess.TimeoutExpired):
                process.wait(moments.uniform(0.05, 0.4))
            end(process)
        else:
            kill_after_events(process, cli, moments.randint(1, 20))
        killed += process.returncode == -signal.SIGKILL
        witness.look()
        assert cli.ok("verify", "--json").object["ok"]
    assert killed >= ROUNDS // 2, "the kills did not hit the middle"
    assert cli.ok("sync", "--once", "--json").object["pending"] == 0
    witness.look()
    assert receiver.messages() == owed(cli)
    assert cli.ok("verify", "--json").object["ok"]
    replayed = cli.ok("replay", "--json").object
    assert cli.states() == {"delivered": replayed["turns"]}


def test_an_import_that_is_killed_is_finished_by_the_next(cli: Cli, moments: random.Random) -> None:
    """What was acknowledged is there, what was not is recorded now, and nothing twice."""
    path = cli.directory.with_name("old.jsonl")
    line = '{"messages":[{"role":"user","content":"turn %d"}]}\n'
    path.write_text("".join(line % number for number in range(5000)))
    witness = Witness(cli.directory)
    cli.record("before")
    for _ in range(2):
        kill_after_events(cli.start("import", "save-data", str(path)), cli, moments.randint(1, 2000))
        witness.look()
    assert cli("import", "save-data", str(path)).code == 0
    witness.look()
    said = [turn.messages[0].content for turn in cli.events("TurnRecorded")]
    assert said == ["before", *(f"turn {number}" for number in range(5000))]
    assert cli.ok("verify", "--json").object["ok"]


def test_a_stop_lets_what_is_in_flight_end(cli: Cli, receiver: Receiver) -> None:
    """SIGTERM and Ctrl-C end a run after the requests under way: no attempt stays open, and nothing is in doubt."""
    cli.configure(receiver.sink("connections = 1\nturns = 1"))
    for number in range(40):
        cli.record(f"turn {number}")
    for number in (signal.SIGTERM, signal.SIGINT):
        process = cli.start("sync", "--once", "--json")
        last = cli.ok("replay", "--json").object["last_seq"]
        for entry in cli.log().follow(gt=last):
            if entry.seq > last + 3:
                process.send_signal(number)
                break
        out, err = process.communicate(timeout=DEADLINE_SECONDS)
        assert process.returncode == 1
        assert err == "turnlog: stopping when what is in flight has ended; once more ends at once\n"
        assert '"pending":' in out
        assert set(cli.states()) == {"delivered", "pending"}
    assert cli.ok("sync", "--once", "--json").object["pending"] == 0
    assert receiver.messages() == owed(cli)


class Interrupted(io.RawIOBase):
    """A stream whose writer gets SIGTERM while its first line is being written."""

    def __init__(self) -> None:
        self.told = b""

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.told += bytes(data)
        if self.told.count(b"\n") == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return len(data)


def test_a_stop_in_the_middle_of_a_line_is_a_stop_too(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal that comes while something is being told on stderr ends a run as any other does."""
    cli.configure(batch_sink(NOBODY))
    cli.record("a")
    stream = Interrupted()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.BufferedWriter(stream), line_buffering=True))
    assert run([*cli.options, "sync", "--follow"]) == 1
    assert b"is paused (unavailable)" in stream.told
    assert cli.log().verify().ok
