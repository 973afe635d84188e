"""One worker a sink: a lock file in the log's folder that also says who holds it."""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from eventlog import Lock
from turnlog.errors import Busy

_WAIT_SECONDS = 0.2


def worker_name() -> str:
    """This process, as attempts and leases tell it."""
    return f"{socket.gethostname()}:{os.getpid()}"


@contextmanager
def lease(
    directory: Path, sink: str, *, wait: threading.Event | None = None, say: Callable[[str], None] = lambda _: None
) -> Iterator[None]:
    """Be the one worker of a sink.

    If there is another, wait for its end until `wait` is set, and `say` so; without `wait`, or when it is set, raises
    Busy, naming the other.
    """
    lock = Lock(directory / f"sink-{sink}.lock")
    told = False
    while not lock.acquire(blocking=False):
        busy = f"the sink {sink!r} is being delivered to by {_holder(lock.path)}"
        if wait is not None and not told:
            say(f"{busy}; waiting for its end")
            told = True
        if wait is None or wait.wait(_WAIT_SECONDS):
            raise Busy(f"{busy}; try again when it is done, or wait for it with `turnlog sync --follow --wait`")
    try:
        lock.path.write_text(f"{worker_name()} since {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}\n", encoding="utf-8")
        yield
    finally:
        lock.release()
        lock.close()


def _holder(path: Path) -> str:
    with suppress(OSError, UnicodeDecodeError):
        return path.read_text(encoding="utf-8").strip() or "another process"
    return "another process"
