"""The daemon as it is felt: how soon it runs and answers, what it costs while nothing happens, how soon it sends."""

import json
import multiprocessing
import re
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import requests
from owed import configure, copy_of, delivered_log
from processes import Process, turnlog
from receiver import receiving
from report import Row, interleave, percentile, single_row, time_row

from bench import Bench
from turnlog import Recorder

_MEGABYTE = 1_000_000
_SETTLE_SECONDS = 3.0
_PAUSE_SECONDS = 0.02
_WARM_UP = 10
_PATIENCE_SECONDS = 120
_PATH = "/internal/v1/sync/batch"
_MOMENT = re.compile(rb"(recorded|posted) at ([0-9]+)")
_ANSWER = (
    b'{"success":true,"inserted_conversations":0,"inserted_messages":0,"updated_conversations":0,"updated_messages":0}'
)


def start_cases(bench: Bench) -> Iterator[Row]:
    """From the call of `daemon start` until `daemon status` says that it runs; beside Python's own start."""
    with receiving() as url:
        measures: dict[str, Callable[[], float]] = {"daemon/python": _python}
        for turns in _ends(bench):
            directory = _settled(bench, turns, url)
            measures[f"daemon/start/{turns}-turns"] = lambda d=directory: _milliseconds(lambda: _start(d), after=d)  # type: ignore[misc]
        results = interleave(measures, bench.sizes.starts)
    yield from (time_row(results, case, "ms", None if case == "daemon/python" else "daemon/python") for case in results)


def status_cases(bench: Bench) -> Iterator[Row]:
    """`daemon status --json` as a process, while the daemon runs."""
    with receiving() as url:
        directory = _settled(bench, _ends(bench)[-1], url)
        with daemon(directory):
            measures = {"status/python": _python, "status/turnlog": lambda: _milliseconds(lambda: _status(directory))}
            results = interleave(measures, bench.sizes.starts)
    yield time_row(results, "status/python", "ms")
    yield time_row(results, "status/turnlog", "ms", "status/python")


def idle_cases(bench: Bench) -> Iterator[Row]:
    """Processor time and memory while nothing happens, with a few turns behind and with many, after a scrape."""
    with receiving() as url:
        for turns in _ends(bench):
            directory = _settled(bench, turns, url)
            with daemon(directory) as process:
                requests.get(f"{_status(directory)['listening']}/metrics", timeout=_PATIENCE_SECONDS).raise_for_status()
                time.sleep(_SETTLE_SECONDS)
                used, begin = process.cpu_seconds(), time.monotonic()
                time.sleep(bench.sizes.idle_seconds)
                used, lasted = process.cpu_seconds() - used, time.monotonic() - begin
                yield single_row(f"idle/cpu/{turns}-turns", used / lasted * 100, "% of a core")
                yield single_row(f"idle/memory/{turns}-turns", process.memory_bytes() / _MEGABYTE, "MB")


def reach_cases(bench: Bench) -> Iterator[Row]:
    """From the call of `record` in another process until the sink has the turn; beside a bare post by that process."""
    count = _WARM_UP + bench.sizes.receipts
    directory = bench.fresh("reach")
    with _arriving() as (url, arrivals):
        configure(directory, url)
        with daemon(directory):
            context = multiprocessing.get_context("spawn")
            writer = context.Process(target=_record_and_post, args=(directory, url + _PATH, count), daemon=True)
            writer.start()
            writer.join(_PATIENCE_SECONDS)
            _wait(lambda: min(len(arrivals["recorded"]), len(arrivals["posted"])) >= count)
    results = {f"reach/{how}/median": [*values.values()][_WARM_UP:] for how, values in sorted(arrivals.items())}
    for case, values in results.items():
        yield time_row(results, case, "ms", None if "posted" in case else "reach/posted/median")
        yield single_row(case.replace("median", "99th"), percentile(values, 99), "ms")


@contextmanager
def daemon(directory: Path) -> Iterator[Process]:
    """The daemon of a log, for as long as the block lasts."""
    _start(directory)
    try:
        yield Process(int(_status(directory)["pid"]))
    finally:
        turnlog(directory, "daemon", "stop")


def _ends(bench: Bench) -> tuple[int, int]:
    """The shortest history and the longest."""
    return bench.sizes.history_turns[0], bench.sizes.history_turns[-1]


def _settled(bench: Bench, turns: int, url: str) -> Path:
    """A log of so many turns, all delivered, of which a daemon has left its checkpoints; the monitoring is on."""
    directory = bench.folder / f"daemon-{turns}"
    if not directory.exists():
        copy_of(bench, delivered_log(bench, turns), directory.name)
    configure(directory, url, more='[daemon]\nlisten = "0"')
    with daemon(directory):
        _wait(lambda: bool(_status(directory)["turns"] == turns))
    return directory


def _start(directory: Path) -> None:
    done = turnlog(directory, "daemon", "start")
    if done.returncode:
        raise RuntimeError(f"the daemon does not start: {done.stderr}")
    if _status(directory)["state"] != "running":
        raise RuntimeError("the daemon has started and its status does not say so")


def _status(directory: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(turnlog(directory, "daemon", "status", "--json").stdout)
    return told


def _python() -> float:
    return _milliseconds(lambda: subprocess.run([sys.executable, "-c", "pass"], check=True))


def _milliseconds(work: Callable[[], object], *, after: Path | None = None) -> float:
    """How long something takes; the daemon that it may have started is stopped."""
    begin = time.perf_counter()
    work()
    lasted = (time.perf_counter() - begin) * 1000
    if after is not None:
        turnlog(after, "daemon", "stop")
    return lasted


def _wait(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not is_so():
        if time.monotonic() > deadline:
            raise RuntimeError("what was waited for did not happen")
        time.sleep(0.01)


@contextmanager
def _arriving() -> Iterator[tuple[str, dict[str, dict[bytes, float]]]]:
    """A sink that notes how many milliseconds each text took that says when it was sent; its url, and these by that."""
    arrivals: dict[str, dict[bytes, float]] = defaultdict(dict)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            now = time.monotonic_ns()
            for how, moment in _MOMENT.findall(body):
                arrivals[how.decode()].setdefault(moment, (now - int(moment)) / 1e6)
            self._answer()

        def do_GET(self) -> None:
            self._answer()

        def _answer(self) -> None:
            head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(_ANSWER)}\r\n\r\n"
            self.wfile.write(head.encode() + _ANSWER)

        def log_message(self, *_: object) -> None:
            """The figures are what is told."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", arrivals
        server.shutdown()


def _record_and_post(directory: Path, url: str, count: int) -> None:
    """In the other process: a turn to the log, then the like straight to the sink, so often."""
    with Recorder(directory) as recorder, requests.Session() as session:
        session.trust_env = False
        for _ in range(count):
            time.sleep(_PAUSE_SECONDS)
            text = f"recorded at {time.monotonic_ns()} " + "x" * 700
            recorder.record(messages=[{"role": "user", "content": text}])
            time.sleep(_PAUSE_SECONDS)
            text = f"posted at {time.monotonic_ns()} " + "x" * 700
            session.post(url, data=text.encode(), headers={"Content-Type": "application/json"})
