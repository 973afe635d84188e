"""What a soak is made of: a daemon, a receiver behind a proxy that can be cut off, a process that records."""

import json
import multiprocessing
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from processes import Process, turnlog

from turnlog import Recorder
from turnlog.testing.proxy import FaultProxy, status_fault

SINK = "team"
LANES = 5

_PATIENCE_SECONDS = 60.0
_AWAY = status_fault(503)
_LOG_BYTES_MAX = 8192


class Receiver:
    """`turnlog serve` in a process of its own; what it has got is told by its store."""

    def __init__(self, folder: Path) -> None:
        self._store = folder / "received.sqlite"
        command = [sys.executable, "-m", "turnlog", "serve", "--port", "0", "--store", str(self._store)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)  # noqa: S603 - our own
        assert self._process.stdout is not None  # noqa: S101 - it was asked for
        self.url = self._process.stdout.readline().strip()

    def count(self) -> int:
        """How many messages it has."""
        with closing(sqlite3.connect(self._store)) as store:
            return int(store.execute("SELECT count(*) FROM messages").fetchone()[0])

    def texts(self) -> Counter[str]:
        """The texts of all messages, and how often each is there."""
        with closing(sqlite3.connect(self._store)) as store:
            return Counter(text for (text,) in store.execute("SELECT content_text FROM messages"))

    def close(self) -> None:
        """End it."""
        self._process.send_signal(signal.SIGKILL)
        self._process.communicate()


class Service:
    """The daemon of a log, whose configuration changes a little with every `reload`."""

    def __init__(self, directory: Path, url: str) -> None:
        self.directory = directory
        self.log_file = directory / "daemon.log"
        self.reloads = 0
        self._url = url
        self._ports = _free_ports(2)
        self._configure()
        started = turnlog(directory, "daemon", "start", "--json")
        if started.returncode:
            raise RuntimeError(f"the daemon does not start: {started.stderr}")
        self.process = Process(int(json.loads(started.stdout)["pid"]))

    def reload(self) -> str | None:
        """Have it take another configuration; what went wrong."""
        self.reloads += 1
        self._configure()
        done = turnlog(self.directory, "daemon", "reload", "--json")
        return None if done.returncode == 0 else f"the reload failed: {done.stdout}{done.stderr}"

    def status(self) -> dict[str, Any]:
        """What `turnlog daemon status --json` tells."""
        told: dict[str, Any] = json.loads(turnlog(self.directory, "daemon", "status", "--json").stdout)
        return told

    def get(self, path: str) -> tuple[int, str]:
        """A page of its monitoring: the status code and the body."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:  # for a moment after a reload nobody may listen
            try:
                with urllib.request.urlopen(self._endpoint + path, timeout=_PATIENCE_SECONDS) as answer:  # noqa: S310 - our own
                    return answer.status, answer.read().decode()
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, error.read().decode()
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def rename_log(self) -> bool:
        """Do what logrotate does; whether there was a log."""
        try:
            self.log_file.rename(self.log_file.with_name("taken-away.log"))
        except FileNotFoundError:
            return False
        return True

    def stop(self) -> str | None:
        """Stop it; what went wrong."""
        done = turnlog(self.directory, "daemon", "stop")
        return None if done.returncode == 0 else f"the daemon did not stop: {done.stdout}{done.stderr}"

    @property
    def _endpoint(self) -> str:
        return f"http://127.0.0.1:{self._ports[self.reloads % 2]}"

    def _configure(self) -> None:
        sync = f"base_seconds = 0.1\nmax_seconds = 1\nmax_attempts = {1000 + self.reloads % 2}\nprobe_max_seconds = 1"
        daemon = f'listen = "{self._ports[self.reloads % 2]}"\nlog_file = "{self.log_file}"'
        log = f"log_max_bytes = {_LOG_BYTES_MAX}\nlog_backups = 2"
        sink = f'name = "{SINK}"\ntype = "batch"\nurl = "{self._url}"\nturns = {50 + self.reloads % 2}'
        text = f"[sync]\n{sync}\n[daemon]\n{daemon}\n{log}\n[[sinks]]\n{sink}\n"
        (self.directory / "turnlog.toml").write_text(text, encoding="utf-8")


class Talk:
    """A process that records so many turns a second, and counts those that it has begun and done."""

    def __init__(self, directory: Path, rate: float) -> None:
        context = multiprocessing.get_context("spawn")
        self._begun, self._done = context.Value("l", 0), context.Value("l", 0)
        self._over = context.Event()
        self._process = context.Process(target=_talk, args=(directory, rate, self._begun, self._done, self._over))
        self._process.start()

    @property
    def begun(self) -> int:
        """How many turns may be in the log."""
        return int(self._begun.value)

    @property
    def done(self) -> int:
        """How many turns are in the log for certain."""
        return int(self._done.value)

    def close(self) -> None:
        """Have it finish its turn."""
        self._over.set()
        self._process.join(_PATIENCE_SECONDS)
        if self._process.is_alive():
            self._process.kill()


def texts_of(number: int) -> tuple[str, str]:
    """What is said in the turn of a number."""
    return f"question {number}", f"answer {number}: " + "something is said at some length " * 10


def _talk(directory: Path, rate: float, begun: "Synchronized[int]", done: "Synchronized[int]", over: Event) -> None:
    due = time.monotonic()
    with Recorder(directory) as recorder:
        while not over.wait(max(0.0, due - time.monotonic())):
            due += 1 / rate
            number = begun.value
            begun.value = number + 1
            said = zip(("user", "assistant"), texts_of(number), strict=True)
            messages = [{"role": role, "content": text} for role, text in said]
            recorder.record(messages=messages, conversation=f"c{number % LANES}", turn_id=str(number))
            done.value = number + 1


class World:
    """All of it at work."""

    def __init__(self, service: Service, receiver: Receiver, proxy: FaultProxy, talk: Talk) -> None:
        self.service, self.receiver, self.talk = service, receiver, talk
        self.outages = 0
        self._proxy = proxy

    def cut_off(self) -> None:
        """The sink is away from now on: it refuses connections, or answers 503, in turns."""
        self.outages += 1
        if self.outages % 2:
            self._proxy.refuse()
        else:
            self._proxy.rule = lambda *_: _AWAY

    def mend(self) -> None:
        """The sink is back."""
        self._proxy.rule = lambda *_: None
        self._proxy.accept()


@contextmanager
def world(folder: Path, rate: float) -> Iterator[World]:
    """Start everything in a folder; all of it is ended at the end."""
    directory = folder / "log"
    directory.mkdir()
    with closing(Receiver(folder)) as receiver, FaultProxy(receiver.url) as proxy:
        service = Service(directory, proxy.url)
        try:
            with closing(Talk(directory, rate)) as talk:
                yield World(service, receiver, proxy, talk)
        finally:
            with suppress(subprocess.SubprocessError):
                service.stop()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports
