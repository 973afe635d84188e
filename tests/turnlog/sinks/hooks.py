"""A receiver of webhooks: it keeps every request, and of each turn what a receiver that knows its ids would keep."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Posted:
    """One request as it came in."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def turns(self) -> list[dict[str, Any]]:
        turns: list[dict[str, Any]] = json.loads(self.body)["data"]["turns"]
        return turns


@dataclass
class Hook:
    """Answers with the next of `statuses`, then with `status`; what it answers with a 2xx it has taken."""

    status: int = 204
    statuses: list[int] = field(default_factory=list)
    requests: list[Posted] = field(default_factory=list)
    taken: list[Posted] = field(default_factory=list)
    heads: int = 0
    url: str = ""

    def take(self, posted: Posted) -> int:
        status = self.statuses.pop(0) if self.statuses else self.status
        self.requests.append(posted)
        if status < 300:
            self.taken.append(posted)
        return status

    @property
    def by_id(self) -> list[dict[str, Any]]:
        """The turns of a receiver that passes over an id that it had already."""
        return [turn for posted in {posted.id: posted for posted in self.taken}.values() for turn in posted.turns]

    @property
    def by_turn(self) -> list[dict[str, Any]]:
        """The turns of a receiver that keeps of each turn the newest revision."""
        kept: dict[str, dict[str, Any]] = {}
        for turn in (turn for posted in self.taken for turn in posted.turns):
            if turn["revision"] >= kept.setdefault(turn["turn_id"], turn)["revision"]:
                kept[turn["turn_id"]] = turn
        return list(kept.values())


def texts_of(turns: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Of each conversation its messages' texts, in order."""
    texts: dict[str, list[str]] = {}
    for turn in turns:
        texts.setdefault(turn["conversation"], []).extend(message["content"] for message in turn["messages"])
    return texts


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._hook.heads += 1
        self._answer(405)  # as most receivers do

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self._answer(self._hook.take(Posted(self.command, self.path, headers, body)))

    def do_PUT(self) -> None:
        self.do_POST()

    @property
    def _hook(self) -> Hook:
        hook: Hook = self.server.hook  # type: ignore[attr-defined]
        return hook

    def _answer(self, status: int) -> None:
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    block_on_close = False  # a client may keep its connection
    hook: Hook


@contextmanager
def hooking() -> Iterator[Hook]:
    """Run such a receiver."""
    hook = Hook()
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.hook = hook
        with serving(server) as hook.url:
            yield hook


@contextmanager
def serving(server: HTTPServer) -> Iterator[str]:
    """Have a thread serve; yields the URL."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
