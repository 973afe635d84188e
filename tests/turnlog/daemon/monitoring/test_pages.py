"""The pages: what they answer, and that nobody's words are on them."""

import json
import sys
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from turnlog.daemon.monitoring.pages import Pages
from turnlog.daemon.status import Attention, Notice, SinkStatus, Status

from .support import NOW, WELL

CANARY = "canary 4711"
PATHS = ("/healthz", "/readyz", "/metrics", "/api/status")


def pages(status: Status = WELL, stuck: Callable[[], list[str]] = list) -> Pages:
    return Pages(lambda: status, stuck)


def test_health_is_that_all_gets_on() -> None:
    """It is told without a status, which a disk that hangs could keep waiting."""

    def never() -> Status:
        raise AssertionError

    assert Pages(never, list).get("/healthz", "").code == 200
    page = Pages(never, lambda: ["delivery"]).get("/healthz", "")
    assert (page.code, json.loads(page.body)) == (503, {"alive": False, "stuck": ["delivery"]})


def test_readiness_has_its_reasons() -> None:
    """As JSON, and 503."""
    assert json.loads(pages().get("/readyz", "").body) == {"ready": True, "state": "running", "reasons": []}
    page = pages(replace(WELL, state="draining")).get("/readyz", "")
    assert page.code == 503
    assert json.loads(page.body)["reasons"] == [{"kind": "daemon", "name": "daemon", "reason": "it is draining"}]


def test_another_path_names_those_that_there_are() -> None:
    """404, in a sentence, which does not repeat what was asked for."""
    page = pages().get(f"/{CANARY}", "")
    assert page.code == 404
    assert all(path.encode() in page.body for path in PATHS)
    assert CANARY.encode() not in page.body


def test_nobodys_words_are_on_any_page() -> None:
    """What a server answered, what a notice links to, what stands in a configuration."""
    sink = SinkStatus("s", "t", "paused", paused="unauthorized", paused_since=NOW, reason=CANARY)
    notice = Notice("mail", "export", "claude", CANARY, f"https://x/{CANARY}", NOW)
    attention = Attention(CANARY, "turnlog doctor")
    status = replace(WELL, sinks=(sink,), notices=(notice,), reload_error=CANARY, attention=attention)
    for path in PATHS:
        assert CANARY.encode() not in pages(status).get(path, "").body
    shown = json.loads(pages(status).get("/api/status", "").body)
    assert set(shown) == set(status.__struct_fields__)
    assert shown["reload_error"]
    assert shown["attention"]["command"] == "turnlog config check"


def test_who_asks_all_the_time_costs_one_status(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told again until it is stale."""
    asked = []
    found = Pages(lambda: asked.append(1) or WELL, list)  # type: ignore[func-returns-value]
    monkeypatch.setattr("turnlog.daemon.monitoring.pages.FRESH_SECONDS", 60.0)
    for _ in range(50):
        found.get("/readyz", "")
        found.get("/api/status", "")
    assert len(asked) == 1


def test_without_the_package_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what to install; the other pages are as before."""
    monkeypatch.delitem(sys.modules, "turnlog.daemon.monitoring.metrics", raising=False)
    for name in [name for name in sys.modules if name.partition(".")[0] == "prometheus_client"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    page = pages().get("/metrics", "")
    assert page.code == 501
    assert b"turnlog[metrics]" in page.body
    assert page.body.count(b"\n") == 1
    assert pages().get("/readyz", "").code == 200
