"""A server in a process of its own that takes whatever is posted and gives the answer of a `batch` server at once.

It looks at nothing, so it is never what is measured. As a program: `receiver.py PORT [FOLDER]` listens on loopback (0:
any free port), prints the port, and keeps the bodies in the folder, one file each.
"""

import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

_ANSWER = (
    b'{"success":true,"inserted_conversations":0,"inserted_messages":0,"updated_conversations":0,"updated_messages":0}'
)
_RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
    len(_ANSWER),
    _ANSWER,
)
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)


@contextmanager
def receiving(*, port: int = 0, keep: Path | None = None) -> Iterator[str]:
    """Run one; its url."""
    arguments = [str(port), *([str(keep)] if keep else [])]
    with subprocess.Popen([sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own
        try:
            assert process.stdout is not None  # noqa: S101 - it was asked for
            yield url_of(int(process.stdout.readline()))
        finally:
            process.kill()


def url_of(port: int) -> str:
    """Where one that listens on this port is to be found."""
    return f"http://127.0.0.1:{port}"


def free_port() -> int:
    """A port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def main(port: int, keep: Path | None) -> None:
    """Serve until killed."""
    numbers = count()
    with socket.create_server(("127.0.0.1", port), backlog=128) as server:
        print(server.getsockname()[1], flush=True)
        while True:
            connection, _ = server.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=_serve, args=(connection, keep, numbers), daemon=True).start()


def _serve(connection: socket.socket, keep: Path | None, numbers: Iterator[int]) -> None:
    buffer = bytearray(1024 * 1024)
    with connection:
        while length := connection.recv_into(buffer):
            while (end := buffer.find(b"\r\n\r\n", 0, length)) < 0:
                if not (more := connection.recv_into(memoryview(buffer)[length:])):
                    return
                length += more
            found = _LENGTH.search(buffer, 0, end)
            missing = end + 4 + (int(found[1]) if found else 0) - length
            body = bytearray(buffer[end + 4 : length]) if keep else bytearray()
            while missing > 0 and (taken := connection.recv_into(buffer)):
                missing -= taken
                if keep:
                    body += buffer[:taken]
            if keep and found:
                (keep / f"{next(numbers):06}").write_bytes(body)
            connection.sendall(_RESPONSE)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]) if sys.argv[2:] else None)
