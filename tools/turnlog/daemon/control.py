"""The control socket: a line of JSON in, a line of JSON out.

::

    {"command": "status"}   ->  {"ok": true, "status": {...}}                       see turnlog.daemon.status
    {"command": "reload"}   ->  {"ok": true, "generation": 2, "changes": [...]}, or {"ok": false, "error": "..."}
    {"command": "drain"}    ->  {"ok": true}
    {"command": "stop"}     ->  {"ok": true}

It is a Unix socket, 0600 in a folder that is 0700 and ours, and where the system tells who asks, nobody else is
answered. One thread serves all; whoever sends nothing, too much or no JSON, or does not take the answer, is hung up on,
and when there are too many the one that has been there for longest is.
"""

import logging
import os
import selectors
import socket
import struct
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import msgspec

from turnlog.errors import TurnlogError

REQUEST_BYTES_MAX = 64 * 1024
CONNECTIONS_MAX = 64
CLIENT_SECONDS = 5.0
"""How long a client may take to send its line, and to take the answer."""

_PATH_BYTES_MAX = 100
"""sun_path has 104 bytes on macOS and 108 on Linux, the last one a NUL (unix(7))."""

_logger = logging.getLogger("turnlog.daemon")

Answer = Callable[[dict[str, Any]], None]
"""Gives the answer to a request; from any thread, once."""

Handle = Callable[[str, Answer], None]
"""Does what a command asks for, and answers when it is done; must not wait."""


def socket_path(directory: Path) -> Path:
    """Where the socket for a log's folder is: in the runtime folder, by a hash, for a socket's path is short.

    systemd names a runtime folder of the service's own (RuntimeDirectory=, systemd.exec(5)), which may be the only one
    that it can write to.
    """
    name = sha256(os.fsencode(directory.resolve())).hexdigest()[:16] + ".sock"
    if given := os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]:
        return Path(given) / name
    folder = _runtime_folder()
    if len(os.fsencode(folder / name)) > _PATH_BYTES_MAX or not _may_have(folder):
        folder = Path(tempfile.gettempdir()) / f"turnlog-{os.getuid()}"
    return folder / name


def _runtime_folder() -> Path:
    from platformdirs import user_runtime_path  # 15 ms that a command can do without: the lock's file has the path

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that XDG_RUNTIME_DIR is not set is nobody's fault
        return user_runtime_path("turnlog", appauthor=False)


def _may_have(folder: Path) -> bool:
    """Whether a folder can be made there, if it is not there yet, where only we, or root, could put another."""
    there = next((path for path in folder.parents if path.exists()), folder)
    return os.access(there, os.W_OK | os.X_OK) and there.stat().st_uid in (os.getuid(), 0)


def make_socket_folder(path: Path) -> None:
    """Make the folder of a socket, 0700. Raises TurnlogError if that cannot be, or it is not ours alone."""
    folder = path.parent
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.lstat()
    except OSError as error:
        raise TurnlogError(f"there is no folder for the control socket: {folder}: {error.strerror}") from error
    if status.st_uid != os.getuid() or status.st_mode & 0o077 or not folder.is_dir() or folder.is_symlink():
        raise TurnlogError(f"the folder {folder} of the control socket is not yours alone; remove it, or chmod 700 it")


class _Client:
    """One connection: what came of its line, or what is left to send of the answer."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.received = b""
        self.answer: memoryview | None = None
        self.is_asked = False
        self.deadline = time.monotonic() + CLIENT_SECONDS


class ControlServer:
    """Serves one socket in a thread of its own, until `close`. Raises OSError if it cannot listen."""

    def __init__(self, path: Path, handle: Handle) -> None:
        self.path = path
        self._handle = handle
        self._clients: dict[socket.socket, _Client] = {}
        self._answered: SimpleQueue[tuple[_Client, bytes]] = SimpleQueue()
        self._listener = _listen(path)
        self._inode = path.stat().st_ino
        self._wake, self._waking = socket.socketpair()
        for end in (self._listener, self._wake, self._waking):
            end.settimeout(0)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._is_closing = False
        self._thread = threading.Thread(target=self._serve, name="control", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Answer what was asked, for a moment, then hang up on everybody and take the socket away."""
        self._is_closing = True
        self._wake_up()
        self._thread.join(2.0)
        with suppress(OSError):
            if self.path.stat().st_ino == self._inode:  # another daemon may listen there by now
                self.path.unlink()

    def _serve(self) -> None:
        until: float | None = None
        while until is None or (time.monotonic() < until and any(c.is_asked for c in self._clients.values())):
            if self._is_closing and until is None:
                until = time.monotonic() + 1.0
                continue
            for key, _ in self._selector.select(self._seconds_to_wait()):
                self._serve_one(key.fileobj)
            self._send_answers()
            for client in [c for c in self._clients.values() if time.monotonic() >= c.deadline]:
                self._hang_up(client)
        for client in list(self._clients.values()):
            self._hang_up(client)
        for end in (self._listener, self._wake, self._waking):
            end.close()
        self._selector.close()

    def _seconds_to_wait(self) -> float | None:
        deadlines = [client.deadline for client in self._clients.values()]
        if self._is_closing:
            return 0.1
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None

    def _serve_one(self, ready: Any) -> None:
        if ready is self._listener:
            self._accept()
        elif ready is self._wake:
            with suppress(BlockingIOError):
                self._wake.recv(4096)
        elif (client := self._clients.get(ready)) is not None:
            try:
                self._receive(client) if client.answer is None else self._send(client)
            except BlockingIOError:
                pass
            except OSError:
                self._hang_up(client)

    def _accept(self) -> None:
        with suppress(OSError):  # it has gone again, or there are no descriptors left
            connection, _ = self._listener.accept()
            connection.settimeout(0)
            if not _is_one_of_us(connection):
                connection.close()
                return
            if len(self._clients) >= CONNECTIONS_MAX:
                self._hang_up(next(iter(self._clients.values())))
            self._clients[connection] = _Client(connection)
            self._selector.register(connection, selectors.EVENT_READ)

    def _receive(self, client: _Client) -> None:
        data = client.connection.recv(REQUEST_BYTES_MAX)
        if not data or len(client.received) + len(data) > REQUEST_BYTES_MAX:
            self._hang_up(client)
            return
        client.received += data
        line, newline, _ = client.received.partition(b"\n")
        if newline:
            client.is_asked = True
            client.deadline = time.monotonic() + CLIENT_SECONDS
            self._selector.unregister(client.connection)  # nothing more is read, and it may have shut its side down
            self._ask(client, line)

    def _ask(self, client: _Client, line: bytes) -> None:
        def answer(value: dict[str, Any]) -> None:
            self._answered.put((client, msgspec.json.encode(value) + b"\n"))
            self._wake_up()

        try:
            command = msgspec.json.decode(line, type=dict[str, Any]).get("command")
            self._handle(str(command), answer)
        except (msgspec.MsgspecError, RecursionError):
            answer({"ok": False, "error": 'a request is a line of JSON such as {"command": "status"}'})
        except Exception as error:
            _logger.exception("a command to the daemon broke it")
            answer({"ok": False, "error": f"the daemon has a bug: {type(error).__name__}"})

    def _send_answers(self) -> None:
        while not self._answered.empty():
            client, answer = self._answered.get()
            if client.connection in self._clients:
                client.answer = memoryview(answer)
                client.deadline = time.monotonic() + CLIENT_SECONDS
                self._selector.register(client.connection, selectors.EVENT_WRITE)

    def _send(self, client: _Client) -> None:
        assert client.answer is not None  # noqa: S101 - only then it is asked whether it can be written to
        client.answer = client.answer[client.connection.send(client.answer) :]
        if not client.answer:
            self._hang_up(client)

    def _hang_up(self, client: _Client) -> None:
        if self._clients.pop(client.connection, None) is not None:
            with suppress(KeyError):
                self._selector.unregister(client.connection)
            client.connection.close()

    def _wake_up(self) -> None:
        with suppress(OSError):  # it is full of calls already, or closed
            self._waking.send(b"w")


def _listen(path: Path) -> socket.socket:
    """Listen where nobody else does: whoever holds the daemon's lock may take the place of a dead one."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(CONNECTIONS_MAX)
    except BaseException:
        listener.close()
        raise
    return listener


def _is_one_of_us(connection: socket.socket) -> bool:
    """Whether the same user or root asks, where the system tells (SO_PEERCRED, unix(7))."""
    if sys.platform != "linux":
        return True
    size = struct.calcsize("3i")
    _, user, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return user in (os.getuid(), 0)
