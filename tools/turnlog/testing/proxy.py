"""A TCP proxy between a client and a server that does to requests what networks, gateways and servers do to them.

It speaks as much HTTP/1.1 as it needs to apply one fault a request: `Content-Length`, and connections that are kept.
"""

import http.client
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Self
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.structs import replace

DEADLINE_SECONDS = 30.0
"""After this the proxy lets go of a client, or a server, that says nothing."""

DRIP_SECONDS = 0.02
"""Between two bytes of an answer that drips."""


class Fault(Struct, frozen=True):
    """What becomes of a request. With `forwarded` the server gets it all the same; `answer` are bytes to say instead.

    `then` is what happens after the answer: the connection is kept, closed, reset, or left hanging. `drips`: byte by
    byte. `half`: only half of what the server answered is passed on.
    """

    name: str
    forwarded: bool = False
    answer: bytes = b""
    then: str = "closes"
    drips: bool = False
    half: bool = False


def status_fault(status: int, *headers: str, body: bytes = b"{}") -> Fault:
    """The proxy answers in the server's stead, as a gateway does."""
    lines = [f"HTTP/1.1 {status} Fault", f"Content-Length: {len(body)}", *headers]
    return Fault(str(status), answer="\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body, then="keeps")


RESET_BEFORE = Fault("reset before the request arrived", then="resets")
RESET_AFTER = Fault("reset after the request arrived", forwarded=True, then="resets")
HALF = Fault("half an answer", forwarded=True, half=True)
GARBAGE = Fault("garbage", forwarded=True, answer=b"\x00\x15\x03\x01 nonsense\r\n\r\n")
DRIP = Fault("an answer that drips", forwarded=True, drips=True)
SILENCE = Fault("an answer that never comes", forwarded=True, then="hangs")
WRONG_TYPE = status_fault(200, "Content-Type: text/html", body=b"<html>It works!</html>")
ERRORS = tuple(status_fault(status) for status in (500, 502, 503, 504))
LATE = replace(status_fault(504), name="504 after the request arrived", forwarded=True)
THROTTLED = status_fault(429)
THROTTLED_FOR = status_fault(429, "Retry-After: 1")
UNAVAILABLE_FOR = status_fault(503, "Retry-After: 1")
REDIRECTS = tuple(status_fault(status, "Location: http://elsewhere.invalid/?key=1") for status in (301, 302, 307, 308))

FAULTS = (
    *(RESET_BEFORE, RESET_AFTER, HALF, GARBAGE, DRIP, SILENCE, WRONG_TYPE),
    *(*ERRORS, LATE, THROTTLED, THROTTLED_FOR, UNAVAILABLE_FOR, *REDIRECTS),
)
"""Every fault that a single request can meet; refusing connections is `FaultProxy.refuse`."""

_FAREWELL_SECONDS = 2.0
_FRAMING = ("connection", "content-length", "transfer-encoding")

Rule = Callable[[str, str, bytes], Fault | None]


class FaultProxy:
    """Listens on a free port of loopback for the server at `upstream`, a URL.

    The next of `faults` is applied to each request; when there is none, what `rule` says of its method, path and body.
    `forwarded` and `faulted` count the requests that the server got, and those that met a fault.
    """

    def __init__(self, upstream: str) -> None:
        parts = urlsplit(upstream)
        self._upstream = (parts.hostname or "127.0.0.1", parts.port or 80)
        self.faults: deque[Fault] = deque()
        self.rule: Rule = lambda _method, _path, _body: None
        self.forwarded = self.faulted = 0
        self._over = threading.Event()
        self._connections: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self._port = 0
        self.accept()

    @property
    def url(self) -> str:
        """Where it listens, whether it accepts connections at the moment or not."""
        return f"http://127.0.0.1:{self._port}"

    def accept(self) -> None:
        """Listen, again on the same port."""
        if self._listener is not None:
            return
        self._listener = socket.create_server(("127.0.0.1", self._port), backlog=128)
        self._port = self._listener.getsockname()[1]
        self._start(self._listen, self._listener)

    def refuse(self) -> None:
        """Refuse connections from now on, and break those that there are, as a server that died does."""
        listener, self._listener = self._listener, None
        if listener is not None:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
            listener.close()
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            _reset(connection)
        for thread in self._threads:  # the client sees it when nobody reads from its connection any more
            thread.join(_FAREWELL_SECONDS)

    def close(self) -> None:
        """Break everything off and wait for the threads."""
        self._over.set()
        self.refuse()
        for thread in self._threads:
            thread.join(DEADLINE_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self, work: Callable[[socket.socket], None], connection: socket.socket) -> None:
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        thread = threading.Thread(target=work, args=(connection,), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _listen(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.settimeout(DEADLINE_SECONDS)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._connections.add(connection)
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        server = http.client.HTTPConnection(*self._upstream, timeout=DEADLINE_SECONDS)
        try:
            with suppress(OSError, http.client.HTTPException):
                while not self._over.is_set() and (request := _read_request(connection)) and request.complete:
                    if not self._pass_on(connection, server, request):
                        return
        finally:
            server.close()
            with self._lock:
                self._connections.discard(connection)
            connection.close()

    def _pass_on(self, connection: socket.socket, server: http.client.HTTPConnection, request: "_Request") -> bool:
        """Deal with one request; whether the connection is kept."""
        with self._lock:
            fault = self.faults.popleft() if self.faults else self.rule(request.method, request.path, request.body)
            self.faulted += fault is not None
            self.forwarded += fault is None or fault.forwarded
        if fault is None or fault.forwarded:
            answer = _ask(server, request)
            if fault is None:
                connection.sendall(answer)
                return True
            answer = fault.answer or (answer[: len(answer) // 2] if fault.half else answer if fault.drips else b"")
        else:
            answer = fault.answer
        for piece in (answer[i : i + 1] for i in range(len(answer))) if fault.drips else [answer]:
            connection.sendall(piece)
            if fault.drips and self._over.wait(DRIP_SECONDS):
                break
        if fault.then == "hangs":
            connection.recv(1)  # until the client has had enough
        elif fault.then == "resets":
            _reset(connection)
        return fault.then == "keeps"


class _Request(Struct):
    head: bytes
    body: bytes
    complete: bool

    @property
    def method(self) -> str:
        return self.head.split(b" ", 1)[0].decode("latin-1")

    @property
    def path(self) -> str:
        return self.head.split(b" ", 2)[1].decode("latin-1")


def _read_request(connection: socket.socket) -> _Request | None:
    received = bytearray()
    while (end := received.find(b"\r\n\r\n")) < 0:
        piece = connection.recv(65536)
        if not piece:
            return None
        received += piece
    head, body = bytes(received[:end]), received[end + 4 :]
    length = next((int(value) for name, value in _headers(head) if name == "content-length"), 0)
    while len(body) < length:
        piece = connection.recv(65536)
        if not piece:
            return _Request(head, bytes(body), complete=False)
        body += piece
    return _Request(head, bytes(body), complete=True)


def _headers(head: bytes) -> list[tuple[str, str]]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    pairs = (line.partition(":") for line in lines)
    return [(name.strip().lower(), value.strip()) for name, _, value in pairs]


def _ask(server: http.client.HTTPConnection, request: _Request) -> bytes:
    """What the server answers, framed anew."""
    headers = {name: value for name, value in _headers(request.head) if name not in _FRAMING}
    server.request(request.method, request.path, request.body or None, headers)
    answer = server.getresponse()
    body = answer.read()
    kept = [
        pair
        for pair in answer.getheaders()
        if pair[0].lower() not in ("connection", "transfer-encoding", "content-length")
    ]
    lines = [f"HTTP/1.1 {answer.status} {answer.reason}", *(f"{name}: {value}" for name, value in kept)]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode("latin-1") + body


def _reset(connection: socket.socket) -> None:
    """Tear a connection down without a goodbye."""
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RD)
        connection.close()
