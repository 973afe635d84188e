"""Connections of urllib3 that know how far a request has come and give each stage of it its own time."""

import io
import socket
import time
from http.client import HTTPResponse
from threading import local
from typing import Any, Literal, cast

from urllib3.connectionpool import HTTPConnectionPool

Stage = Literal["connect", "send", "answer"]


class Progress(local):
    """How far the request of this thread has come: what went wrong in it says by that what the server may have."""

    stage: Stage = "connect"


def bound(pool: HTTPConnectionPool, progress: Progress, *, send_seconds: float, answer_seconds: float) -> None:
    """Have a pool's connections report to `progress` and keep to these times, from its next connection on.

    `ConnectionCls` is the place that urllib3 documents for this. urllib3 itself uses the connect timeout for sending,
    too, and bounds each read instead of the whole answer, so that a server that drips would never be given up.
    """
    terms = {"progress": progress, "send_seconds": send_seconds, "answer_seconds": answer_seconds}
    pool.ConnectionCls = type("BoundConnection", (_Bound, pool.ConnectionCls), terms)


class _Bound:
    """What is added to whatever connection the scheme and the proxy want."""

    progress: Progress
    send_seconds: float
    answer_seconds: float
    sock: socket.socket | None
    timeout: float | None
    _gathered: list[bytes] | None = None

    def request(self, *args: Any, **options: Any) -> None:
        """Connect if need be, then send the request: with an error in here the server cannot have all of it."""
        if self.sock is None:
            cast("Any", self).connect()
        self.progress.stage = "send"
        self.timeout = self.send_seconds
        self._gathered = []
        try:
            cast("Any", super()).request(*args, **options)
            request = b"".join(self._gathered)
        finally:
            self._gathered = None
        sock = cast("socket.socket", self.sock)
        sock.settimeout(self.send_seconds)
        sock.sendall(request)
        self.progress.stage = "answer"

    def send(self, data: bytes) -> None:
        """Keep what belongs to a request for one call of the system; head and body would be a packet each."""
        if self._gathered is None:
            cast("Any", super()).send(data)
        else:
            self._gathered.append(data)

    def response_class(self, sock: socket.socket, *args: Any, **options: Any) -> HTTPResponse:
        """The answer, all of which must come in time."""
        deadline = time.monotonic() + self.answer_seconds
        return HTTPResponse(cast("socket.socket", _Timed(sock, deadline)), *args, **options)


class _Timed:
    """A socket as `HTTPResponse` wants one: it only asks for a file."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self._deadline = deadline

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_TimedReader(self._sock, self._deadline))


class _TimedReader(io.RawIOBase):
    """Reads from a socket until a deadline."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self._file = sock.makefile("rb", buffering=0)
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(left)
        return cast("io.RawIOBase", self._file).readinto(buffer)

    def close(self) -> None:
        self._file.close()
        super().close()
