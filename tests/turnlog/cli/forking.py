"""`turnlog` as processes of their own that start in milliseconds: forked from one that has imported everything.

This file is also that one's program. It has one thread, so that what it forks is whole.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Self

DEADLINE_SECONDS = 60


class Forked:
    """A command that runs, or has ended: what it printed is `told`, line by line."""

    def __init__(self, forks: "Forks", pid: int, output: int) -> None:
        self.pid = pid
        self.told: list[str] = []
        self.ended = threading.Event()
        self._forks = forks
        self._lines: SimpleQueue[str] = SimpleQueue()
        self._reader = threading.Thread(target=self._read, args=(output,), daemon=True)
        self._reader.start()

    def line(self) -> str:
        """The next line of what it prints; empty at its end."""
        return self._lines.get(timeout=DEADLINE_SECONDS)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal; until `wait` was called its number is no other process's."""
        os.kill(self.pid, number)

    def wait(self) -> int:
        """Wait for its end; the exit code, or the negative number of the signal that ended it."""
        if not self.ended.wait(DEADLINE_SECONDS):
            self.send(signal.SIGKILL)
            raise AssertionError(f"the process did not end; it said {self.told}")
        self._reader.join()
        return self._forks.code_of(self.pid)

    def kill(self) -> int:
        """`kill -9`, and wait."""
        self.send(signal.SIGKILL)
        return self.wait()

    def _read(self, output: int) -> None:
        with os.fdopen(output, encoding="utf-8") as stream:  # it ends when the last process that has it does
            for line in stream:
                self.told.append(line.rstrip("\n"))
                self._lines.put(self.told[-1])
        self.ended.set()
        self._lines.put("")


class Forks:
    """The process that forks; what it forked is killed at its end."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.settimeout(DEADLINE_SECONDS)
        command = [sys.executable, "-P", "-W", "error", str(Path(__file__)), str(theirs.fileno())]
        with theirs:
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)

    def start(self, *arguments: str) -> Forked:
        """Run a command of `turnlog`, with this process's environment; both its streams are read as one."""
        reading, writing = os.pipe()
        try:
            pid = self._ask({"arguments": arguments, "environ": dict(os.environ)}, writing)
        finally:
            os.close(writing)
        return Forked(self, pid, reading)

    def code_of(self, pid: int) -> int:
        """The exit code of a process that has ended."""
        return self._ask({"wait": pid})

    def _ask(self, request: dict[str, Any], *files: int) -> int:
        socket.send_fds(self._control, [json.dumps(request).encode()], list(files))
        answer = self._control.recv(64)
        assert answer, "the process that forks has ended"
        return int(answer)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._control.close()
        self._process.wait(DEADLINE_SECONDS)


def _serve(control: socket.socket) -> None:
    """Fork and wait as asked, until nobody asks any more."""
    children: set[int] = set()
    while True:
        said, files, _, _ = socket.recv_fds(control, 1 << 20, 1)
        if not said:
            break
        request = json.loads(said)
        if "wait" in request:
            _, status = os.waitpid(request["wait"], 0)
            children.discard(request["wait"])
            answer = os.waitstatus_to_exitcode(status)
        else:
            answer = os.fork()
            if answer == 0:
                control.close()
                _become(request, files[0])
            os.close(files[0])
            children.add(answer)
        control.send(str(answer).encode())
    for pid in children:
        os.kill(pid, signal.SIGKILL)


def _become(request: dict[str, Any], output: int) -> None:
    """Be the command; never returns."""
    from turnlog.cli.main import main

    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    # New ones, because what is known of the old ones (where they are, what they lead to) is not true of these.
    sys.stdout, sys.stderr = map(partial(open, mode="w", buffering=1, encoding="utf-8", closefd=False), (1, 2))
    os.environ.clear()
    os.environ.update(request["environ"])
    code: Any = 1
    try:
        main(request["arguments"])
    except SystemExit as end:
        code = end.code
    except BaseException:  # noqa: BLE001 - as the interpreter does
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
    finally:
        sys.stdout.flush()
        os._exit(code if isinstance(code, int) else 1)


def _import_all() -> None:
    from importlib import import_module

    names = ("cli.main", "cli.commands.sync_", "cli.commands.serve_", "sync.run", "web.receiver")
    for name in (*names, "sinks.batch", "sinks.memobase", "sinks.webhook"):
        import_module(f"turnlog.{name}")


if __name__ == "__main__":
    _import_all()
    with socket.socket(fileno=int(sys.argv[1])) as given:
        _serve(given)
