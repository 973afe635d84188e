"""The server: what it takes for a request, and that nobody can do anything to it."""

import threading
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import turnlog.daemon.monitoring.server as module
from turnlog.daemon.monitoring.pages import Page

from ...waiting import until
from .support import Asked, everything, serving

PAGE = Page(200, "text/plain", b"well\n")
HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\n"


def get(path: str, accept: str) -> Page:
    """One page for all, and one that breaks."""
    if path == "/bug":
        raise RuntimeError("canary 4711")
    return PAGE


@pytest.fixture
def server() -> Iterator[Asked]:
    with serving(get) as asked:
        yield asked


def test_it_answers_get_and_head(server: Asked) -> None:
    """The same, but for the body; no page of another origin may read it, and nobody keeps it."""
    answer = server.ask("GET", "/?x=1")
    assert (answer.status, answer.content) == (200, b"well\n")  # type: ignore[attr-defined]
    head = server.ask("HEAD", "/")
    assert (head.status, head.content, head.headers["Content-Length"]) == (200, b"", "5")  # type: ignore[attr-defined]
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Server"] == "turnlog"
    assert [name for name in answer.headers if name.lower().startswith("access-control")] == []


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PATCH", "NONSENSE"])
def test_there_is_no_other_method(server: Asked, method: str) -> None:
    """405, with those that there are."""
    answer = server.ask(method, "/")
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")


def test_a_host_that_is_not_ours_is_refused(server: Asked) -> None:
    """Also two of them, and none."""
    assert server.code("GET", "/", Host="evil.example") == 403
    assert b" 403 " in server.say(b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n")
    assert b" 403 " in server.say(b"GET / HTTP/1.1\r\n\r\n")
    assert b" 403 " in server.say(b"GET / HTTP/1.0\r\n\r\n")


def test_a_request_has_no_body(server: Asked) -> None:
    """What is sent behind it is not taken for the next request."""
    smuggled = b"GET /bug HTTP/1.1\r\nHost: localhost\r\n\r\n"
    said = server.say(HEAD + b"Content-Length: %d\r\n\r\n" % len(smuggled) + smuggled)
    assert said.startswith(b"HTTP/1.1 400 ")
    assert said.count(b"HTTP/1.1") == 1
    assert b" 400 " in server.say(HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")


def test_a_connection_is_kept(server: Asked) -> None:
    """For one request after the other, also of those that are sent at once."""
    said = server.say((HEAD + b"\r\n") * 3 + HEAD + b"Connection: close\r\n\r\n")
    assert said.count(b"well\n") == 4


def test_a_bug_is_told_without_its_text(server: Asked, caplog: pytest.LogCaptureFixture) -> None:
    """500, and the next request is answered."""
    answer = server.ask("GET", "/bug")
    assert answer.status == 500
    assert b"canary" not in answer.content  # type: ignore[attr-defined]
    assert server.code("GET", "/") == 200
    assert "a page of the monitoring broke" in caplog.text


@pytest.mark.parametrize("line", [b"X: " + b"x" * 200_000 + b"\r\n", b"X: x\r\n" * 10_000, b"x" * 100_000])
def test_a_head_without_end_is_hung_up_on(server: Asked, line: bytes) -> None:
    """Long before it costs memory."""
    with server.connect() as connection:
        try:
            connection.sendall(HEAD + line)
        except (ConnectionResetError, BrokenPipeError):
            return
        assert b" 200 " not in everything(connection)
    assert server.code("GET", "/") == 200


@settings(max_examples=30)
@given(st.binary(max_size=200) | st.binary(max_size=50).map(lambda junk: HEAD + junk + b"\r\n\r\n"))
def test_whatever_is_sent_the_next_request_is_answered(junk: bytes) -> None:
    """Bytes of any kind, and then nothing more."""
    with serving(get) as server:
        with server.connect() as connection:
            connection.sendall(junk)
            connection.shutdown(1)
            everything(connection)
        assert server.code("GET", "/") == 200


def test_who_holds_on_keeps_nobody_out(server: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many that connect and say little, the oldest lose their places; threads are no more than connections."""
    monkeypatch.setattr(module._Handler, "timeout", 600.0)
    held = [server.connect() for _ in range(100)]
    for connection in held[::2]:
        try:
            connection.sendall(b"GET / HT")
        except OSError:
            continue
    for _ in range(5):
        assert server.code("GET", "/") == 200
    until(lambda: threading.active_count() <= module.CONNECTIONS_MAX + 10)
    for connection in held:
        connection.close()


def test_silence_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """And a connection ends even if something is said all the time."""
    monkeypatch.setattr(module._Handler, "timeout", 0.1)
    with serving(get) as server, server.connect() as connection:
        assert everything(connection) == b""
    monkeypatch.setattr(module._Handler, "timeout", 10.0)
    monkeypatch.setattr(module, "CONNECTION_SECONDS", 0.2)
    monkeypatch.setattr(module.MonitoringServer, "timeout", 0.05)
    with serving(get) as server, server.connect() as connection:
        dripping = threading.Thread(target=_drip, args=(connection,))
        dripping.start()
        everything(connection)
        dripping.join(10)
        assert not dripping.is_alive()


def _drip(connection: object) -> None:
    """Say a byte now and then until nobody listens."""
    pause = threading.Event()
    try:
        while not pause.wait(0.02):
            connection.sendall(b"x")  # type: ignore[attr-defined]
    except OSError:
        return
