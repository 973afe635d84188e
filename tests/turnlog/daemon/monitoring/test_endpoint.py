"""The endpoint: it listens where the configuration says, as soon as it can, and nothing else depends on it."""

import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import closing

import pytest

import turnlog.daemon.monitoring.endpoint as module
from turnlog.config import DaemonConfig
from turnlog.daemon.monitoring.endpoint import Endpoint

from ...waiting import until
from .support import WELL


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    monkeypatch.setattr(module, "_AGAIN_SECONDS", 0.01)
    with closing(Endpoint(lambda: WELL, list)) as endpoint:
        yield endpoint


def code(url: str) -> int:
    with urllib.request.urlopen(f"{url}/readyz", timeout=10) as answer:  # noqa: S310 - our own
        return int(answer.status)


def test_off_is_nothing(endpoint: Endpoint) -> None:
    """No part, no address."""
    endpoint.change(DaemonConfig())
    assert (endpoint.url, endpoint.statuses) == (None, ())


def test_a_port_alone_is_loopback(endpoint: Endpoint) -> None:
    """And the name of an address is as good as its number."""
    for listen, host in (("0", "127.0.0.1"), ("localhost:0", "127.0.0.1"), ("[::1]:0", "[::1]")):
        if "::1" in listen and not socket.has_ipv6:
            continue
        endpoint.change(DaemonConfig(listen=listen))
        url = until(lambda: endpoint.url)
        assert url.startswith((f"http://{host}:", "http://[::1]:"))
        assert code(url) == 200


def test_a_port_that_is_taken_is_told_and_waited_for(endpoint: Endpoint) -> None:
    """In one sentence with what to do; once it is free it is taken."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        endpoint.change(DaemonConfig(listen=str(port)))
        (status,) = until(lambda: endpoint.statuses if endpoint.statuses[0].trouble else ())
        assert status.trouble == (
            f"the monitoring cannot listen on port {port} of 127.0.0.1: Address already in use; "
            "free it, or change `listen` in [daemon]"
        )
        assert endpoint.url is None
    assert code(until(lambda: endpoint.url)) == 200
    assert endpoint.statuses[0].trouble is None


@pytest.mark.parametrize("host", ["no-such-machine.invalid", "x" * 70 + ".invalid", "203.0.113.7"])
def test_an_address_that_is_not_ours_is_told(endpoint: Endpoint, host: str) -> None:
    """Whatever is wrong with it."""
    endpoint.change(DaemonConfig(listen=f"{host}:9464"))
    trouble = until(lambda: endpoint.statuses[0].trouble)
    assert trouble.startswith(f"the monitoring cannot listen on port 9464 of {host}: ")


def test_another_address_takes_the_place_of_the_first(endpoint: Endpoint) -> None:
    """At once; what does not change it lets it be."""
    endpoint.change(DaemonConfig(listen="127.0.0.1:0"))
    first = until(lambda: endpoint.url)
    endpoint.change(DaemonConfig(listen="0", stalled_seconds=1))
    assert endpoint.url == first
    endpoint.change(DaemonConfig(listen="localhost:0"))
    second = until(lambda: endpoint.url)
    assert code(second) == 200
    with pytest.raises(OSError, match="refused"):
        code(first)
    endpoint.change(DaemonConfig())
    with pytest.raises(OSError, match="refused"):
        code(second)


def test_a_daemon_without_an_address_loads_no_server() -> None:
    """Neither http.server nor prometheus-client: they cost memory and a start."""
    check = (
        "import sys, turnlog.daemon.daemon; sys.exit({'http.server', 'prometheus_client'} & set(sys.modules) != set())"
    )
    assert subprocess.run([sys.executable, "-c", check], check=False, timeout=60).returncode == 0


@pytest.mark.parametrize("listen", ["", "x", "host:", ":1", "1:2:3", "host:65536", "99999", "http://x:1", "a b:1"])
def test_what_is_no_address_is_refused(listen: str) -> None:
    """With what it must be."""
    with pytest.raises(ValueError, match="listen must be HOST:PORT, PORT or off"):
        DaemonConfig(listen=listen)
