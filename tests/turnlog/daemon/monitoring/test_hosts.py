"""Only hosts that are ours are answered for: loopback, what is configured, and where the request arrived."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnlog.daemon.monitoring.hosts import is_loopback, is_ours

OURS = (
    *("127.0.0.1", "127.0.0.1:9464", "127.8.9.1:1", "localhost", "LocalHost:9464", "[::1]", "[::1]:9464"),
    *("[0:0::1]:1", "[::ffff:127.0.0.1]:80", "10.1.2.3:9464", "monitor.internal", "MONITOR.internal:9464"),
)
THEIRS = (
    *("evil.example", "evil.example:9464", "localhost.evil.example", "127.0.0.1.evil.example", "10.1.2.4", ""),
    *("127.0.0.1:9464:1", "user@127.0.0.1", "127.0.0.1/", "127.0.0.1 evil.example", "[::2]", "0.0.0.1", "2130706433"),
)


@pytest.mark.parametrize("host", OURS)
def test_ours_are_answered(host: str) -> None:
    """In any spelling, with a port or without."""
    assert is_ours(host, "monitor.internal", "10.1.2.3")


@pytest.mark.parametrize("host", THEIRS)
def test_others_are_not(host: str) -> None:
    """However much they look like ours."""
    assert not is_ours(host, "monitor.internal", "10.1.2.3")


@given(st.text())
def test_whatever_is_sent_breaks_nothing(host: str) -> None:
    """Any text is ours or not, and none of those that name no loopback is ours where only loopback is listened on."""
    if is_ours(host, "127.0.0.1", "127.0.0.1"):
        assert "localhost" in host.lower() or "127." in host or "1" in host


@pytest.mark.parametrize(
    ("address", "loopback"), [("127.0.0.1", True), ("::1", True), ("192.168.1.1", False), ("x", False)]
)
def test_a_name_is_no_loopback_address(address: str, loopback: bool) -> None:
    """It may be anything by the next time it is looked up."""
    assert is_loopback(address) is loopback
