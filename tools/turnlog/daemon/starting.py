"""Starting and stopping a daemon from outside: a process in a session of its own, that says when it runs."""

import os
import select
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from turnlog.daemon.client import NoAnswer, ask
from turnlog.daemon.lock import Holder, holder_of, is_locked
from turnlog.daemon.process import is_same, send
from turnlog.errors import TurnlogError

START_SECONDS = 30.0
"""So long is waited for a daemon to say that it runs."""

KILL_SECONDS = 5.0

_POLL_SECONDS = 0.01
_ERROR_BYTES_MAX = 64 * 1024


class NotStarted(TurnlogError):
    """The daemon ended before it ran, or did not say in time that it does. `exit_code` is the daemon's own."""

    def __init__(self, sentence: str, exit_code: int = 1) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code  # type: ignore[misc]


def start(options: Sequence[str], *, seconds: float = START_SECONDS) -> int:
    """Start `turnlog OPTIONS daemon run` in the background; returns its process id when it says that it runs.

    It has no terminal, a session of its own, and `/` for its folder. Raises NotStarted.
    """
    ready, ready_end = os.pipe()
    errors, errors_end = os.pipe()
    os.set_inheritable(ready_end, True)  # noqa: FBT003 - it takes no names
    command = [sys.executable, "-m", "turnlog", *options, "daemon", "run", "--ready-fd", str(ready_end)]
    nowhere = os.devnull
    actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = [
        (os.POSIX_SPAWN_OPEN, 0, nowhere, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, nowhere, os.O_WRONLY, 0),
        (os.POSIX_SPAWN_DUP2, errors_end, 2),
    ]
    try:
        pid = os.posix_spawn(sys.executable, command, os.environ, file_actions=actions)
        os.close(ready_end)
        os.close(errors_end)
        return _await(pid, ready, errors, seconds)
    finally:
        os.close(ready)
        os.close(errors)


def _await(pid: int, ready: int, errors: int, seconds: float) -> int:
    """Read what the daemon has to say until it runs or ends."""
    deadline, said = time.monotonic() + seconds, b""
    waiting = {ready, errors}
    while waiting and (left := deadline - time.monotonic()) > 0:
        for descriptor in select.select(list(waiting), [], [], left)[0]:
            data = os.read(descriptor, 65536)
            if descriptor == ready and data:
                return pid
            if not data:
                waiting.discard(descriptor)
            said = (said + data)[-_ERROR_BYTES_MAX:]
    if waiting:
        raise NotStarted(f"the daemon (pid {pid}) does not say that it runs; see `turnlog daemon status`")
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    raise NotStarted(_last_sentence(said) or f"the daemon ended with {code} before it ran", max(code, 1))


def _last_sentence(said: bytes) -> str:
    """What it wrote last to stderr, which says why it ended."""
    lines = said.decode(errors="replace").strip().splitlines()
    return lines[-1].removeprefix("turnlog: ") if lines else ""


def stop(directory: Path, holder: Holder, *, seconds: float) -> bool:
    """Have a daemon stop and wait for its end; after so long it is killed, which loses nothing. Whether it had to be.

    Raises TurnlogError if it is still there then.
    """
    asked = False
    with suppress(NoAnswer):
        asked = bool(holder.socket) and bool(ask(holder.socket, "stop", seconds=min(seconds, 3.0)).get("ok"))
    if not asked:
        holder = _known(directory, holder)
        send(holder.pid, holder.started, signal.SIGTERM)
    if _is_gone(directory, holder, seconds):
        return False
    holder = _known(directory, holder)
    send(holder.pid, holder.started, signal.SIGKILL)
    if not _is_gone(directory, holder, KILL_SECONDS):
        raise TurnlogError(
            f"the daemon (pid {holder.pid}) does not end; see what it waits for with `ps -p {holder.pid}`"
        )
    return True


def _known(directory: Path, holder: Holder) -> Holder:
    """Who holds the lock now: it may have said so only after it was looked at."""
    return holder if holder.pid else holder_of(directory) or holder


def _is_gone(directory: Path, holder: Holder, seconds: float) -> bool:
    """Whether its lock is free and its process has ended, within so long."""
    deadline = time.monotonic() + seconds
    while is_locked(directory) or (holder.pid and is_same(holder.pid, holder.started)):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True
