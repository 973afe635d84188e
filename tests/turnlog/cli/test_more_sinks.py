"""`turnlog sync` into a JSON Lines file, to stdout, to a webhook and to somebody else's sink, as a shell runs it."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from ..sinks.hooks import hooking
from ..sinks.installed import install
from .support import DEADLINE_SECONDS, ROOT, Cli

DYING = """
import os, signal, sys
from eventlog.files import Files
from turnlog.cli.main import main

where, many = sys.argv.pop(1), int(sys.argv.pop(1))
write, sync, log_written = Files.write, Files.sync, False

def is_ours(descriptor):
    return os.readlink(f"/proc/self/fd/{descriptor}").endswith("turns.jsonl")

def dying_write(self, descriptor, data, offset):
    if is_ours(descriptor):
        write(self, descriptor, data[: min(many, len(data))] if where == "write" else data, offset)
        if where == "write":
            os.kill(os.getpid(), signal.SIGKILL)
        return len(data)
    return write(self, descriptor, data, offset)

def dying_sync(self, descriptor):
    if is_ours(descriptor):
        os.kill(os.getpid(), signal.SIGKILL)
    return sync(self, descriptor)

Files.write, Files.sync = dying_write, dying_sync
main()
"""


def jsonl_sink(path: str, more: str = "") -> str:
    return f'[[sinks]]\nname = "file"\ntype = "jsonl"\npath = "{path}"\n{more}'


def texts(lines: str) -> list[str]:
    """What was said, line by line, each of which is a turn."""
    return [json.loads(line)["messages"][0]["content"] for line in lines.splitlines()]


def test_turns_are_appended_to_a_file(cli: Cli) -> None:
    """Beside the configuration; again and again only what is new, and the log knows where each stands."""
    cli.configure(jsonl_sink("turns.jsonl"))
    for text in ("one", "two", "three"):
        cli.record(text)
        assert cli.ok("sync", "--once", "--json").object["delivered"] == 1
    path = cli.directory / "turns.jsonl"
    assert texts(path.read_text()) == ["one", "two", "three"]
    receipts = [event.receipt["offset"] for event in cli.events("SyncSucceeded")]
    assert receipts == [0, *(i + 1 for i, c in enumerate(path.read_text()) if c == "\n")][:3]
    assert cli.ok("config", "check").code == 0


@pytest.mark.parametrize(
    ("where", "many"), [("write", 0), ("write", 100), ("write", 700), ("write", 9**9), ("sync", 0)]
)
def test_a_kill_between_write_and_outcome_doubles_and_loses_nothing(cli: Cli, where: str, many: int) -> None:
    """`kill -9` before, in the middle of and after the write: the next run finds out, and each turn is there once."""
    cli.configure(jsonl_sink("turns.jsonl"))
    for i in range(4):
        cli.record(f"turn {i}", conversation=f"c{i % 2}")
    killed = subprocess.run(
        [sys.executable, "-c", DYING, where, str(many), *cli.options, "sync", "--once"],
        capture_output=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed
    there = (cli.directory / "turns.jsonl").read_text().count("\n")
    assert cli.states("file") == {"attempting": 4}
    cli.process("sync", "--once")
    assert cli.ok("sync", "--once", "--json").object["pending"] == 0
    assert cli.states("file") == {"delivered": 4}
    assert Counter(texts((cli.directory / "turns.jsonl").read_text())) == Counter(f"turn {i}" for i in range(4))
    assert sum(len(event.turns) for event in cli.events("SyncSucceeded") if event.reconciled) == there
    assert cli.ok("verify", "--json").object["ok"]


def test_stdout_gets_turns_and_nothing_else(cli: Cli) -> None:
    """In order, each a line; the command's own words go to stderr."""
    cli.configure(jsonl_sink("-"))
    for i in range(3):
        cli.record(f"世 {i}")
    done = cli.process("sync", "--once", PYTHONIOENCODING="ascii")
    assert done.code == 0
    assert texts(done.out) == ["世 0", "世 1", "世 2"]
    counts, rate = done.sentences
    assert counts.startswith("enqueued 3, delivered 3, ")
    assert rate.startswith("success rate 100.0%")
    again = cli("sync", "--once")
    assert (again.code, again.out) == (0, "")


def test_json_has_no_place_among_the_turns(cli: Cli) -> None:
    """It is refused before anything is sent; of another sink it is printed as ever, and so is a plan."""
    cli.configure(jsonl_sink("-"), jsonl_sink("f").replace('"file"', '"other"'))
    cli.record("hi")
    sentence = cli.refused(2, "sync", "--once", "--json")
    assert "a sink writes its turns to stdout" in sentence
    assert cli.states("file") == {"pending": 1}
    assert cli.ok("sync", "--dry-run", "--json").objects[0]["sink"] == "file"
    assert cli("sync", "--once", "--json", "--sink", "other").object["delivered"] == 1


def test_a_reader_that_goes_leaves_the_turns_owed(cli: Cli) -> None:
    """`turnlog sync --once | true`: the sink is paused, no turn is blamed, and the next run delivers."""
    cli.configure(jsonl_sink("-"))
    cli.record("hi")
    ours, theirs = os.pipe()
    os.close(ours)
    done = subprocess.run(
        cli.command("sync", "--once"), stdout=theirs, stderr=subprocess.PIPE, timeout=DEADLINE_SECONDS, check=False
    )
    os.close(theirs)
    assert done.returncode == 1
    assert b"the sink 'file' is paused (unavailable): stdout: Broken pipe" in done.stderr
    assert b"Traceback" not in done.stderr
    assert cli.states("file") == {"pending": 1}
    assert texts(cli("sync", "--once").out) == ["hi"]


def test_a_file_that_cannot_be_written_is_the_sink_s_trouble(cli: Cli) -> None:
    """The folder is missing: told with the file's name, nothing is dead, and delivered once it is there."""
    cli.configure(jsonl_sink("none/turns.jsonl"))
    cli.record("hi")
    result = cli("sync", "--once")
    assert result.code == 1
    assert f"{cli.directory}/none/turns.jsonl: No such file or directory" in result.sentence
    assert cli.states("file") == {"pending": 1}
    (cli.directory / "none").mkdir()
    assert cli.ok("sync", "--once", "--json").object["delivered"] == 1


def test_the_log_itself_is_no_file_to_append_to(cli: Cli) -> None:
    """A path that names a segment would ruin the log: nothing is written to it."""
    cli.record("hi")
    (segment,) = (cli.directory / "log").iterdir()
    cli.configure(jsonl_sink(f"log/{segment.name}"))
    result = cli("sync", "--once")
    assert (result.code, cli.states("file")) == (1, {"pending": 1})
    assert "it is a part of Turnlog's own log" in result.err
    assert cli.ok("verify", "--json").object["ok"]


def test_turns_are_posted_to_a_webhook(cli: Cli, tmp_path: Path) -> None:
    """As a configuration has it; what is wrong in it is told by `config check` with the nearest right word."""
    (tmp_path / "secret").write_text("whsec_" + "QUJD" * 8)
    with hooking() as hook:
        sink = f'[[sinks]]\nname = "hook"\ntype = "webhook"\nurl = "{hook.url}/x?y=1"\n'
        more = f'secret = {{ file = "{tmp_path}/secret" }}\nheaders = {{ X-From = "turnlog" }}\n'
        cli.configure(sink, more)
        cli.record("hi")
        assert cli.ok("sync", "--once", "--json").object["delivered"] == 1
    (posted,) = hook.requests
    assert (posted.path, posted.headers["x-from"]) == ("/x?y=1", "turnlog")
    assert posted.headers["webhook-signature"].startswith("v1,")
    cli.configure(sink, more.replace("secret =", "secert ="))
    assert "unknown key 'secert'; did you mean 'secret'?" in cli.refused(78, "config", "check")


def test_a_sink_of_another_distribution_is_delivered_to(cli: Cli, tmp_path: Path) -> None:
    """Installed beside Turnlog it is a type like ours; broken it is told with its distribution, and ends 78."""
    points = {"theirs": "their_sinks:Theirs", "broken": "their_sinks:Nothing"}
    code = "from turnlog.sinks.memory import MemorySink\nclass Theirs(MemorySink):\n    type = 'theirs'\n"
    site = install(tmp_path / "site", "their-sinks", points, their_sinks=code)
    cli.configure('[[sinks]]\nname = "t"\ntype = "theirs"\n', '[[sinks]]\nname = "b"\ntype = "broken"\n')
    cli.record("hi")
    path = os.pathsep.join([str(site), str(ROOT), str(ROOT / "tools")])
    done = cli.process("sync", "--once", "--json", PYTHONPATH=path)
    assert (done.code, done.object["delivered"]) == (78, 1)
    assert "the type 'broken' of the distribution their-sinks cannot be loaded: AttributeError" in done.err
    assert cli.process("config", "check", PYTHONPATH=path).code == 78
