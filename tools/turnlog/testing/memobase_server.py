"""A small HTTP/1.1 server for doubles: a thread a connection, connections that are kept, an answer in one write."""

import json
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from typing import Any

from turnlog.testing.memobase_api import Request
from turnlog.testing.memobase_rows import Reply

Answer = Callable[[Request], Reply]

_POLL_SECONDS = 0.02


class LoopbackServer:
    """Listens on a port of loopback, 0 for any, from the start on. `connected` is called for each new connection.

    Raises OSError where the port is not to be had.
    """

    def __init__(self, answer: Answer, connected: Callable[[], None], port: int = 0) -> None:
        self._answer = answer
        self._connected = connected
        self._server: _Server | None = None
        self.port = port
        self.start()

    def start(self) -> None:
        """Listen, if it does not; after a stop, on the same port."""
        if self._server is None:
            self._server = _Server(self._answer, self._connected, self.port)
            self.port = self._server.server_address[1]
            self._server.start()

    def stop(self) -> None:
        """Refuse connections, break those that there are, and wait for the threads."""
        server, self._server = self._server, None
        if server is not None:
            server.stop()


class _Server(ThreadingMixIn, TCPServer):
    allow_reuse_address = True
    request_queue_size = 128
    daemon_threads = False  # so that closing waits for them

    server_address: tuple[str, int]

    def __init__(self, answer: Answer, connected: Callable[[], None], port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.answer = answer
        self._connected = connected
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self.serve_forever, args=(_POLL_SECONDS,), daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.shutdown()
        self._thread.join()
        self.socket.close()  # before the connections break: who connects anew is refused
        with self._lock:
            for connection in self._connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads
        self.server_close()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._connections.add(request)
        self._connected()
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # the client has gone: that is no error here
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def _answer(self) -> None:
        said = self.headers.get("content-length", "0")
        if "transfer-encoding" in self.headers or not said.isdecimal():
            self.send_error(HTTPStatus.LENGTH_REQUIRED)
            return
        length = int(said)
        body = self.rfile.read(length)
        if len(body) < length:
            self.close_connection = True
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        reply = self.server.answer(Request(self.command, self.path, headers, body))
        if reply.status == 0:
            self.close_connection = True
            return
        told = json.dumps(reply.body).encode("ascii")
        phrase = HTTPStatus(reply.status).phrase
        head = (
            f"HTTP/1.1 {reply.status} {phrase}\r\nContent-Type: application/json\r\nContent-Length: {len(told)}\r\n\r\n"
        )
        self.wfile.write(head.encode("ascii") + told)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _answer  # noqa: N815 - http.server looks for these

    def log_message(self, *_: object) -> None:
        pass
