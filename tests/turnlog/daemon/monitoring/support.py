"""What the tests of the monitoring share: statuses of all kinds, and a server that is asked over real sockets."""

import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from eventlog import FAILURE_KINDS
from projections.statistics import LATENCY_BOUNDS_SECONDS
from turnlog.daemon.monitoring.pages import Page
from turnlog.daemon.monitoring.server import MonitoringServer
from turnlog.daemon.status import Latency, PartStatus, SinkStatus, SourceStatus, Status

NOW = datetime(2026, 11, 20, tzinfo=UTC)
WELL = Status(state="running", at=NOW, directory="/d", version="1", running=True)

_COUNTS = st.integers(0, 2**40)
_AGES = st.none() | st.floats(0, 1e9)
_TIMES = st.none() | st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))
_NAMES = st.text(max_size=80)
_LATENCIES = st.builds(
    Latency,
    st.lists(_COUNTS, min_size=len(LATENCY_BOUNDS_SECONDS) + 1, max_size=len(LATENCY_BOUNDS_SECONDS) + 1).map(tuple),
    st.floats(0, 1e9),
)
_KINDS = st.sampled_from([*FAILURE_KINDS, "succeeded", "reconciled", "of a newer version"])

SOURCES = st.builds(
    SourceStatus, _NAMES, watched=st.booleans(), turns=_COUNTS, quarantined=_COUNTS, looked_at=_TIMES, lag_seconds=_AGES
)
SINKS = st.builds(
    SinkStatus,
    _NAMES,
    type=st.just("batch"),
    state=st.sampled_from(["new", "ok", "idle", "paused", "retired", "unconfigured"]),
    oldest_undelivered_seconds=_AGES,
    pending=_COUNTS,
    in_flight=_COUNTS,
    retrying=_COUNTS,
    delivered=_COUNTS,
    dead=_COUNTS,
    paused=st.none() | st.sampled_from([*FAILURE_KINDS, "operator"]),
    last_success_at=_TIMES,
    requests=_COUNTS,
    failures=st.dictionaries(_KINDS, _COUNTS),
    outcomes=st.dictionaries(_KINDS, _COUNTS),
    latency=_LATENCIES | st.just(Latency()),
    trouble=st.none() | st.just("its code broke"),
)
PARTS = st.builds(
    PartStatus,
    st.sampled_from(["delivery", "monitoring", "source codex"]),
    st.sampled_from(["starting", "running", "restarting", "stuck", "stopped"]),
    st.just(NOW),
    _COUNTS,
)


def _unique(strategy: Any, name: str) -> Any:
    return st.lists(strategy, max_size=4, unique_by=lambda one: getattr(one, name)).map(tuple)


STATUSES = st.builds(
    Status,
    state=st.sampled_from(["starting", "running", "draining", "drained", "waiting", "not running"]),
    at=st.just(NOW),
    directory=st.just("/d"),
    version=st.just("1"),
    last_seq=_COUNTS,
    generation=_COUNTS,
    reload_error=st.none() | st.just("no TOML"),
    sources=_unique(SOURCES, "source"),
    sinks=_unique(SINKS, "sink"),
    parts=_unique(PARTS, "name"),
)


class Asked:
    """A server that is asked over HTTP."""

    def __init__(self, server: MonitoringServer) -> None:
        self.server = server
        self.address: tuple[str, int] = server.socket.getsockname()[:2]

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> http.client.HTTPResponse:
        """The answer to a request, read to its end."""
        with closing(http.client.HTTPConnection(*self.address, timeout=10)) as connection:
            connection.request(method, path, body, {name.replace("_", "-"): text for name, text in headers.items()})
            answer = connection.getresponse()
            answer.content = answer.read()  # type: ignore[attr-defined]
            return answer

    def code(self, method: str, path: str, body: bytes | None = None, **headers: str) -> int:
        return self.ask(method, path, body, **headers).status

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=10)

    def say(self, request: bytes) -> bytes:
        """All that is answered to some bytes until the connection ends."""
        with self.connect() as connection:
            connection.sendall(request)
            return everything(connection)


def everything(connection: socket.socket) -> bytes:
    """What is still said on a connection until it ends, in whatever way."""
    said = b""
    try:
        while piece := connection.recv(65536):
            said += piece
    except ConnectionResetError:
        pass
    return said


@contextmanager
def serving(get: Callable[[str, str], Page]) -> Iterator[Asked]:
    """A server of these pages on a free port of loopback."""
    server = MonitoringServer(socket.create_server(("127.0.0.1", 0), backlog=64), "127.0.0.1", get)
    thread = threading.Thread(target=server.serve, args=(lambda: None,))
    thread.start()
    try:
        yield Asked(server)
    finally:
        server.stop()
        thread.join(10)
        assert not thread.is_alive()
