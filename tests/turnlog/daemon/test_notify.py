"""What systemd is told, on real datagram sockets."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from turnlog.daemon.notify import Notifier, watchdog_seconds

DEADLINE_SECONDS = 10.0


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """Listens as systemd does."""
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as listening:
        listening.settimeout(DEADLINE_SECONDS)
        listening.bind(str(tmp_path / "notify"))
        yield listening


def _notifier(manager: socket.socket) -> Notifier:
    return Notifier({"NOTIFY_SOCKET": manager.getsockname()})


@pytest.mark.parametrize(
    ("tell", "told"),
    [
        (lambda n: n.ready(), "READY=1"),
        (lambda n: n.ready("3 sinks"), "READY=1\nSTATUS=3 sinks"),
        (lambda n: n.stopping("draining"), "STOPPING=1\nSTATUS=draining"),
        (lambda n: n.status("line 1\nREADY=1\tand  more"), "STATUS=line 1 READY=1 and more"),
        (lambda n: n.alive(), "WATCHDOG=1"),
        (lambda n: n.main_pid(4711), "MAINPID=4711"),
        (lambda n: n.status("问" * 1000), "STATUS=" + "问" * 500),
    ],
    ids=["ready", "ready and status", "stopping", "a status is one line", "alive", "main pid", "a status has an end"],
)
def test_each_message_is_one_datagram(manager: socket.socket, tell: Callable[[Notifier], bool], told: str) -> None:
    """In the protocol's words; a text cannot add a line of its own."""
    assert tell(_notifier(manager)) is True
    assert manager.recv(4096).decode() == told


def test_a_reload_tells_when_it_began(manager: socket.socket) -> None:
    """In microseconds of the monotonic clock, which never goes back."""
    notifier = _notifier(manager)
    times = []
    for _ in range(2):
        assert notifier.reloading()
        first, second = manager.recv(4096).decode().split("\n")
        assert first == "RELOADING=1"
        times.append(int(second.removeprefix("MONOTONIC_USEC=")))
    assert 0 < times[0] <= times[1]


@pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets are Linux's")
def test_an_abstract_socket_is_reached_by_its_name() -> None:
    """Its `@` is the kernel's NUL."""
    name = f"turnlog-test-{os.getpid()}"
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as listening:
        listening.settimeout(DEADLINE_SECONDS)
        listening.bind(f"\0{name}")
        assert Notifier({"NOTIFY_SOCKET": f"@{name}"}).alive()
        assert listening.recv(100) == b"WATCHDOG=1"


@pytest.mark.parametrize(
    "named", ["", "@", "relative", "/no/such/socket", "/dev/null", "/" + "x" * 200, "vsock:2:1", "/\udcff", "/a\0b"]
)
def test_where_nobody_listens_nothing_happens(named: str) -> None:
    """A service that cannot tell how it is goes on being what it is."""
    notifier = Notifier({"NOTIFY_SOCKET": named})
    assert not notifier.ready("x")
    assert not notifier.alive()


def test_a_manager_that_has_gone_harms_nobody(manager: socket.socket) -> None:
    """Nor does one whose queue is full: sending ends in bounded time."""
    notifier = _notifier(manager)
    while notifier.alive():
        pass  # until its queue is full
    assert notifier.ready() is False
    manager.close()
    assert notifier.ready() is False


def test_an_empty_status_is_not_sent(manager: socket.socket) -> None:
    """There is no datagram without a word."""
    assert _notifier(manager).status(" \n ") is False


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "60000000"}, 60.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}, 60.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": ""}, 60.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "500000"}, 0.5),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdogs_time_is_that_of_the_environment(environ: dict[str, str], seconds: float | None) -> None:
    """If it is meant for this process; nonsense is no watchdog."""
    assert watchdog_seconds(environ) == seconds


def test_the_environment_is_that_of_the_process(manager: socket.socket) -> None:
    """Without any other being named."""
    program = "from turnlog.daemon.notify import Notifier; raise SystemExit(not Notifier().ready())"
    environ = {**os.environ, "NOTIFY_SOCKET": manager.getsockname()}
    subprocess.run([sys.executable, "-c", program], env=environ, check=True, timeout=60)
    assert manager.recv(100) == b"READY=1"
