"""Each fault alone, at each kind of sink, through the engine: what it is called, who waits, and that all arrive."""

from collections.abc import Iterator

import pytest

from eventlog import Message, SinkPaused, SyncFailed
from projections import RetryPolicy
from turnlog import Recorder
from turnlog.testing import check_laws
from turnlog.testing.proxy import FAULTS, Fault, FaultProxy

from .backends import SINK, Backend, Ledger, open_backend, sink_through
from .forking import Forks
from .support import Cli

KINDS = ("batch", "webhook", "memobase")
DOUBT = ("in_doubt", "in_doubt", "in_doubt")
RECONCILED = ("in_doubt", "in_doubt", None)
"""Memobase is asked, and has the turn: so it did not fail."""

UNAVAILABLE, THROTTLED = ("unavailable",) * 3, ("throttled",) * 3
EXPECTED: dict[str, tuple[str | None, ...]] = {
    "reset before the request arrived": DOUBT,
    "reset after the request arrived": RECONCILED,
    "half an answer": ("in_doubt", None, None),  # a webhook's yes is in the half that comes
    "garbage": RECONCILED,
    "an answer that drips": RECONCILED,
    "an answer that never comes": RECONCILED,
    "200": ("failed", None, "in_doubt"),  # a page instead of an answer; to a webhook every 2xx is a yes
    "500": ("failed", "failed", "failed"),
    "502": ("unavailable", "in_doubt", "in_doubt"),  # where sending again is safe, a gateway's error is an outage
    "503": UNAVAILABLE,
    "504": ("unavailable", "in_doubt", "in_doubt"),
    "504 after the request arrived": ("unavailable", "in_doubt", None),
    "429": THROTTLED,
    **dict.fromkeys(("301", "302", "307", "308"), UNAVAILABLE),
}
TURNS = ("ann-c-0", "ann-c-1", "ann-c-2")


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with Forks() as forks:
        yield forks


@pytest.fixture(params=KINDS)
def backend(request: pytest.FixtureRequest, cli: Cli, forks: Forks) -> Iterator[Backend]:
    backend = open_backend(request.param, cli.directory.with_name("backend"), forks)
    yield backend
    backend.close()


@pytest.fixture
def proxy(backend: Backend, cli: Cli) -> Iterator[FaultProxy]:
    """Before a server that has the first of three turns."""
    with FaultProxy(backend.url) as proxy:
        cli.configure(sink_through(proxy, backend), sync="base_seconds = 0")
        with Recorder(cli.directory, durability="os") as recorder:
            for turn_id in TURNS:
                recorder.record(messages=[Message("user", turn_id)], turn_id=turn_id, user="ann", conversation="c")
                if turn_id == TURNS[0]:
                    assert cli("sync", "--once").code == 0
        yield proxy


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name + ("+" if b"Retry" in fault.answer else ""))
def test_a_fault_has_its_kind_and_costs_nothing(cli: Cli, backend: Backend, proxy: FaultProxy, fault: Fault) -> None:
    """The kind is the design's; only a sink is paused that is to blame; then every turn is there, in order."""
    proxy.faults.append(fault)
    cli("sync", "--once")
    expected = THROTTLED if b"Retry-After" in fault.answer else EXPECTED[fault.name]
    _check_failures(cli, expected[KINDS.index(backend.kind)])
    assert proxy.faulted == 1
    cli("sinks", "resume", SINK)  # a sink that wants patience gets none here
    _check_end(cli, backend, lost=fault.name == "200" and backend.kind == "webhook")
    if backend.kind == "webhook":
        twice = fault.forwarded and not fault.half  # nobody could tell that it had arrived
        assert len(backend.arrivals()) == len(TURNS) + twice - (fault.name == "200")


def test_a_refused_connection_is_an_outage(cli: Cli, backend: Backend, proxy: FaultProxy) -> None:
    """No turn is blamed however often; the next run finds the sink back, and everything arrives once."""
    proxy.refuse()
    for _ in range(3):
        assert cli("sync", "--once").code == 1
    _check_failures(cli, "unavailable")
    proxy.accept()
    _check_end(cli, backend)
    assert backend.arrivals() == list(TURNS)


def _check_failures(cli: Cli, kind: str | None) -> None:
    """One failure of this kind or none, and a pause if that blames the sink."""
    failures: list[SyncFailed] = cli.events("SyncFailed")
    assert [failure.kind for failure in failures] == ([kind] if kind else [])
    pauses: list[SinkPaused] = cli.events("SinkPaused")
    assert [pause.kind for pause in pauses] == ([kind] if kind in ("unavailable", "throttled") else [])
    assert not any(failure.final for failure in failures)


def _check_end(cli: Cli, backend: Backend, *, lost: bool = False) -> None:
    """All turns are delivered and there, once where that is promised, in order."""
    assert cli("sync", "--once", "--json").object["pending"] == 0
    ledger = Ledger(list(cli.log().read()))
    assert set(ledger.states.values()) == {"delivered"}
    check_laws(ledger.entries, RetryPolicy(base_seconds=0))
    if not lost:
        backend.check(ledger)
    came = [turn_id for turn_id in TURNS if turn_id != TURNS[1] or not lost]
    assert list(dict.fromkeys(backend.arrivals())) == came
