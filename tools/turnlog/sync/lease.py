"""One worker a sink: a lock file in the log's folder that also says who holds it."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from eventlog import Lock
from turnlog.errors import Busy


def worker_name() -> str:
    """This process, as attempts and leases tell it."""
    return f"{socket.gethostname()}:{os.getpid()}"


@contextmanager
def lease(directory: Path, sink: str) -> Iterator[None]:
    """Be the one worker of a sink. Raises Busy, naming the other, if there is one."""
    lock = Lock(directory / f"sink-{sink}.lock")
    if not lock.acquire(blocking=False):
        raise Busy(f"the sink {sink!r} is being delivered to by {_holder(lock.path)}")
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
