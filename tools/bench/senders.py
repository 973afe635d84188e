"""Sends once, in a process of its own, and prints how many seconds that took, imports aside.

`senders.py turnlog DIRECTORY` is `turnlog sync --once`; `senders.py requests URL FOLDER THREADS` posts the files of the
folder from some threads, each with a Session of its own that looks at no environment, as fast as requests can.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import requests

from turnlog.config import load
from turnlog.sinks.batch import BatchSink  # noqa: F401 - loaded when it is asked for, and imports are not measured
from turnlog.sinks.memobase import MemobaseSink  # noqa: F401 - as above
from turnlog.sync.run import sync_once

_HEADERS = {"Content-Type": "application/json"}
_PATH = "/internal/v1/sync/batch"


def seconds_of(*arguments: object, **environ: str) -> float:
    """Run it, with more in its environment, and have what it measured."""
    command = [sys.executable, __file__, *map(str, arguments)]
    environment = {**os.environ, **environ}
    return float(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)  # noqa: S603 - our own


def _turnlog(directory: Path) -> float:
    config = load(directory / "turnlog.toml")
    begin = time.perf_counter()
    result = sync_once(directory, config)
    seconds = time.perf_counter() - begin
    if result.exit_code:
        raise RuntimeError(f"the run ended with {result.counts}: {result.problems}")
    return seconds


def _requests(url: str, bodies: Sequence[bytes], threads: int) -> float:
    shares = [bodies[first::threads] for first in range(threads)]
    senders = [threading.Thread(target=_post_all, args=(url + _PATH, share)) for share in shares]
    begin = time.perf_counter()
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    return time.perf_counter() - begin


def _post_all(url: str, bodies: Sequence[bytes]) -> None:
    with requests.Session() as session:
        session.trust_env = False
        for body in bodies:
            session.post(url, data=body, headers=_HEADERS).raise_for_status()


if __name__ == "__main__":
    if sys.argv[1] == "turnlog":
        print(_turnlog(Path(sys.argv[2])))
    else:
        kept = [path.read_bytes() for path in sorted(Path(sys.argv[3]).iterdir())]
        print(_requests(sys.argv[2], kept, int(sys.argv[4])))
