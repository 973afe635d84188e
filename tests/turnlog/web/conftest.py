"""A receiver in a process of its own, as the command line runs it: only a main thread gets signals."""

import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

TOKEN = "right-token"
DEADLINE_SECONDS = 30

PROGRAM = """
import sys
from pathlib import Path
from turnlog.web import receiver, store as storage
from turnlog.web.receiver import ReceiverOptions, serve
port, token, store, impatient = sys.argv[1:]
if impatient:
    storage.BUSY_SECONDS = receiver.SHUTDOWN_SECONDS = 0.05
options = ReceiverOptions(port=int(port), token=token or None, store=Path(store))
serve(options, ready=lambda url: print(url, flush=True))
print("stopped", flush=True)
"""


class Server:
    """The process, and a client for it."""

    def __init__(self, store: Path, *, token: str | None = TOKEN, port: int = 0, impatient: bool = False) -> None:
        self.store = store
        self.token = token
        arguments = [str(port), token or "", str(store), "yes" if impatient else ""]
        command = [sys.executable, "-W", "error", "-c", PROGRAM, *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        readable, _, _ = select.select([self.process.stdout], [], [], DEADLINE_SECONDS)
        self.url = self.process.stdout.readline().strip() if readable else ""
        if not self.url.startswith("http://"):
            self.process.kill()
            raise AssertionError(f"the server did not start: {self.process.communicate()}")

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or 0

    def request(self, method: str, path: str, **arguments: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        headers = {**headers, **arguments.pop("headers", {})}
        with requests.Session() as session:
            session.trust_env = False  # no proxy between us
            return session.request(method, self.url + path, headers=headers, timeout=DEADLINE_SECONDS, **arguments)

    def post(self, **arguments: Any) -> requests.Response:
        return self.request("POST", "/internal/v1/sync/batch", **arguments)

    def health(self, **headers: Any) -> requests.Response:
        return self.request("GET", "/api/v1/health", headers=headers)

    def totals(self) -> tuple[int, int]:
        answer = self.health().json()
        return answer["conversations"], answer["messages"]

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE_SECONDS)

    def talk(self, request: bytes) -> bytes:
        """Send bytes as they are; the head of the answer."""
        with self.connect() as connection:
            connection.sendall(request)
            return self.read_head(connection)

    @staticmethod
    def read_head(connection: socket.socket) -> bytes:
        received = b""
        while b"\r\n\r\n" not in received:
            piece = connection.recv(65536)
            assert piece, f"the connection ended after {received!r}"
            received += piece
        return received

    def end(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str, str]:
        """Send the signal; the exit code, what was printed after the URL, and what was logged."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=DEADLINE_SECONDS)
        return self.process.returncode, out, err


@contextmanager
def _running(store: Path, **arguments: Any) -> Iterator[Server]:
    server = Server(store, **arguments)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.end(signal.SIGKILL)


@pytest.fixture(scope="session")
def running() -> Callable[..., AbstractContextManager[Server]]:
    """`running(store, token=, port=, impatient=)`: a receiver, killed at the end if it still runs.

    An impatient one waits 50 ms for a busy store and for requests in flight when it is stopped.
    """
    return _running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A receiver with the token TOKEN, shared by a module's tests."""
    with _running(tmp_path_factory.mktemp("receiver") / "store.sqlite") as started:
        yield started


@pytest.fixture(scope="module")
def open_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A receiver without a token, shared by a module's tests."""
    with _running(tmp_path_factory.mktemp("receiver") / "store.sqlite", token=None) as started:
        yield started
