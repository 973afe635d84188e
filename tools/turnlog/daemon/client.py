"""Asking a daemon that runs: small, because `turnlog daemon status` is to be quick."""

import socket
import time
from typing import Any

import msgspec

from turnlog.daemon.status import Status
from turnlog.errors import TurnlogError

_ANSWER_BYTES_MAX = 64 * 1024 * 1024

_AGAIN_SECONDS = 0.01


STATUS_SECONDS = 3.0
"""So long is waited for a daemon to say how it is."""


class NoAnswer(TurnlogError):
    """The daemon runs, as its lock says, and does not answer."""


def ask_raw(path: str, command: str, *, seconds: float) -> bytes:
    """The daemon's answer to a command, a line of JSON. Raises NoAnswer."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(seconds)
            _connect(connection, path, seconds)
            connection.sendall(msgspec.json.encode({"command": command}) + b"\n")
            pieces, length = [], 0
            while length <= _ANSWER_BYTES_MAX and (piece := connection.recv(65536)):
                pieces.append(piece)
                length += len(piece)
    except OSError as error:
        raise NoAnswer(f"the daemon does not answer at {path}: {error.strerror or error}") from error
    answer = b"".join(pieces)
    if not answer.endswith(b"\n"):
        raise NoAnswer(f"the daemon at {path} hung up")
    return answer


def _connect(connection: socket.socket, path: str, seconds: float) -> None:
    """Connect, also where many others do: a Unix socket with a timeout does not wait for its turn by itself."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return connection.connect(path)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(_AGAIN_SECONDS)


def ask(path: str, command: str, *, seconds: float = 5.0) -> dict[str, Any]:
    """The same, decoded."""
    answer: dict[str, Any] = msgspec.json.decode(ask_raw(path, command, seconds=seconds))
    return answer


def ask_status(path: str) -> Status:
    """How the daemon is, as it says itself. Raises NoAnswer."""
    return msgspec.json.decode(ask_raw(path, "status", seconds=STATUS_SECONDS), type=_StatusAnswer).status


class _StatusAnswer(msgspec.Struct, frozen=True):
    status: Status
