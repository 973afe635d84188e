import itertools
import json
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests

from turnlog.errors import WrongUsage
from turnlog.web.receiver import ReceiverOptions, create_app, serve
from turnlog.web.store import Store

TOKEN = "right-token"
DEADLINE_SECONDS = 30

Server = Any  # the class in conftest.py, which is no module that could be imported


def make_body(*texts: str) -> dict[str, Any]:
    messages = [{"uuid": str(uuid4()), "role": "user", "content_text": text} for text in texts]
    return {"source_type": "gpt", "conversations": [{"uuid": str(uuid4()), "messages": messages}]}


def read_texts(store: Path) -> list[str]:
    with closing(sqlite3.connect(store)) as connection:
        return [text for (text,) in connection.execute("SELECT content_text FROM messages ORDER BY rowid")]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.01)  # between two looks


def refuses_connections(server: Server) -> bool:
    try:
        with server.connect():
            return False
    except OSError:
        return True


def fail(url: str) -> None:
    raise AssertionError(f"it listens on {url}")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(running: Any, tmp_path: Path, number: signal.Signals) -> None:
    """SIGTERM and SIGINT make `serve` return, with nothing logged and SQLite's own files folded away."""
    with running(tmp_path / "store.sqlite") as server:
        assert server.post(json=make_body("a")).status_code == 200
        assert server.health(Authorization="Bearer no").status_code == 401
        assert server.end(number) == (0, "stopped\n", "")
    assert [file.name for file in tmp_path.iterdir()] == ["store.sqlite"]


def test_a_request_in_flight_is_finished(running: Any, tmp_path: Path) -> None:
    """A request whose body is still coming when the signal arrives is stored and answered."""
    body = json.dumps(make_body("last")).encode()
    head = f"POST /internal/v1/sync/batch HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
    head += f"Expect: 100-continue\r\nContent-Length: {len(body)}\r\n\r\n"
    with (
        running(tmp_path / "store.sqlite") as server,
        server.connect() as connection,
    ):
        connection.sendall(head.encode())
        assert server.read_head(connection).startswith(b"HTTP/1.1 100 ")
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: refuses_connections(server))
        connection.sendall(body)
        assert server.read_head(connection).startswith(b"HTTP/1.1 200 ")
        assert server.end()[0] == 0
    assert read_texts(tmp_path / "store.sqlite") == ["last"]


def test_a_sender_that_never_finishes_is_told(running: Any, tmp_path: Path) -> None:
    """A body that never comes does not hold up the end; its sender gets 503, and the log no traceback."""
    head = f"POST /internal/v1/sync/batch HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
    head += "Expect: 100-continue\r\nContent-Length: 1000\r\n\r\n"
    with running(tmp_path / "store.sqlite", impatient=True) as server, server.connect() as connection:
        connection.sendall(head.encode())
        assert server.read_head(connection).startswith(b"HTTP/1.1 100 ")
        code, out, err = server.end()
        assert server.read_head(connection).startswith(b"HTTP/1.1 503 ")
    assert (code, out) == (0, "stopped\n")
    assert "Traceback" not in err


def test_the_same_port_at_once(running: Any, tmp_path: Path) -> None:
    """A server starts on the port of one that ended this moment, with a connection open, or that was killed."""
    store = tmp_path / "store.sqlite"
    with running(store) as server, requests.Session() as session:
        session.trust_env = False
        session.get(server.url + "/api/v1/health", timeout=DEADLINE_SECONDS)
        port = server.port
        server.end()
        with running(store, port=port) as second:
            assert second.post(json=make_body("a")).status_code == 200
            second.end(signal.SIGKILL)
        with running(store, port=port) as third:
            assert third.url == server.url
            assert third.totals() == (1, 1)


def test_kill_keeps_what_was_acknowledged(running: Any, tmp_path: Path) -> None:
    """Killed at any moment, the store holds every message whose batch was answered with 200, and no half batch."""
    store = tmp_path / "store.sqlite"
    acknowledged: list[int] = []
    with running(store) as server:

        def work() -> None:
            for number in itertools.count():
                try:
                    if server.post(json=make_body(f"{number}", f"{number}")).status_code == 200:
                        acknowledged.append(number)
                except requests.RequestException:
                    return

        thread = threading.Thread(target=work)
        thread.start()
        wait_until(lambda: len(acknowledged) >= 20)
        server.end(signal.SIGKILL)
        thread.join(DEADLINE_SECONDS)
    with running(store) as again:
        conversations, messages = again.totals()
        assert messages == 2 * conversations
        assert conversations in (len(acknowledged), len(acknowledged) + 1)
    texts = read_texts(store)
    assert texts[: 2 * len(acknowledged)] == [f"{number}" for number in acknowledged for _ in range(2)]


def test_a_busy_store_is_503(running: Any, tmp_path: Path) -> None:
    """While another program holds the file, batches are 503 (not the batch's fault), and taken afterwards."""
    store = tmp_path / "store.sqlite"
    with running(store, impatient=True) as server:
        with closing(sqlite3.connect(store, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            response = server.post(json=make_body())
            assert response.status_code == 503
            assert response.json()["error"] == "the store cannot be used at the moment: database is locked"
        assert server.post(json=make_body()).status_code == 200
        assert "database is locked" in server.end()[2]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])  # noqa: S104  (refused)
def test_no_listening_elsewhere_without_a_token(tmp_path: Path, host: str) -> None:
    """Without a token any address but loopback is refused before anything is opened."""
    options = ReceiverOptions(host=host, port=0, token=None, store=tmp_path / "store.sqlite")
    with pytest.raises(WrongUsage, match="refuses to listen elsewhere without a token"):
        serve(options, ready=fail)
    assert list(tmp_path.iterdir()) == []


def test_an_address_that_cannot_be_had(tmp_path: Path) -> None:
    """A taken port, no port, an unknown host and somebody else's address raise WrongUsage with what was asked for."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        cases = [
            ("127.0.0.1", port, f"cannot listen on port {port} of 127.0.0.1: Address already in use"),
            ("127.0.0.1", 65536, "there is no port 65536"),
            ("127.0.0.1", -1, "there is no port -1"),
            ("nowhere.invalid", 0, "cannot listen on host 'nowhere.invalid'"),
            ("x" * 70, 0, "cannot listen on host 'xxxx"),
            ("192.0.2.1", 0, "cannot listen on port 0 of 192.0.2.1"),
        ]
        for host, number, sentence in cases:
            options = ReceiverOptions(host=host, port=number, token=TOKEN, store=tmp_path / "store.sqlite")
            with pytest.raises(WrongUsage) as caught:
                serve(options, ready=fail)
            assert str(caught.value).startswith(sentence)
            assert TOKEN not in str(caught.value)


def test_a_store_that_cannot_be_opened(tmp_path: Path) -> None:
    """A store that is a folder raises WrongUsage before the receiver says that it is ready."""
    options = ReceiverOptions(port=0, token=TOKEN, store=tmp_path)
    with pytest.raises(WrongUsage, match=r"^the store .* cannot be "):
        serve(options, ready=fail)


@pytest.mark.parametrize("token", ["", " ", "secret\n", " secret", "se\x00cret", "\udc80secret"])
def test_a_token_that_no_header_can_carry(tmp_path: Path, token: str) -> None:
    """An empty token, or one with spaces around it or control characters, is refused and not shown."""
    with closing(Store(tmp_path / "store.sqlite")) as store, pytest.raises(WrongUsage) as caught:
        create_app(store, token)
    assert "secret" not in str(caught.value)


def test_options_do_not_show_the_token(tmp_path: Path) -> None:
    """The options can be logged: their text tells whether there is a token, not which."""
    options = ReceiverOptions(token=TOKEN, store=tmp_path)
    assert TOKEN not in f"{options} {options!r}"
    assert "token=***" in repr(options)
    assert "token=None" in repr(ReceiverOptions(token=None, store=tmp_path))


def test_ipv6_has_brackets_in_its_url(tmp_path: Path) -> None:
    """On ::1 the URL is one that a client can use; stopping from `ready` ends it."""
    if not socket.has_ipv6:
        pytest.skip("no IPv6")
    urls: list[str] = []

    def ready(url: str) -> None:
        urls.append(url)
        signal.raise_signal(signal.SIGTERM)

    try:
        serve(ReceiverOptions(host="::1", port=0, token=None, store=tmp_path / "store.sqlite"), ready=ready)
    except WrongUsage as error:
        pytest.skip(str(error))
    assert urls[0].startswith("http://[::1]:")
