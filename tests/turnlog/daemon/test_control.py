"""The control socket: whoever asks in the right way is answered, whatever others do to it."""

import json
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

import turnlog.daemon.control as module
from turnlog.daemon.client import NoAnswer, ask, ask_raw
from turnlog.daemon.control import Answer, ControlServer, make_socket_folder, socket_path
from turnlog.errors import TurnlogError

from ..waiting import until

PATIENCE_SECONDS = 20


class Handler:
    """Answers what it is asked; `later` is answered when the test says so."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.waiting: list[Answer] = []

    def __call__(self, command: str, answer: Answer) -> None:
        self.asked.append(command)
        if command == "later":
            self.waiting.append(answer)
        elif command == "break":
            raise ValueError("what Ann said")
        elif command == "long":
            answer({"ok": True, "text": "x" * 5_000_000})
        else:
            answer({"ok": True, "command": command})


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose name is short enough for a socket."""
    with TemporaryDirectory(prefix="tl") as folder:
        yield Path(folder)


@pytest.fixture
def handler() -> Handler:
    return Handler()


@pytest.fixture
def server(short: Path, handler: Handler) -> Iterator[ControlServer]:
    server = ControlServer(short / "s", handler)
    yield server
    server.close()
    assert not (short / "s").exists()
    assert not any(thread.name == "control" for thread in threading.enumerate())


def connect(server: ControlServer) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(str(server.path))
    connection.settimeout(PATIENCE_SECONDS)
    return connection


def is_well(server: ControlServer) -> bool:
    return ask(str(server.path), "status")["ok"] is True


def test_a_line_is_answered_by_a_line(server: ControlServer, handler: Handler) -> None:
    """And the connection ends; also where the client has nothing more to say and shuts its side down."""
    assert ask(str(server.path), "status") == {"ok": True, "command": "status"}
    with connect(server) as connection:
        connection.sendall(b'{"command": "status"}\n')
        connection.shutdown(socket.SHUT_WR)
        assert json.loads(connection.makefile("rb").read()) == {"ok": True, "command": "status"}
    assert len(ask(str(server.path), "long")["text"]) == 5_000_000


def test_it_is_the_owner_s_alone(server: ControlServer) -> None:
    """The socket is 0600."""
    assert stat.S_IMODE(server.path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "line", [b"\n", b"nonsense\n", b"[1]\n", b"\xff\xfe\n", b"[" * 50_000 + b"\n", b'{"command": {}}\n']
)
def test_what_is_no_request_is_told_so(server: ControlServer, line: bytes) -> None:
    """In an answer; nothing breaks."""
    with connect(server) as connection:
        connection.sendall(line)
        answer = json.loads(connection.makefile("rb").readline())
        assert answer["ok"] is False or line.startswith(b'{"command"')
    assert is_well(server)


def test_a_bug_behind_it_is_an_answer_without_what_it_says(server: ControlServer) -> None:
    """Its text may be a message's."""
    answer = ask(str(server.path), "break")
    assert answer == {"ok": False, "error": "the daemon has a bug: ValueError"}
    assert is_well(server)


def test_one_that_sends_without_end_is_hung_up_on(server: ControlServer) -> None:
    """After 64 KiB without a newline."""
    with connect(server) as connection, pytest.raises(OSError):  # noqa: PT011 - a pipe that broke, or a reset
        for _ in range(10_000):
            connection.sendall(b"x" * 65536)
    assert is_well(server)


def test_one_that_never_sends_is_hung_up_on_in_time(server: ControlServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """As is one that never takes its answer. Nobody waits for them."""
    monkeypatch.setattr(module, "CLIENT_SECONDS", 0.2)
    with connect(server) as silent, connect(server) as deaf:
        deaf.sendall(b'{"command": "long"}\n')
        assert is_well(server)
        assert silent.recv(1) == b""
        until(lambda: not server._clients)


def test_many_that_say_nothing_keep_nobody_out(server: ControlServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that has been there for longest makes room, long before its time is over."""
    monkeypatch.setattr(module, "CLIENT_SECONDS", 10 * PATIENCE_SECONDS)
    connections = [connect(server) for _ in range(3 * module.CONNECTIONS_MAX)]
    assert is_well(server)
    assert connections[0].recv(1) == b""
    for connection in connections:
        connection.close()
    assert is_well(server)


def test_those_who_leave_at_once_leave_nothing_behind(server: ControlServer) -> None:
    """Before, during and after their line, with or without an answer to come."""
    for line in (b"", b'{"comm', b'{"command": "status"}\n', b'{"command": "long"}\n', b'{"command": "later"}\n'):
        for _ in range(20):
            with connect(server) as connection:
                connection.sendall(line)
    assert is_well(server)


def test_an_answer_may_come_later_and_others_do_not_wait(server: ControlServer, handler: Handler) -> None:
    """A command that takes its time is one client's affair."""
    answers: list[dict[str, Any]] = []
    asking = threading.Thread(target=lambda: answers.append(ask(str(server.path), "later")))
    asking.start()
    until(lambda: handler.waiting)
    assert is_well(server)
    handler.waiting[0]({"ok": True})
    asking.join(PATIENCE_SECONDS)
    assert answers == [{"ok": True}]


def test_a_server_that_has_gone_gives_no_answer(short: Path) -> None:
    """One sentence says so: nobody is there, somebody hangs up, or does not answer in time."""
    with pytest.raises(NoAnswer, match="does not answer"):
        ask(str(short / "s"), "status")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(short / "s"))
        listener.listen()
        with pytest.raises(NoAnswer, match="does not answer"):
            ask_raw(str(short / "s"), "status", seconds=0.05)


def test_a_dead_daemon_s_socket_is_taken_over(short: Path, handler: Handler) -> None:
    """It is left behind by one that was killed; and the end of an older one does not take it away."""
    (short / "s").touch()
    first = ControlServer(short / "s", handler)
    second = ControlServer(short / "s", handler)
    first.close()
    assert is_well(second)
    second.close()


def test_the_path_is_short_however_long_the_folder_s_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And another one for each folder; where the runtime folder's name is long, it is in the temporary folder."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / ("x" * 200)))
    paths = {socket_path(tmp_path / name) for name in ("a", "b" * 200)}
    assert len(paths) == 2
    assert all(len(str(path)) < 100 for path in paths)


def test_a_service_manager_s_runtime_folder_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The first one, if it names several: a locked-down service may write nowhere else."""
    monkeypatch.setenv("RUNTIME_DIRECTORY", f"{tmp_path}:/elsewhere")
    assert socket_path(tmp_path / "log").parent == tmp_path


def test_a_folder_that_others_can_write_to_is_refused(short: Path) -> None:
    """Who could put a socket there could play the daemon."""
    folder = short / "turnlog"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    with pytest.raises(TurnlogError, match="not yours alone"):
        make_socket_folder(folder / "x.sock")
    folder.chmod(0o700)
    make_socket_folder(folder / "x.sock")
