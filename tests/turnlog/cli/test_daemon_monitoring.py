"""The monitoring of a daemon as a process: what probes and Prometheus get while it lives."""

import json
import os
import signal
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ..waiting import until
from .daemons import Service
from .support import DEADLINE_SECONDS, TOKEN, Answering, Cli, batch_sink, memory_sink

CANARY = "canary words 4711"
PATHS = ("/healthz", "/readyz", "/metrics", "/api/status")


@pytest.fixture
def mute() -> Iterator[str]:
    """The address of a server that takes connections and never answers."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def daemon_section(listen: object = 0, more: str = "") -> str:
    return f'[daemon]\nlisten = "{listen}"\n{more}\n'


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=DEADLINE_SECONDS) as answer:  # noqa: S310 - our own
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def url_of(service: Service) -> str:
    return str(until(lambda: service.status()["listening"]))


def reasons(url: str) -> list[str]:
    code, text = get(f"{url}/readyz")
    told = json.loads(text)
    assert (code == 200) == told["ready"]
    return [reason["reason"] for reason in told["reasons"]]


def counters(url: str) -> dict[tuple[str, ...], float]:
    """All counters and histograms but those of the process."""
    _, text = get(f"{url}/metrics")
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if family.type in ("counter", "histogram") and family.name.startswith(("turnlog_turn", "turnlog_s"))
    }


def test_counters_survive_a_restart(cli: Cli, service: Service, server: Answering) -> None:
    """They come from the log, the histogram too; and they are what the status says."""
    cli.configure(batch_sink(server.url), daemon_section())
    server.statuses = [400]
    cli.record("one")
    cli.record("two")
    service.start()
    until(lambda: service.sink()["delivered"] + service.sink()["dead"] == 2)
    before = counters(url_of(service))
    assert before["turnlog_turns_recorded_total", "live"] == 2
    assert before["turnlog_sync_attempts_total", "rejected", "team"] == service.sink()["outcomes"].get("rejected", 0)
    assert sum(value for name, value in before.items() if name[0] == "turnlog_sync_latency_seconds_count") > 0
    cli.ok("daemon", "restart")
    assert counters(url_of(service)) == before
    status = json.loads(get(f"{url_of(service)}/api/status")[1])
    assert set(status) == set(service.status())
    assert status["turns"] == 2


def test_it_is_not_ready_when_it_does_not_work(cli: Cli, service: Service, mute: str) -> None:
    """Drained, or with a sink that has got nothing for long; while it drains it still answers, and says so."""
    more = "stalled_seconds = 0.3"
    cli.configure(batch_sink(mute, name="mute"), daemon_section(more=more), sync="grace_seconds = 30")
    service.start()
    url = url_of(service)
    assert (get(f"{url}/healthz")[0], reasons(url)) == (200, [])
    cli.record("hi")
    until(lambda: "got nothing for 0.3 s" in "".join(reasons(url)))
    assert get(f"{url}/healthz")[0] == 200
    until(lambda: service.sink("mute")["in_flight"] == 1)
    service.signal(signal.SIGTERM)
    until(lambda: "it is draining" in reasons(url))
    assert get(f"{url}/healthz")[0] == 200
    service.signal(signal.SIGTERM)
    until(lambda: not service.status()["running"])


def test_a_drained_daemon_answers(cli: Cli, service: Service) -> None:
    """Until it is reloaded it is alive and not ready."""
    cli.configure(memory_sink("team"), daemon_section())
    service.start()
    url = url_of(service)
    cli.ok("daemon", "drain")
    until(lambda: reasons(url) == ["it is drained"])
    cli.ok("daemon", "reload")
    until(lambda: reasons(url) == [])


def test_a_reload_moves_it(cli: Cli, service: Service) -> None:
    """To another address, or away."""
    cli.configure(memory_sink("team"), daemon_section())
    service.start()
    first = url_of(service)
    cli.configure(memory_sink("team"), daemon_section("localhost:0"))
    assert cli.ok("daemon", "reload", "--json").object["changes"] == ["[daemon] listen: 0 -> localhost:0"]
    second = until(lambda: (url := service.status()["listening"]) != first and url)
    assert get(f"{second}/readyz")[0] == 200
    cli.configure(memory_sink("team"))
    cli.ok("daemon", "reload")
    for url in (first, str(second)):
        with pytest.raises(urllib.error.URLError):
            get(url)
    assert [part["name"] for part in service.status()["parts"]] == ["delivery"]


def test_a_port_that_is_taken_does_not_stop_it(cli: Cli, service: Service) -> None:
    """It delivers, its status says what is wrong, and it listens when the port is free."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        cli.configure(memory_sink("team"), daemon_section(port))
        service.start()
        cli.record("hi")
        until(lambda: service.sink().get("delivered") == 1)
        status = cli("daemon", "status")
        assert status.code == 1
        assert f"cannot listen on port {port} of 127.0.0.1: Address already in use" in status.out
    assert get(f"{url_of(service)}/readyz")[0] == 200
    assert cli("daemon", "status").code == 0


def test_no_words_and_no_secrets_are_told(cli: Cli, service: Service, server: Answering, tmp_path: Path) -> None:
    """Neither what was said, nor the token, nor what a server answered, nor the environment."""
    token = tmp_path / "token"
    token.write_text(TOKEN)
    server.status = 401
    cli.configure(batch_sink(server.url, token=token), daemon_section())
    cli.record(CANARY, CANARY)
    service.start()
    url = url_of(service)
    until(lambda: service.sink()["paused"] == "unauthorized")
    assert reasons(url) == ["it is paused: it refuses our credentials"]
    told = "".join(get(f"{url}{path}")[1] for path in PATHS)
    assert 'turnlog_sink_paused{kind="unauthorized",sink="team"} 1.0' in told
    assert "4711" not in told
    assert "as the test wants it" not in told


def test_who_holds_connections_does_not_keep_it_from_its_work(cli: Cli, service: Service) -> None:
    """Its memory, files and threads stay what they were, and turns are delivered meanwhile."""
    cli.configure(memory_sink("team"), daemon_section())
    service.start()
    url = url_of(service)
    get(f"{url}/metrics")
    cli.record("what opens the files that a delivery takes")
    until(lambda: service.sink()["delivered"] == 1)
    address = ("127.0.0.1", int(url.rpartition(":")[2]))
    pid = service.status()["pid"]
    files = service.open_files()
    held = [socket.create_connection(address) for _ in range(200)]
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            get(f"{url}/metrics")

    asking = [threading.Thread(target=ask) for _ in range(4)]
    for thread in asking:
        thread.start()
    cli.record("hi")
    until(lambda: service.sink()["delivered"] == 2)
    assert len(os.listdir(f"/proc/{pid}/task")) < 40
    over.set()
    for thread in asking:
        thread.join(DEADLINE_SECONDS)
    for connection in held:
        connection.close()
    until(lambda: service.open_files() <= files + 2)
