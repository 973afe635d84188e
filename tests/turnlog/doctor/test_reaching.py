"""Asking sinks: those that answer, refuse, hang and break."""

import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from turnlog.config import Config, parse
from turnlog.doctor import reaching
from turnlog.doctor.findings import Finding
from turnlog.doctor.reaching import check_sinks
from turnlog.doctor.subject import Subject
from turnlog.sinks.memory import MemorySink
from turnlog.testing.memobase import MemobaseDouble

from ..sinks.hooks import serving

TOKEN = "canary-6620-token"
NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Finding]]:
    """Ask the sinks of a configuration, in TOML."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)

    def ask(*sinks: str) -> list[Finding]:
        config = parse("".join(sinks), tmp_path / "turnlog.toml")
        return list(check_sinks(Subject(tmp_path, config, "", {})))

    return ask


def sink(kind: str, **options: Any) -> str:
    lines = "".join(f"{key} = {value if isinstance(value, bool) else repr(value)}\n" for key, value in options.items())
    return f"[[sinks]]\ntype = '{kind}'\n{lines}"


def memobase(url: str, name: str = "memory", file: str = "token") -> str:
    return f"{sink('memobase', name=name, url=url)}token = {{ file = '{file}' }}\n"


@pytest.fixture
def double(tmp_path: Path) -> Iterator[MemobaseDouble]:
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "wrong").write_text(f"wrong-{TOKEN}")
    with MemobaseDouble(TOKEN) as double:
        yield double


def test_a_sink_that_is_there_one_that_refuses_and_one_that_is_away_are_told_apart(
    ask: Callable[..., list[Finding]], double: MemobaseDouble
) -> None:
    """Each by its name, with what to do; no token is told."""
    found = ask(memobase(double.url), memobase(double.url, "shy", "wrong"), memobase(NOBODY, "away"))
    assert [(finding.name, finding.state) for finding in found] == [
        ("sink memory", "ok"), ("sink shy", "fail"), ("sink away", "fail"),
    ]  # fmt: skip
    assert found[1].sentence.startswith("unauthorized: ")
    assert found[1].remedy == "correct the token"
    assert found[2].sentence.startswith("unavailable: ")
    assert TOKEN not in str(found)


def test_a_sink_that_hangs_delays_nobody_for_long(
    ask: Callable[..., list[Finding]], double: MemobaseDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told as one that does not answer; the others are asked meanwhile."""
    monkeypatch.setattr(reaching, "ANSWER_SECONDS", 1.0)
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        found = ask(memobase(f"http://127.0.0.1:{silent.getsockname()[1]}", "silent"), memobase(double.url))
    assert [finding.state for finding in found] == ["fail", "ok"]
    assert "did not answer within 1 s" in found[0].sentence


def test_a_sink_whose_check_breaks_is_told_without_what_it_said(
    ask: Callable[..., list[Finding]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else's sink may raise anything, with a secret in it."""

    def fail(self: MemorySink) -> None:
        raise RuntimeError(TOKEN)

    monkeypatch.setattr(MemorySink, "check", fail)
    (finding,) = ask(sink("memory", name="mem"))
    assert finding.state == "fail"
    assert finding.sentence.startswith("its check broke: RuntimeError at ")
    assert TOKEN not in str(finding)


def test_a_sink_whose_configuration_is_broken_is_passed_over(ask: Callable[..., list[Finding]]) -> None:
    """That is told elsewhere."""
    (finding,) = ask(memobase(NOBODY, file="nowhere"))
    assert finding.state == "skip"


def test_a_file_is_looked_at_and_not_made(ask: Callable[..., list[Finding]], tmp_path: Path) -> None:
    """Nor is it locked: somebody may be writing to it."""
    found = ask(sink("jsonl", name="a", path="turns.jsonl"), sink("jsonl", name="b", path="no/such/turns.jsonl"))
    assert [finding.state for finding in found] == ["ok", "fail"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("ahead", "states"), [(3600, ["ok", "warn"]), (-3600, ["ok", "warn"]), (5, ["ok"])])
def test_a_server_with_another_time_is_a_warning(
    ask: Callable[..., list[Finding]], ahead: float, states: list[str]
) -> None:
    """By its Date header; a few seconds are nothing. Both clocks are named, for nobody knows which is right."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._send()

        def do_GET(self) -> None:
            self._send()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._send()

        def _send(self) -> None:
            self.send_response_only(200)
            self.send_header("Date", format_datetime(datetime.now(UTC) + timedelta(seconds=ahead), usegmt=True))
            self.send_header("Content-Length", "2")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(b"{}")

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server, serving(server) as url:
        found = ask(sink("batch", name="team", url=url))
    assert [finding.state for finding in found] == states
    assert "clock of the sink 'team'" in found[-1].sentence or ahead == 5


def test_without_sinks_nobody_is_asked(tmp_path: Path) -> None:
    """Nor where the configuration cannot be read."""
    for config in (Config(), None):
        assert [f.state for f in check_sinks(Subject(tmp_path, config, "broken", {}))] == ["skip"]
