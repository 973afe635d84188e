"""What the endpoint answers to a path: `/healthz`, `/readyz`, `/metrics`, `/api/status`.

Everything comes from the status, and nothing that others have written is shown: what a server answered, what a notice
links to and what stands in a configuration may be somebody's words or a secret. `turnlog daemon status` tells it, to
whoever may read the log.
"""

import threading
import time
from collections.abc import Callable

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from turnlog.daemon.attention import attention
from turnlog.daemon.monitoring.readiness import not_ready
from turnlog.daemon.status import SinkStatus, Status

FRESH_SECONDS = 0.2
"""A status is told for so long: whoever asks more often gets it again, and costs delivery nothing."""

_JSON = "application/json"
_TEXT = "text/plain; charset=utf-8"
_MISSING = "the metrics need the package prometheus-client: install turnlog[metrics], or prometheus-client itself\n"


class Page(Struct, frozen=True):
    """An answer: its status code, its Content-Type and its body."""

    code: int
    kind: str
    body: bytes


Get = Callable[[str, str], Page]
"""Has the page of a path, in a form that an Accept header names."""


class Pages:
    """The pages of one daemon; any thread may ask. `stuck` names what does not get on, see `Daemon.stuck`."""

    def __init__(self, status: Callable[[], Status], stuck: Callable[[], list[str]]) -> None:
        self.stalled_seconds = 300.0
        self._ask = status
        self._stuck = stuck
        self._lock = threading.Lock()
        self._known: Status | None = None
        self._fresh_until = 0.0
        self._pages: dict[str, Callable[[str], Page]] = {
            "/healthz": self._healthz,
            "/readyz": self._readyz,
            "/metrics": self._metrics,
            "/api/status": self._status,
        }

    def get(self, path: str, accept: str) -> Page:
        """The answer to a path, in a form that is accepted."""
        page = self._pages.get(path)
        if page is None:
            return Page(404, _TEXT, f"there is {', '.join(self._pages)}\n".encode())
        return page(accept)

    def _healthz(self, _: str) -> Page:
        """Whether all gets on; it asks nobody who could keep it waiting."""
        stuck = self._stuck()
        return Page(503 if stuck else 200, _JSON, _json({"alive": not stuck, "stuck": stuck}))

    def _readyz(self, _: str) -> Page:
        status = self._fresh()
        reasons = not_ready(status, self.stalled_seconds)
        body = {"ready": not reasons, "state": status.state, "reasons": reasons}
        return Page(503 if reasons else 200, _JSON, _json(body))

    def _metrics(self, accept: str) -> Page:
        try:
            from turnlog.daemon.monitoring.metrics import exposition  # 50 ms, at the first scrape
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "prometheus_client":
                raise
            return Page(501, _TEXT, _MISSING.encode())
        body, kind = exposition(self._fresh(), accept)
        return Page(200, kind, body)

    def _status(self, _: str) -> Page:
        return Page(200, _JSON, _json(public(self._fresh())))

    def _fresh(self) -> Status:
        with self._lock:
            if self._known is None or time.monotonic() >= self._fresh_until:
                self._known = self._ask()
                self._fresh_until = time.monotonic() + FRESH_SECONDS
            return self._known


def public(status: Status) -> Status:
    """A status without what others have written."""
    wrong = "it has an error; `turnlog daemon status` tells which"
    shown = replace(
        status,
        sinks=tuple(map(_without_words, status.sinks)),
        notices=tuple(replace(notice, title="", link="") for notice in status.notices),
        reload_error=None if status.reload_error is None else wrong,
    )
    return replace(shown, attention=attention(shown))


def _without_words(sink: SinkStatus) -> SinkStatus:
    return sink if sink.reason is None else replace(sink, reason=f"it is {sink.paused}")


def _json(value: object) -> bytes:
    return msgspec.json.encode(value) + b"\n"
