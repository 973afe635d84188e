"""The receiver, and a server that answers as told, byte by byte."""

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from ..web.conftest import running, server  # noqa: F401 - fixtures

Answer = Callable[[socket.socket], None]
DEADLINE_SECONDS = 20


def sends(*pieces: bytes) -> Answer:
    """Send these bytes and close."""

    def answer(connection: socket.socket) -> None:
        for piece in pieces:
            connection.sendall(piece)

    return answer


def resets(connection: socket.socket) -> None:
    """Tear the connection down, as a process that dies does."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def reply(status: int, body: bytes = b"", *headers: str) -> Answer:
    """A whole HTTP answer."""
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return sends("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)


@dataclass
class Wire:
    """A server on a real socket: each connection's request is kept and answered with the next of `answers`.

    When those are used up it answers with the last one; `waits` is one that says nothing until the test is over.
    With `reads` False it answers before it has read a request.
    """

    answers: list[Answer] = field(default_factory=list)
    requests: list[bytes] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    reads: bool = True
    tls: ssl.SSLContext | None = None

    def __post_init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(0.05)
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def waits(self, connection: socket.socket) -> None:
        self.over.wait(DEADLINE_SECONDS)

    def close(self) -> None:
        self.over.set()
        self.thread.join(DEADLINE_SECONDS)
        self.listener.close()

    def _serve(self) -> None:
        while not self.over.is_set():
            try:
                connection, _ = self.listener.accept()
            except TimeoutError:
                continue
            connection.settimeout(DEADLINE_SECONDS)
            with suppress(OSError), self._secured(connection) as secured:  # the client had enough
                if self.reads:
                    self.requests.append(_read_request(secured))
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                answer(secured)

    def _secured(self, connection: socket.socket) -> socket.socket:
        if self.tls is None:
            return connection
        try:
            return self.tls.wrap_socket(connection, server_side=True)
        except OSError:
            connection.close()
            raise


def _read_request(connection: socket.socket) -> bytes:
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(65536)
        if not piece:
            return received
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    lengths = [int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    while len(body) < sum(lengths):
        piece = connection.recv(65536)
        if not piece:
            break
        body += piece
    return head + b"\r\n\r\n" + body


@pytest.fixture
def wire() -> Iterator[Wire]:
    """A server that answers as told."""
    made = Wire()
    yield made
    made.close()
