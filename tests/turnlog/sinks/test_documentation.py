"""The code in docs/sinks.md is what it says: each piece is taken from the page and run."""

import re
import sys
import tomllib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from eventlog import FAILURE_KINDS, Part
from turnlog.config import Config, SinkConfig
from turnlog.errors import ConfigError
from turnlog.sinks.base import Limits, Refused, Sink
from turnlog.sinks.jsonl import JsonlOptions
from turnlog.sinks.registry import open_sink
from turnlog.sinks.rendering import RenderedMessage, RenderedTurn
from turnlog.sinks.webhook import WebhookOptions, render
from turnlog.testing import outgoing
from turnlog.testing.sink_contract import SinkContract, said

from .hooks import Hook, hooking
from .installed import install
from .test_webhook import SECRET, open_hook

PAGE = (Path(__file__).parents[3] / "docs" / "sinks.md").read_text(encoding="utf-8")
VERIFICATION, SINK, CONTRACT = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
(POINTS,) = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
OTHER_SECRET = "whsec_" + "QUJD" * 10
MODULE = "your_package"


def run(code: str, name: str = "documented") -> ModuleType:
    """A piece of code as a module."""
    module = ModuleType(name)
    exec(compile(code, "docs/sinks.md", "exec"), module.__dict__)  # noqa: S102 - it is our own page
    return module


def run_contract() -> type[SinkContract]:
    """The page's test of the page's sink."""
    sys.modules[MODULE] = run(SINK, MODULE)
    try:
        tested: type[SinkContract] = run(CONTRACT).TestSqlite
    finally:
        del sys.modules[MODULE]
    return tested


Documented: Any = run_contract()


class TestDocumentedSink(Documented):
    """It passes its own test, which is the contract."""


@pytest.fixture
def hook() -> Iterator[Hook]:
    with hooking() as running:
        yield running


def test_the_documented_sink_is_short() -> None:
    """A whole sink is under 60 lines."""
    assert 20 < len(SINK.splitlines()) < 60


def test_the_documented_sink_is_found_by_its_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Installed as the page has it, it is a type like any other; options are checked, failures blame no turn."""
    points = tomllib.loads(POINTS)["project"]["entry-points"]["turnlog.sinks"]
    monkeypatch.syspath_prepend(install(tmp_path / "site", "your-distribution", points, **{MODULE: SINK}))
    monkeypatch.delitem(sys.modules, MODULE, raising=False)

    def opened(**options: Any) -> Sink:
        return open_sink(Config(path=tmp_path / "turnlog.toml"), SinkConfig("s", "sqlite", options=options))

    sink = opened(path="t.sqlite")
    assert (type(sink).__module__, type(sink).__name__, sink.type) == (MODULE, "SqliteSink", "sqlite")
    assert sink.check() is None
    assert (tmp_path / "t.sqlite").exists()
    with pytest.raises(ConfigError, match="did you mean 'path'"):
        opened(pth="t.sqlite")
    (tmp_path / "text").write_text("no database, but long enough to look at for what it is")
    for path in ("none/t.sqlite", "text"):
        (refused,) = opened(path=path).deliver(outgoing([said("c", "hi")]))
        assert isinstance(refused, Refused)
        assert refused.kind == "unavailable"
    monkeypatch.delitem(sys.modules, MODULE)


def test_the_documented_verification_tells_real_requests_from_forged_ones(hook: Hook) -> None:
    """What the sink sends is genuine; another body, id, time or key is not, nor is what is too old."""
    is_genuine = run(VERIFICATION).is_genuine
    with closing(open_hook(hook.url)) as sink:
        sink.deliver(outgoing([said("c", "世界")]))
    (posted,) = hook.requests
    headers = posted.headers
    sent_at = int(headers["webhook-timestamp"])
    assert is_genuine(headers, posted.body, SECRET)
    assert is_genuine({**headers, "webhook-signature": f"v1,old {headers['webhook-signature']}"}, posted.body, SECRET)
    assert not is_genuine(headers, posted.body + b" ", SECRET)
    assert not is_genuine({**headers, "webhook-id": "msg_other"}, posted.body, SECRET)
    assert not is_genuine({**headers, "webhook-timestamp": str(sent_at + 1)}, posted.body, SECRET)
    assert not is_genuine(headers, posted.body, OTHER_SECRET)
    assert not is_genuine(headers, posted.body, SECRET, now=lambda: sent_at + 301)


def test_every_field_and_option_is_documented() -> None:
    """Of a line and its messages and parts, and of both sinks' configuration."""
    structs = (RenderedTurn, RenderedMessage, Part, WebhookOptions, JsonlOptions)
    names = {name for struct in structs for name in struct.__struct_fields__}
    told = {*re.findall(r"`(\w+)`", PAGE), *re.findall(r"^ +(?:# )?(\w+) = ", PAGE, re.MULTILINE)}
    assert names - told == set()


def test_every_part_of_the_interface_is_documented() -> None:
    """What a sink has, what it answers, and the kinds of failure."""
    words = [*Sink.__annotations__, *(name for name in vars(Sink) if not name.startswith("_")), *FAILURE_KINDS]
    words += [*Limits.__struct_fields__, *Refused.__struct_fields__, "find", "flush", "flush_after_seconds"]
    assert [word for word in set(words) if not re.search(rf"`[^`\n]*\b{word}\b[^`\n]*`", PAGE)] == []


def test_the_documented_body_is_the_real_one() -> None:
    """The example's keys, in order; the turn begins as the example does."""
    body = render(outgoing([said("c", "hi")])).decode()
    (example,) = re.findall(r'^    (\{"type": "turns\.recorded".*)$', PAGE, re.MULTILINE)
    assert re.findall(r'"(\w+)":', body)[:6] == re.findall(r'"(\w+)":', example)
