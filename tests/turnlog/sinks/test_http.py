"""What can go wrong on the wire, each with its kind, over a real socket; and nobody ever reads the token."""

import email.utils
import json
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from turnlog.sinks import http
from turnlog.sinks.base import Refused
from turnlog.sinks.http import RETRY_AFTER_MAX_SECONDS, Answer, HttpClient

from .conftest import Wire, reply, resets, sends

TOKEN = "s3cret-t0ken"


@contextmanager
def client_of(url: str, **options: Any) -> Iterator[HttpClient]:
    client = HttpClient(url, TOKEN, **{"connect_seconds": 1.0, "read_seconds": 5.0, "idempotent": True, **options})
    try:
        yield client
    finally:
        client.close()


def ask(url: str, **options: Any) -> Answer | Refused:
    """What came of one POST; the token is in nothing that is told."""
    with client_of(url, **options) as client:
        told = client.request("POST", "/path", b"{}")
    assert TOKEN not in repr(told)
    return told


def refusal(wire: Wire, answer: Any, **options: Any) -> Refused:
    wire.answers = [answer]
    told = ask(wire.url, **options)
    assert isinstance(told, Refused)
    return told


# Answers.


@pytest.mark.parametrize("status", [200, 201, 204])
def test_a_2xx_is_an_answer(wire: Wire, status: int) -> None:
    """The status and the body as they came; the request carried the token, its JSON, and what it is."""
    wire.answers = [reply(status, b"" if status == 204 else b"body")]
    assert ask(wire.url) == Answer(status, b"" if status == 204 else b"body")
    (request,) = wire.requests
    assert request.startswith(b"POST /path HTTP/1.1\r\n")
    assert f"Authorization: Bearer {TOKEN}".encode() in request
    assert b"Content-Type: application/json" in request
    assert request.endswith(b"\r\n\r\n{}")


CUT = "x" * 190  # so that a sentence that is cut to size is cut within the token

KINDS = {
    400: "rejected",
    401: "unauthorized",
    403: "unauthorized",
    404: "unavailable",
    405: "unavailable",
    408: "unavailable",
    409: "rejected",
    413: "rejected",
    422: "rejected",
    429: "throttled",
    500: "failed",
    501: "failed",
    502: "unavailable",
    503: "unavailable",
    504: "unavailable",
}


@pytest.mark.parametrize(("status", "kind"), KINDS.items())
def test_every_status_has_its_kind(wire: Wire, status: int, kind: str) -> None:
    """What the server answered says who is to blame, and the status is kept."""
    refused = refusal(wire, reply(status))
    assert (refused.kind, refused.status, refused.retry_after, refused.alone) == (kind, status, None, False)
    assert str(status) in refused.error


@pytest.mark.parametrize("status", [502, 504])
def test_a_gateway_s_error_is_doubt_where_sending_again_may_duplicate(wire: Wire, status: int) -> None:
    """Behind the gateway the request may have been taken."""
    assert refusal(wire, reply(status), idempotent=False).kind == "in_doubt"


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(wire: Wire, status: int) -> None:
    """The token goes to nobody but the configured server: the other host hears nothing."""
    other = Wire(answers=[reply(200)])
    try:
        refused = refusal(wire, reply(status, b"", f"Location: {other.url}/elsewhere"))
        assert (refused.kind, refused.status) == ("unavailable", status)
        assert len(wire.requests) == 1
        assert not other.requests
    finally:
        other.close()


# Patience.


def in_seconds(seconds: float) -> str:
    return email.utils.format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        ("7", 7, 7),
        ("0.5", 0.5, 0.5),
        (partial(in_seconds, 600), 400, 601),
        (partial(in_seconds, -600), 0, 0),
        ("-3", 0, 0),
        ("nan", 0, 0),
        ("999999999", RETRY_AFTER_MAX_SECONDS, RETRY_AFTER_MAX_SECONDS),
        ("inf", RETRY_AFTER_MAX_SECONDS, RETRY_AFTER_MAX_SECONDS),
        (partial(in_seconds, 10**8), RETRY_AFTER_MAX_SECONDS, RETRY_AFTER_MAX_SECONDS),
    ],
)
def test_retry_after_is_waited_for_within_reason(
    wire: Wire, status: int, header: str | Callable[[], str], least: float, most: float
) -> None:
    """Seconds or a date, on 429 and on 503: throttled for so long, but for an hour at most, and the error says so."""
    header = header if isinstance(header, str) else header()  # a date counts from now, not from when tests are listed
    refused = refusal(wire, reply(status, b"", f"Retry-After: {header}"))
    assert refused.kind == "throttled"
    assert refused.retry_after is not None
    assert least <= refused.retry_after <= most
    assert ("it asked for" in refused.error) == (least == RETRY_AFTER_MAX_SECONDS)


@pytest.mark.parametrize("header", ["soon", "", "Wed, 99 Foo 2026", "2026-11-20", "7 seconds", "١٢x"])
def test_retry_after_that_says_nothing_is_none(wire: Wire, header: str) -> None:
    """A 429 without a time that can be read is throttled all the same, a 503 is an outage."""
    head = f"HTTP/1.1 {{}} X\r\nRetry-After: {header}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    refused = refusal(wire, sends(head.format(429).encode()))
    assert (refused.kind, refused.retry_after) == ("throttled", None)
    assert refusal(wire, sends(head.format(503).encode())).kind == "unavailable"


@pytest.mark.parametrize(
    "header",
    [
        "Fri, 31 Dec 9999 23:59:59 -1200",
        "Thu, 1 Jan 2026 00:00:00 +99999999999999999999",
        "Thu, 1 Jan 99999999999999999999 00:00:00 GMT",
    ],
)
def test_a_date_beyond_all_time_is_none_or_bounded(header: str) -> None:
    """A date that no calendar has is no reason to fail the turns."""
    seconds, _ = http._retry_after(header)
    assert seconds is None or 0 <= seconds <= RETRY_AFTER_MAX_SECONDS


@given(
    st.text(max_size=30)
    | st.floats().map(str)
    | st.from_regex(r"(Mon, )?\d{1,2} (Jan|Dec) \d{1,4} \d{2}:\d{2}:\d{2} ([+-]0\d{3}|GMT)", fullmatch=True)
)
def test_no_retry_after_breaks_the_client(header: str) -> None:
    """Whatever a server sends, it is a wait within bounds or none."""
    seconds, note = http._retry_after(header)
    assert seconds is None or 0 <= seconds <= RETRY_AFTER_MAX_SECONDS
    assert isinstance(note, str)


# No answer.


def test_nobody_listening_is_an_outage() -> None:
    """Connection refused: the request was never sent."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    told = ask(url)
    assert isinstance(told, Refused)
    assert (told.kind, told.status) == ("unavailable", None)
    assert "Connection refused" in told.error


@pytest.mark.parametrize("url", ["http://no-such-host.invalid", "http://127.0.0.1:99999", "http://"])
def test_a_server_that_cannot_be_found_is_an_outage(url: str) -> None:
    """A name that nobody has, a port that is none, a URL that is none: nothing was sent."""
    told = ask(url)
    assert isinstance(told, Refused)
    assert told.kind == "unavailable"


def test_tls_that_is_none_is_an_outage(wire: Wire) -> None:
    """A plain server behind an https URL: the handshake fails before anything is said."""
    wire.reads, wire.answers = False, [sends(b"HTTP/1.1 400 No TLS\r\n\r\n")]
    told = ask(wire.url.replace("http:", "https:"))
    assert isinstance(told, Refused)
    assert told.kind == "unavailable"


def test_a_handshake_that_hangs_is_an_outage(wire: Wire) -> None:
    """Nothing was sent yet, so nobody need doubt what became of it."""
    wire.reads, wire.answers = False, [wire.waits]
    told = ask(wire.url.replace("http:", "https:"), connect_seconds=0.1)
    assert isinstance(told, Refused)
    assert told.kind == "unavailable"


def test_no_answer_in_time_is_doubt(wire: Wire) -> None:
    """The request was taken; nobody knows what became of it."""
    refused = refusal(wire, wire.waits, read_seconds=0.1)
    assert (refused.kind, refused.status) == ("in_doubt", None)
    assert "0.1 s" in refused.error


@pytest.mark.parametrize(
    "answer",
    [
        resets,
        sends(),
        sends(b"HTTP/1"),
        sends(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"),
        sends(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhal"),
        sends(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope"),
        sends(b"nonsense\r\n\r\n"),
    ],
    ids=["reset", "closed", "half a line", "half a body", "half a chunk", "no gzip", "no http"],
)
def test_a_connection_that_breaks_after_the_request_is_doubt(wire: Wire, answer: Any) -> None:
    """The server may have taken the request before it died, whatever it had said by then."""
    refused = refusal(wire, answer)
    assert (refused.kind, refused.status) == ("in_doubt", None)


# What is told.


def test_the_server_s_own_words_are_told_in_short() -> None:
    """The first 200 characters of `error`, `message` or `detail`; nothing else of the answer, which may echo texts."""
    for body, said in (
        ({"error": "bad uuid"}, "bad uuid"),
        ({"message": "x" * 500}, "x" * 200),
        ({"detail": "d", "input": "what the user said"}, "d"),
        ({"error": {"nested": "what the user said"}}, ""),
        (["what the user said"], ""),
    ):
        wire = Wire(answers=[reply(422, json.dumps(body).encode())])
        url, told = wire.url, ask(wire.url)
        wire.close()
        assert isinstance(told, Refused)
        assert told.error == f"{url} answered 422" + (f": {said}" if said else "")


@pytest.mark.parametrize("body", [b"<html>", b"\xff\xfe", b"", b'"text"', b"null", b"[" * 100_000])
def test_an_error_page_is_no_trouble(wire: Wire, body: bytes) -> None:
    """An answer that is no JSON, or endless JSON, leaves the status to speak for itself."""
    refused = refusal(wire, reply(500, body))
    assert (refused.kind, refused.error) == ("failed", f"{wire.url} answered 500")


@pytest.mark.parametrize("before", ["invalid token ", CUT])
def test_a_server_that_echoes_the_token_does_not_get_it_told(wire: Wire, before: str) -> None:
    """What is told ends in the log for ever: a server's `invalid token s3cret` must not put even half of it there."""
    refused = refusal(wire, reply(401, json.dumps({"error": before + TOKEN}).encode()))
    assert refused.kind == "unauthorized"
    assert TOKEN[:5] not in refused.error


def test_a_password_in_the_url_is_not_told() -> None:
    """Neither is what stands before the host."""
    told = ask(f"http://me:{TOKEN}@127.0.0.1:1")
    assert isinstance(told, Refused)


def test_one_connection_a_thread_is_kept(wire: Wire) -> None:
    """A second request of the same thread does not connect anew if the server keeps the connection."""
    alive = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

    def twice(connection: socket.socket) -> None:
        connection.sendall(alive)
        connection.recv(65536)
        connection.sendall(alive)

    wire.answers = [twice]
    with client_of(wire.url) as client:
        assert client.request("GET", "/a") == client.request("GET", "/b") == Answer(200, b"ok")
    assert len(wire.requests) == 1


# Stages and their times.


def test_a_get_that_is_not_answered_is_no_doubt(wire: Wire) -> None:
    """It changes nothing, so there is nothing that may have happened."""
    wire.answers = [wire.waits]
    with client_of(wire.url, read_seconds=0.1) as client:
        told = client.request("GET", "/health")
    assert isinstance(told, Refused)
    assert told.kind == "unavailable"


def test_an_answer_that_drips_is_given_up(wire: Wire) -> None:
    """The time is for the whole answer: a byte now and then does not hold a worker for ever."""

    def drips(connection: socket.socket) -> None:
        for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000:
            connection.sendall(bytes([byte]))
            if wire.over.wait(0.01):
                return

    assert refusal(wire, drips, read_seconds=0.3).kind == "in_doubt"


def test_a_request_that_is_not_taken_is_an_outage(wire: Wire) -> None:
    """The server cannot have what was not sent to its end."""
    wire.reads, wire.answers = False, [wire.waits]
    with client_of(wire.url, send_seconds=0.2) as client:
        told = client.request("POST", "/", b"x" * 50_000_000)
    assert isinstance(told, Refused)
    assert (told.kind, told.error) == ("unavailable", f"{wire.url} did not take the request within 0.2 s")


def test_an_early_answer_to_a_long_request_is_heard(wire: Wire) -> None:
    """A server that refuses a request for its size before it has read it is understood, if it reads on or not."""
    wire.reads, wire.answers = False, [reply(413)]
    with client_of(wire.url) as client:
        told = client.request("POST", "/", b"x" * 50_000_000)
    assert isinstance(told, Refused)
    assert told.kind in ("rejected", "unavailable")  # as the reset overtook the answer or not; never doubt


def test_an_answer_without_end_is_doubt(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than anybody would read is not read."""
    monkeypatch.setattr(http, "ANSWER_BYTES_MAX", 1000)
    refused = refusal(wire, reply(200, b"x" * 1001))
    assert refused.kind == "in_doubt"
    wire.answers = [reply(200, b"x" * 1000)]
    assert isinstance(ask(wire.url), Answer)


# Who is asked.


def test_a_wrong_token_is_named_by_its_place(wire: Wire) -> None:
    """Whoever reads the error knows which secret to look at."""
    refused = refusal(wire, reply(401), credential="the environment variable TEAM_TOKEN")
    assert refused.error == f"{wire.url} answered 401; the token is from the environment variable TEAM_TOKEN"


def test_a_redirect_says_where_it_points(wire: Wire) -> None:
    """So that the url can be corrected; what the address holds of secrets is not told."""
    refused = refusal(wire, reply(308, b"", "Location: https://me:hush@new.example/v2?key=hush#hush"))
    assert "points to https://new.example/v2;" in refused.error
    assert "hush" not in refused.error


def test_a_redirect_within_a_server_says_where_it_points(wire: Wire) -> None:
    """An address without a host is told as it is."""
    assert " and points to /v2;" in refusal(wire, reply(308, b"", "Location: /v2?key=hush")).error


@pytest.mark.parametrize("path", ["", "/", "/hook/", "/hook?key=a/", "/hook/?a=%20b&c"])
def test_without_a_path_the_url_is_used_as_it_is(wire: Wire, path: str) -> None:
    """With its query, and the slash that it ends with or not; with a path it is what the path is put behind."""
    wire.answers = [reply(200)]
    with client_of(wire.url + path) as client:
        assert client.request("POST", "", b"{}") == Answer(200, b"")
        if "?" not in path:
            assert client.request("POST", "/x", b"{}") == Answer(200, b"")
    lines = [request.split(b"\r\n")[0].decode() for request in wire.requests]
    assert lines[0] == f"POST {path or '/'} HTTP/1.1"
    assert lines[1:] in ([], [f"POST {path.rstrip('/')}/x HTTP/1.1"])


def test_headers_of_one_s_own_go_with_every_request(wire: Wire) -> None:
    """They take the place of what would be sent otherwise, in whatever case they are written."""
    wire.answers = [reply(200)]
    with client_of(wire.url, headers={"user-AGENT": "me", "X-Key": "k"}) as client:
        client.request("POST", "/", b"{}")
    head = wire.requests[0].lower()
    assert head.count(b"user-agent:") == 1
    assert b"user-agent: me\r\n" in head
    assert b"x-key: k\r\n" in head


def test_what_is_to_be_hidden_is_not_told(wire: Wire) -> None:
    """Neither when a server echoes it, nor in what is said of an address that is none."""
    wire.answers = [reply(422, b'{"error":"hush-hush is not hush"}')]
    with client_of(wire.url, hidden=["hush", "", "hush-hush"]) as client:
        told = client.request("POST", "/", b"{}")
    assert isinstance(told, Refused)
    assert told.error.endswith(": [redacted] is not [redacted]")
    with client_of("http://?key=hush", hidden=["key=hush"], shown="the server") as client:
        told = client.request("POST", "", b"{}")
    assert isinstance(told, Refused)
    assert told.error.startswith("the server cannot be reached: ")
    assert "hush" not in told.error


def test_a_proxy_is_asked_as_the_environment_says(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """`http_proxy` gets the whole URL; `no_proxy` keeps it out of the way."""
    wire.answers = [reply(200, b"ok")]
    monkeypatch.setenv("http_proxy", wire.url.replace("//", "//me:hush@"))
    assert isinstance(ask("http://api.example/v1"), Answer)
    assert wire.requests[0].startswith(b"POST http://api.example/v1/path HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic" in wire.requests[0]
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert isinstance(ask(wire.url), Answer)
    assert wire.requests[1].startswith(b"POST /path HTTP/1.1\r\n")


def test_a_proxy_that_wants_a_password_says_so(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """An https server behind a proxy that does not let us through is an outage, with the proxy's reason."""
    wire.answers = [reply(407)]
    monkeypatch.setenv("https_proxy", wire.url)
    told = ask("https://api.example/v1")
    assert isinstance(told, Refused)
    assert told.kind == "unavailable"
    assert "407" in told.error


# TLS.


@contextmanager
def tls_wire(authority: trustme.CA) -> Iterator[Wire]:
    """A server with a certificate for 127.0.0.1; connections that fail the handshake are let go."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    wire = Wire(answers=[reply(200, b"ok")], tls=context)
    try:
        yield wire
    finally:
        wire.close()


def test_a_certificate_authority_of_one_s_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Certificates are verified: an unknown authority is refused before a byte is sent, a named one is trusted."""
    authority = trustme.CA()
    with tls_wire(authority) as wire:
        url = wire.url.replace("http:", "https:")
        told = ask(url)
        assert isinstance(told, Refused)
        assert told.kind == "unavailable"
        assert "its certificate is not trusted" in told.error
        assert not wire.requests
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
        assert ask(url) == Answer(200, b"ok")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "none.pem"))
        told = ask(url)
        assert isinstance(told, Refused)
        assert told.kind == "unavailable"
