"""Every fault of the proxy, as a client meets it: its kind, and whether the server got the request."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from turnlog.sinks.base import Refused
from turnlog.sinks.http import Answer, HttpClient
from turnlog.testing.proxy import DRIP, FAULTS, RESET_AFTER, SILENCE, Fault, FaultProxy, status_fault

BODY = b'{"text":"' + b"x" * 3000 + b'"}'
READ_SECONDS = 0.3


class Echo(BaseHTTPRequestHandler):
    """Answers with what it got."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append(body)  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    made = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    made.got = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=made.serve_forever, args=(0.02,))
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


@contextmanager
def client_through(server: ThreadingHTTPServer) -> Iterator[tuple[HttpClient, FaultProxy]]:
    with FaultProxy(f"http://127.0.0.1:{server.server_port}") as proxy:
        client = HttpClient(proxy.url, "t", connect_seconds=5, read_seconds=READ_SECONDS, idempotent=False)
        try:
            yield client, proxy
        finally:
            client.close()


KINDS = {
    "reset before the request arrived": "in_doubt",  # nobody at this end can tell it from the next one
    "reset after the request arrived": "in_doubt",
    "half an answer": "in_doubt",
    "garbage": "in_doubt",
    "an answer that drips": "in_doubt",
    "an answer that never comes": "in_doubt",
    "200": "answer",  # with the wrong content type: what it means is for the sink to say
    "500": "failed",
    "502": "in_doubt",
    "503": "unavailable",
    "504": "in_doubt",
    "504 after the request arrived": "in_doubt",
    "429": "throttled",
    "301": "unavailable",
    "302": "unavailable",
    "307": "unavailable",
    "308": "unavailable",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_every_fault_has_its_kind(server: ThreadingHTTPServer, fault: Fault) -> None:
    """A request that meets the fault ends as the table says; the one before and the one after it go through."""
    with client_through(server) as (client, proxy):
        assert client.request("POST", "/", BODY) == Answer(200, BODY)
        proxy.faults.append(fault)
        told = client.request("POST", "/", BODY)
        kind = told.kind if isinstance(told, Refused) else "answer"
        expected = "throttled" if b"Retry-After" in fault.answer else KINDS[fault.name]
        assert kind == expected
        assert client.request("POST", "/", BODY) == Answer(200, BODY)
        assert (proxy.faulted, proxy.forwarded) == (1, 2 + fault.forwarded)
        assert len(server.got) == proxy.forwarded  # type: ignore[attr-defined]


def test_refusing_is_an_outage_and_ends(server: ThreadingHTTPServer) -> None:
    """While it refuses nobody is there; afterwards the same URL works again."""
    with client_through(server) as (client, proxy):
        assert isinstance(client.request("POST", "/", BODY), Answer)
        proxy.refuse()
        for _ in range(2):
            told = client.request("POST", "/", BODY)
            assert isinstance(told, Refused)
            assert told.kind == "unavailable"
        proxy.accept()
        assert isinstance(client.request("POST", "/", BODY), Answer)


def test_a_rule_chooses_by_the_request(server: ThreadingHTTPServer) -> None:
    """The rule sees method, path and body; a queued fault comes first."""
    with client_through(server) as (client, proxy):
        proxy.rule = lambda method, path, body: status_fault(418) if (method, path) == ("POST", "/p") and body else None
        proxy.faults.append(RESET_AFTER)
        told = [client.request("POST", path, b"{}") for path in ("/p", "/p", "/q")]
        assert [getattr(answer, "kind", None) for answer in told] == ["in_doubt", "unavailable", None]


def test_it_ends_while_faults_hang(server: ThreadingHTTPServer) -> None:
    """Closing the proxy does not wait for an answer that drips, or never comes."""
    with client_through(server) as (client, proxy):
        proxy.faults.extend([SILENCE, DRIP])
        for _ in range(2):
            assert isinstance(client.request("POST", "/", BODY), Refused)
    assert not any(thread.is_alive() for thread in proxy._threads)
