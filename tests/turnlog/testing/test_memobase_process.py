"""The double as a process of its own."""

import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from turnlog.testing.memobase import STATE_PATH, MemobaseDouble

from .memobase_client import DEADLINE_SECONDS, TOKEN, Client, blob, errno

COMMAND = [sys.executable, "-W", "error", "-m", "turnlog.testing.memobase"]


@contextmanager
def running(*arguments: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """The process, and its address."""
    command = [*COMMAND, "--token", TOKEN, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert select.select([process.stdout], [], [], DEADLINE_SECONDS)[0]
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_it_is_told_to_end(number: signal.Signals) -> None:
    """Its first line is its address, it takes the options of the class, and it ends with 0, connections open or not."""
    options = ("--persistent-chat-blobs", "--auto-flush-tokens", "1", "--wrong", "quota", "--inserts-per-second", "1e4")
    with running(*options) as (process, url), Client(url) as client:
        user = client.create()
        blob_id = client.insert(user, "Hi there")
        assert client.ids(user) == [blob_id]
        assert client.send("POST", STATE_PATH, b'{"quota_used_up": true}')[0] == 200
        assert errno(client.try_insert(user, blob("two"))) == (200, 503)
        _, state = client.send("GET", STATE_PATH)
        assert state["processed"] == ["Hi there", "two"]
        process.send_signal(number)
        out, err = process.communicate(timeout=DEADLINE_SECONDS)
        assert (process.returncode, out, err) == (0, "", "")


def test_a_port_that_is_taken_is_told_in_a_sentence() -> None:
    """On stderr, with exit code 1; an unknown row ends with 2."""
    with MemobaseDouble(TOKEN) as double:
        port = double.url.rpartition(":")[2]
        for arguments, code, said in ((["--port", port], 1, "try --port 0"), (["--wrong", "x"], 2, "unknown-user")):
            ended = subprocess.run(
                [*COMMAND, *arguments], capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False
            )
            assert (ended.returncode, ended.stdout) == (code, "")
            assert said in ended.stderr
            assert "Traceback" not in ended.stderr
