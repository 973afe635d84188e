"""Watching a folder of sessions: how soon a turn that was closed is in the log, and what watching costs."""

import json
import os
import random
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from peak import peak_bytes
from report import Row, percentile, single_row

from bench import Bench, say
from eventlog import EventLog, TurnRecorded

_MEGABYTE = 1_000_000
_PATIENCE_SECONDS = 120
_PAUSE_SECONDS = (0.2, 0.6)
_SETTLE_SECONDS = 8.0  # two rescans: the first look at everything is not what watching costs
_MISHAPS = ("rename", "truncate", "rewrite")


def latency_cases(bench: Bench) -> Iterator[Row]:
    """From the write of the line that closes a turn to its record in this process, which follows the log.

    Now and then the file is renamed, truncated and written anew, or rewritten in place; every turn must be recorded.
    """
    folder, log = _sessions(bench, "latency"), bench.fresh("latency-log")
    with _watching(log, folder):
        growing = _Growing(folder / "project" / f"{UUID(int=7)}.jsonl")
        seen = _Seen(log)
        chance = random.Random(11)  # noqa: S311 - pauses, not keys
        for number in range(bench.sizes.watched_turns):
            growing.say(number)
            if number % 5 == 4:
                growing.suffer(_MISHAPS[number // 5 % len(_MISHAPS)])
            time.sleep(chance.uniform(*_PAUSE_SECONDS))
        growing.say(bench.sizes.watched_turns)
        took = seen.milliseconds(growing.closed_at, bench.sizes.watched_turns)
    yield single_row("watch/latency/median", percentile(took, 50), "ms")
    yield single_row("watch/latency/95th", percentile(took, 95), "ms")
    yield single_row("watch/recorded", len(took) / bench.sizes.watched_turns * 100, "% of the turns")


def cost_cases(bench: Bench) -> Iterator[Row]:
    """The share of a core that watching takes while nothing happens, and while one session grows; the most memory."""
    folder, log = _sessions(bench, "cost"), bench.fresh("cost-log")
    with _watching(log, folder) as process:
        time.sleep(_SETTLE_SECONDS)
        yield single_row("watch/idle-cpu", _cpu_percent(process.pid, bench.sizes.watched_seconds, None), "% of a core")
        growing = _Growing(folder / "project" / f"{UUID(int=7)}.jsonl")
        cpu = _cpu_percent(process.pid, bench.sizes.watched_seconds, growing)
        yield single_row("watch/busy-cpu", cpu, "% of a core")
        yield single_row("watch/memory", peak_bytes(process.pid) / _MEGABYTE, "MB")


def _cpu_percent(pid: int, seconds: float, growing: "_Growing | None") -> float:
    """What a process uses meanwhile; a session grows by a line a second, and by a turn every ten, if there is one."""
    begin, used = time.monotonic(), _cpu_seconds(pid)
    number = 0
    while (lasted := time.monotonic() - begin) < seconds:
        if growing is not None:
            growing.say(number) if number % 10 == 0 else growing.answer(number)
        number += 1
        time.sleep(min(1.0, seconds - lasted))
    return (_cpu_seconds(pid) - used) / (time.monotonic() - begin) * 100


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class _Growing:
    """A session of Claude Code that is being written."""

    def __init__(self, path: Path) -> None:
        self.closed_at: dict[str, int] = {}  # by what the turn says: when the next one began
        self._path = path
        self._last = ""
        self._count = 0

    def say(self, number: int) -> None:
        """A prompt, which closes the turn before it, and an answer to it."""
        prompt = f"prompt {number}"
        self._write(_line("user", self._next(), prompt))
        if self._last:
            self.closed_at[self._last] = time.monotonic_ns()
        self._last = prompt
        self.answer(number)

    def answer(self, number: int) -> None:
        """One more line of the assistant's."""
        self._write(_line("assistant", self._next(), f"answer {number} " + "x" * 500))

    def suffer(self, how: str) -> None:
        """What becomes of files: all that was written stays, in a file of another name, inode or length."""
        content = self._path.read_bytes()
        if how == "rename":
            self._path = self._path.rename(self._path.with_name(f"{UUID(int=self._count + 99)}.jsonl"))
        elif how == "truncate":
            self._path.write_bytes(content[: len(content) // 2])
            time.sleep(_PAUSE_SECONDS[0])
            self._path.write_bytes(content)
        else:
            other = self._path.with_suffix(".new")
            other.write_bytes(content.replace(b'"cwd":"/p"', b'"cwd":"/q"'))
            other.replace(self._path)

    def _next(self) -> str:
        self._count += 1
        return str(UUID(int=self._count << 96 | 7))

    def _write(self, line: bytes) -> None:
        with self._path.open("ab") as file:
            file.write(line)


def _line(kind: str, uuid: str, said: str) -> bytes:
    content: Any = said if kind == "user" else [{"type": "text", "text": said}]
    message = {"role": kind, "content": content, "id": f"msg_{uuid}"}
    record = {"parentUuid": None, "isSidechain": False, "sessionId": str(UUID(int=5)), "type": kind, "cwd": "/p"}
    record |= {"message": message, "uuid": uuid, "timestamp": "2026-11-20T10:00:00.000Z"}
    return json.dumps(record, separators=(",", ":")).encode() + b"\n"


class _Seen:
    """Follows a log in a thread, and remembers when each turn was first seen in it."""

    def __init__(self, log: Path) -> None:
        self._at: dict[str, int] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, args=(log,), daemon=True)
        self._thread.start()

    def milliseconds(self, closed_at: dict[str, int], count: int) -> list[float]:
        """How long each of so many turns took, once they are there or it took too long."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < deadline and not closed_at.keys() <= self._at.keys():
            time.sleep(0.05)
        self._stop.set()
        self._thread.join()
        took = [(self._at[said] - at) / 1e6 for said, at in closed_at.items() if said in self._at]
        if len(took) < count:
            say(f"  {count - len(took)} of {count} turns were not recorded")
        return took

    def _follow(self, log: Path) -> None:
        for entry in EventLog.open(log, read_only=True).follow(stop=self._stop):
            if isinstance(entry.event, TurnRecorded):
                self._at.setdefault(entry.event.messages[0].content, time.monotonic_ns())


def _sessions(bench: Bench, name: str) -> Path:
    """A folder with many sessions, of a few turns each."""
    folder = bench.fresh(name)
    for number in range(bench.sizes.watched_files):
        path = folder / f"project-{number % 20}" / f"{UUID(int=number + 1000)}.jsonl"
        path.parent.mkdir(exist_ok=True)
        uuids = [str(UUID(int=(number + 1000) << 64 | i)) for i in range(6)]
        path.write_bytes(b"".join(_line(("user", "assistant")[i % 2], uuid, f"{i}") for i, uuid in enumerate(uuids)))
    (folder / "project").mkdir()
    return folder


@contextmanager
def _watching(log: Path, folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """`turnlog watch` on a folder, from when all that is there is recorded."""
    (log / "turnlog.toml").write_text(f'[[sources]]\ntype = "claude_code"\npath = "{folder}"\nsettle_seconds = 1\n')
    command = [sys.executable, "-m", "turnlog", "--dir", str(log), "watch"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)  # noqa: S603 - our own
    try:
        _await_turns(log, 3 * sum(1 for _ in folder.rglob("*.jsonl")), process)
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=_PATIENCE_SECONDS)


def _await_turns(log: Path, count: int, process: "subprocess.Popen[bytes]") -> None:
    assert process.stderr is not None  # noqa: S101 - it was asked for
    if not select.select([process.stderr], [], [], _PATIENCE_SECONDS)[0]:
        raise RuntimeError("watching did not begin")
    stop = threading.Event()
    timer = threading.Timer(_PATIENCE_SECONDS, stop.set)
    timer.daemon = True
    timer.start()
    for entry in EventLog.open(log, read_only=True).follow(stop=stop):
        count -= isinstance(entry.event, TurnRecorded)
        if not count:
            break
    timer.cancel()
    if count:
        raise RuntimeError(f"{count} turns of those that were there before were not recorded")
