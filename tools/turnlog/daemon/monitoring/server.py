"""A small HTTP server that whoever may connect can do little to: it has few connections, which do not last long.

Python's own http.server reads the requests; it takes 0.7 MB, where a framework takes tens. Each connection has a
thread. One more than there may be costs the oldest its place, so that nobody keeps a probe out by holding on.
"""

import logging
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from turnlog.daemon.monitoring.hosts import is_ours
from turnlog.daemon.monitoring.pages import Get, Page

CONNECTIONS_MAX = 16
CONNECTION_SECONDS = 60.0
"""No connection lasts longer, whatever is sent on it."""

SILENCE_SECONDS = 5.0
"""So long a client may say nothing, or not take what it is told."""

HEAD_BYTES_MAX = 16 * 1024
"""A request's line and headers."""

_POLL_SECONDS = 0.5
_TROUBLE_SECONDS = 0.05

_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
}

_logger = logging.getLogger("turnlog.daemon")


class MonitoringServer(ThreadingHTTPServer):
    """Answers on a listening socket, which it closes. `host` is what the configuration calls its address."""

    daemon_threads = True
    timeout = _POLL_SECONDS

    def __init__(self, listener: socket.socket, host: str, get: Get) -> None:
        super().__init__(listener.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.host, self.get = host, get
        self._connections: dict[Any, float] = {}  # when each began, oldest first
        self._lock = threading.Lock()
        self._stopping = threading.Event()

    def serve(self, beat: Callable[[], object]) -> None:
        """Answer until `stop`; `beat` is called at least every second."""
        while not self._stopping.is_set():
            self.handle_request()
            beat()
            with self._lock:
                self._hang_up(lambda began: time.monotonic() - began >= CONNECTION_SECONDS)
        self.server_close()
        with self._lock:
            self._hang_up(lambda _: True)

    def stop(self) -> None:
        """Have `serve` end; from any thread, and without waiting for it."""
        self._stopping.set()
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)  # wakes it up

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection. Raises OSError, which is passed over; but not again and again at full speed."""
        try:
            return super().get_request()
        except OSError:
            self._stopping.wait(_TROUBLE_SECONDS)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread of its own; there are only so many."""
        with self._lock:
            if len(self._connections) >= CONNECTIONS_MAX:
                oldest = next(iter(self._connections.values()))
                self._hang_up(lambda began: began <= oldest)
            self._connections[request] = time.monotonic()
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        with self._lock:
            self._connections.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """What went wrong with a connection is of no interest but to its client, who is gone."""

    def _hang_up(self, is_over: Callable[[float], bool]) -> None:
        """Wake the threads of some connections, which close them."""
        for connection, began in list(self._connections.items()):
            if is_over(began):
                del self._connections[connection]
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


class _Lines:
    """The lines of a request. Raises TimeoutError, at which http.server hangs up, when they come to too many bytes."""

    def __init__(self, file: Any) -> None:
        self.left = HEAD_BYTES_MAX
        self.close = file.close
        self._file = file

    def readline(self, size: int) -> bytes:
        """One line, or a part of it."""
        line: bytes = self._file.readline(min(size, self.left + 1))
        self.left -= len(line)
        if self.left < 0:
            raise TimeoutError
        return line


class _Handler(BaseHTTPRequestHandler):
    """One connection: GET and HEAD, without a body, for a host that is ours."""

    server: MonitoringServer
    protocol_version = "HTTP/1.1"
    timeout = SILENCE_SECONDS

    def setup(self) -> None:
        super().setup()
        self.rfile: Any = _Lines(self.rfile)

    def handle_one_request(self) -> None:
        self.rfile.left = HEAD_BYTES_MAX
        super().handle_one_request()

    def do_GET(self) -> None:
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            return self.send_error(400, "a request here has no body")
        hosts = self.headers.get_all("Host", [])
        if len(hosts) != 1 or not is_ours(hosts[0], self.server.host, self.connection.getsockname()[0]):
            return self.send_error(403, "the Host header names neither loopback nor the address that is configured")
        path = self.path.partition("?")[0]
        try:
            page = self.server.get(path, self.headers.get("Accept", ""))
        except Exception:
            _logger.exception("a page of the monitoring broke")
            return self.send_error(500, "the daemon has a bug; its log says which")
        return self._send(page)

    do_HEAD = do_GET  # noqa: N815 - http.server's name

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002 - its own
        """A sentence instead of a page of HTML that repeats the request."""
        self.close_connection = True
        if code == 501:
            code, message = 405, "there is GET and HEAD"
        self._send(Page(code, "text/plain; charset=utf-8", f"{message or 'this is no request'}\n".encode()))

    def _send(self, page: Page) -> None:
        self.send_response(page.code)
        self.send_header("Content-Type", page.kind)
        self.send_header("Content-Length", str(len(page.body)))
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        if page.code == 405:
            self.send_header("Allow", "GET, HEAD")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(page.body)

    def version_string(self) -> str:
        return "turnlog"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
        """Who asked for what is in no log."""
