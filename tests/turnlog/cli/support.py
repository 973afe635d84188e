"""What the tests of the command line share: running it, a receiver, a server that answers as told, a log's bytes."""

import io
import json
import os
import select
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from unittest import mock

from eventlog import EventLog, TurnRecorded
from projections import message_names
from turnlog.cli.main import run
from turnlog.sinks.batch import message_uuid
from turnlog.testing import finished_lines

from ..sinks.hooks import serving

ROOT = Path(__file__).parents[3]
TOKEN = "canary-4711-token"
DEADLINE_SECONDS = 60
NOBODY = "http://127.0.0.1:9"
"""The port `discard`, where nothing listens."""


@dataclass(frozen=True)
class Result:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        """The JSON Lines on stdout."""
        return [json.loads(line) for line in self.out.split("\n") if line]

    @property
    def object(self) -> dict[str, Any]:
        """The one JSON object on stdout."""
        (value,) = self.objects
        return value

    @property
    def sentences(self) -> list[str]:
        """The lines on stderr, each of which is a sentence for people."""
        lines = self.err.splitlines()
        assert all(line.startswith("turnlog: ") for line in lines), self.err
        return [line.removeprefix("turnlog: ") for line in lines]

    @property
    def sentence(self) -> str:
        """The one sentence on stderr."""
        (sentence,) = self.sentences
        return sentence


@dataclass
class Cli:
    """The command line, with a folder for its log; by default in this process."""

    directory: Path
    options: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.options = ("--dir", str(self.directory))

    def __call__(self, *arguments: str, stdin: str | bytes = b"") -> Result:
        out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
        with tempfile.TemporaryFile() as file:
            file.write(stdin.encode() if isinstance(stdin, str) else stdin)
            file.seek(0)
            with redirect_stdout(out), redirect_stderr(err), mock.patch.object(sys, "stdin", file):
                code = run([*self.options, *arguments])
        out.flush(), err.flush()
        return Result(code, *(stream.buffer.getvalue().decode() for stream in (out, err)))  # type: ignore[attr-defined]

    def ok(self, *arguments: str, stdin: str | bytes = b"") -> Result:
        """Run a command that ends well and says nothing on stderr."""
        result = self(*arguments, stdin=stdin)
        assert (result.code, result.err) == (0, ""), result
        return result

    def refused(self, code: int, *arguments: str, stdin: str | bytes = b"") -> str:
        """Run a command that ends with `code`, prints nothing, and says why in the one sentence that is returned."""
        result = self(*arguments, stdin=stdin)
        assert (result.code, result.out) == (code, ""), result
        return result.sentence

    def command(self, *arguments: str) -> list[str]:
        """How a shell would run it."""
        return [sys.executable, "-W", "error", "-m", "turnlog", *self.options, *arguments]

    def process(self, *arguments: str, stdin: str = "", **environ: str) -> Result:
        """Run a command as a process of its own."""
        done = subprocess.run(
            self.command(*arguments),
            input=stdin.encode(),
            capture_output=True,
            timeout=DEADLINE_SECONDS,
            env={**os.environ, **environ},
            check=False,
        )
        return Result(done.returncode, done.stdout.decode(), done.stderr.decode())

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Begin a command as a process of its own."""
        return subprocess.Popen(
            self.command(*arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )

    def record(self, *texts: str, **options: str) -> int:
        """Record a turn; returns its seq."""
        named = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
        return int(self("record", "--json", *named, "--", *texts).object["seq"])

    def configure(self, *sinks: str, log: str = "", sync: str = "") -> None:
        """Write the configuration beside the log."""
        self.directory.mkdir(parents=True, exist_ok=True)
        text = f"[log]\n{log}\n[sync]\n{sync}\n{''.join(sinks)}"
        (self.directory / "turnlog.toml").write_text(text, encoding="utf-8")

    def log(self) -> EventLog:
        return EventLog.open(self.directory, read_only=True)

    def events(self, kind: str) -> list[Any]:
        """The events of one type."""
        return [entry.event for entry in self.log().read() if entry.type == kind]

    def states(self, sink: str = "team") -> dict[str, int]:
        """How many turns are in each state at a sink; only the states that have some."""
        totals = self.ok("replay", "--json").object["sinks"][sink]
        return {state: count for state, count in totals.items() if count}


def batch_sink(url: str, *, name: str = "team", token: Path | None = None, more: str = "") -> str:
    """The part of a configuration that makes a sink of type `batch`."""
    secret = f'token = {{ file = "{token}" }}\n' if token else ""
    return f'[[sinks]]\nname = "{name}"\ntype = "batch"\nurl = "{url}"\n{secret}{more}\n'


def memory_sink(name: str = "mem") -> str:
    """The part that makes one of type `memory`."""
    return f'[[sinks]]\nname = "{name}"\ntype = "memory"\n'


class Receiver:
    """`turnlog serve` as a process of its own; started again it has the same port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = folder / "store.sqlite"
        self.token = folder / "token"
        self.token.write_text(TOKEN)
        self.url = ""
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        port = self.url.rpartition(":")[2] or "0"
        options = ("--port", port, "--token-file", str(self.token), "--store", str(self.store))
        self._process = Cli(self.folder).start("serve", *options)
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], DEADLINE_SECONDS)
        self.url = self._process.stdout.readline().strip() if readable else ""
        assert self.url, "the receiver did not start"

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.communicate(timeout=DEADLINE_SECONDS)
            self._process = None

    def sink(self, more: str = "", **options: Any) -> str:
        """The part of a configuration that delivers here."""
        return batch_sink(self.url, **{"token": self.token, **options}, more=more)

    def messages(self) -> Counter[tuple[str, str]]:
        """What is stored: uuid and text of every message."""
        with closing(sqlite3.connect(self.store)) as store:
            return Counter(store.execute("SELECT uuid, content_text FROM messages").fetchall())


def owed(cli: Cli, sink: str = "team") -> Counter[tuple[str, str]]:
    """What a receiver must have that got every turn of a log exactly once: uuid and text of every message."""
    return Counter(
        (message_uuid(turn.turn_id, name), message.content)
        for turn in cli.events("TurnRecorded")
        if isinstance(turn, TurnRecorded) and sink not in turn.delivered_to
        for name, message in zip(message_names(turn), turn.messages, strict=True)
    )


class Answering:
    """A server in a thread that answers every batch with `status`, or with `statuses` one after the other."""

    def __init__(self) -> None:
        self.status = 200
        self.statuses: list[int] = []
        self.bodies: list[Any] = []
        self.url = ""

    def answer(self, body: bytes) -> tuple[int, bytes]:
        self.bodies.append(json.loads(body))
        status = self.statuses.pop(0) if self.statuses else self.status
        answer = {"success": status == 200, "error": "as the test wants it"}
        return status, json.dumps(answer).encode()


@contextmanager
def answering() -> Iterator[Answering]:
    """Run such a server; it is healthy whatever it answers."""
    state = Answering()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._send(200, b"{}")

        def do_POST(self) -> None:
            self._send(*state.answer(self.rfile.read(int(self.headers["Content-Length"]))))

        def _send(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server, serving(server) as state.url:
        yield state


class Witness:
    """Remembers every segment up to its last line, and sees to it that no byte of that ever changes."""

    def __init__(self, directory: Path) -> None:
        self._folder = directory / "log"
        self._seen: dict[str, tuple[int, str]] = {}

    def look(self) -> int:
        """Compare with what was seen before, and remember what is there now; how many bytes that are."""
        for name, (length, digest) in self._seen.items():
            assert _digest(self._content(name)[:length]) == digest, f"{name} was rewritten"
        for path in self._folder.iterdir():
            content = self._content(path.name)
            length = len(finished_lines(content))
            self._seen[path.name] = length, _digest(content[:length])
        return sum(length for length, _ in self._seen.values())

    def _content(self, name: str) -> bytes:
        return (self._folder / name).read_bytes()


def _digest(content: bytes) -> str:
    return sha256(content).hexdigest()


def old_file(path: Path, numbers: Sequence[int], *, synced: bool = False, retries: int = 0) -> Path:
    """A file as the old scripts wrote it, one line for each number."""
    records = (
        {
            "messages": [{"role": "user", "content": f"问 {number}"}, {"role": "assistant", "content": f"答 {number}"}],
            "synced": synced,
            "retry_count": retries,
            "timestamp": f"2024-12-04T10:{number // 60:02}:{number % 60:02}",
        }
        for number in numbers
    )
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), encoding="utf-8")
    return path
