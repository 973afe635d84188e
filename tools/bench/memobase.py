"""Memobase: how much faster turns go out in blobs of many than one insert a turn, at a server that takes 100 a second.

The server is the double of `turnlog.testing.memobase`, in a process of its own; its limit was measured on a live one.
"""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from uuid import NAMESPACE_URL, uuid5

import msgspec
import requests
from owed import configure, copy_of, many_turns, owed_log
from report import Row, interleave, rate_row
from senders import seconds_of

from bench import Bench
from eventlog import TurnRecorded

_INSERTS_PER_SECOND = 100
_LANES = 20
_TOKEN = "bench"  # noqa: S105 - of a double
_OPTIONS = '\ntoken = { env = "BENCH_MEMOBASE_TOKEN" }\nredact = false'
_ROUNDS_MAX = 3


def memobase_cases(bench: Bench) -> Iterator[Row]:
    """Turns per second until all are delivered and flushed, beside a loop that inserts each turn by itself."""
    original, turns = bench.fresh("memobase"), bench.sizes.single_turns
    owed_log(original, many_turns(turns, lanes=_LANES), kind="memobase")
    one_each = list(many_turns(turns // 4, lanes=_LANES))

    def turnlog_rate() -> float:
        path = copy_of(bench, original, "memobase-round")
        with _double() as url:
            configure(path, url, kind="memobase", sink=_OPTIONS)
            return turns / seconds_of("turnlog", path, BENCH_MEMOBASE_TOKEN=_TOKEN)

    def insert_rate() -> float:
        with _double() as url:
            return _insert_each(url, one_each)

    reference, case = "memobase/one-insert-a-turn", "memobase/turnlog"
    results = interleave({reference: insert_rate, case: turnlog_rate}, min(bench.sizes.rounds, _ROUNDS_MAX))
    yield rate_row(results, reference, "turns/s")
    yield rate_row(results, case, "turns/s", reference)


def _insert_each(url: str, turns: Sequence[TurnRecorded]) -> float:
    with requests.Session() as session:
        session.trust_env = False
        session.headers["Authorization"] = f"Bearer {_TOKEN}"
        users = {turn.user: str(uuid5(NAMESPACE_URL, turn.user)) for turn in turns}
        for user in users.values():
            session.post(f"{url}/api/v1/users", json={"id": user}).raise_for_status()
        begin = time.perf_counter()
        for turn in turns:
            messages = [{"role": message.role, "content": message.content} for message in turn.messages]
            body = msgspec.json.encode({"blob_type": "chat", "blob_data": {"messages": messages}})
            headers = {"Content-Type": "application/json"}
            answer = session.post(f"{url}/api/v1/blobs/insert/{users[turn.user]}", data=body, headers=headers)
            answer.raise_for_status()
            if answer.json()["errno"]:
                raise RuntimeError(f"an insert failed: {answer.text}")
        return len(turns) / (time.perf_counter() - begin)


@contextmanager
def _double() -> Iterator[str]:
    options = ["--token", _TOKEN, "--inserts-per-second", str(_INSERTS_PER_SECOND)]
    command = [sys.executable, "-m", "turnlog.testing.memobase", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own
        try:
            assert process.stdout is not None  # noqa: S101 - it was asked for
            yield process.stdout.readline().strip()
        finally:
            process.terminate()
