"""Sinks of other distributions: found by their entry point, never in the place of ours, told of when broken."""

import subprocess
import sys
from pathlib import Path

import pytest

from turnlog.config import Config, SinkConfig
from turnlog.errors import ConfigError
from turnlog.sinks.base import Sink
from turnlog.sinks.memory import MemorySink
from turnlog.sinks.registry import SINK_TYPES, open_sink

from .installed import install

MODULE = """
from turnlog.errors import ConfigError
from turnlog.sinks.memory import MemorySink

class Kept(MemorySink):
    type = "kept"

class Strict(MemorySink):
    @classmethod
    def from_options(cls, options, *, where, folder):
        raise ConfigError(f"{where}: as the sink has it")

class Broken(MemorySink):
    @classmethod
    def from_options(cls, options, *, where, folder):
        raise KeyError("url")

class Poor:
    @classmethod
    def from_options(cls, options, *, where, folder):
        return cls()
    type, limits, connections, deliver = "poor", None, 1, None

number = 5
"""


def opened(kind: str) -> Sink:
    return open_sink(Config(path=Path("turnlog.toml")), SinkConfig("mine", kind))


@pytest.fixture(autouse=True)
def _a_distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = {
        "kept": "somebodys_sinks:Kept",
        "strict": "somebodys_sinks:Strict",
        "broken": "somebodys_sinks:Broken",
        "poor": "somebodys_sinks:Poor",
        "number": "somebodys_sinks:number",
        "absent": "somebodys_sinks:Absent",
        "unwritten": "no_such_module_of_anybody:Sink",
        "raising": "raising_sinks:Sink",
        "memory": "somebodys_sinks:Broken",
    }
    modules = {"somebodys_sinks": MODULE, "raising_sinks": "raise RuntimeError('no licence')"}
    monkeypatch.syspath_prepend(install(tmp_path / "site", "somebodys-sinks", points, **modules))
    for name in modules:
        monkeypatch.delitem(sys.modules, name, raising=False)


def test_a_sink_of_another_distribution_is_found() -> None:
    """By the name of its entry point."""
    assert opened("kept").type == "kept"


def test_ours_are_never_replaced() -> None:
    """A distribution that offers one of our types is not asked."""
    assert type(opened("memory")) is MemorySink


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("strict", "turnlog.toml, sink 'mine': as the sink has it"),
        ("broken", "cannot be opened: KeyError: 'url'; update or uninstall it"),
        ("poor", "is no sink: it lacks check, close, idempotent, places, remote, revisions, size; deriving it"),
        ("number", "is no sink: somebodys_sinks:number has no from_options"),
        ("absent", "cannot be loaded: AttributeError: module 'somebodys_sinks' has no attribute 'Absent'"),
        ("unwritten", "cannot be loaded: ModuleNotFoundError: No module named 'no_such_module_of_anybody'"),
        ("raising", "cannot be loaded: RuntimeError: no licence"),
        ("kepd", "unknown type 'kepd'; did you mean 'kept'?"),
        ("webhok", "unknown type 'webhok'; did you mean 'webhook'?"),
        ("zzz", "known: absent, batch, broken, jsonl, kept, memobase, memory, number, poor"),
    ],
)
def test_what_is_wrong_with_a_type_is_told(kind: str, sentence: str) -> None:
    """In one sentence that names the sink, and the distribution if it is its fault."""
    with pytest.raises(ConfigError) as told:
        opened(kind)
    assert sentence in str(told.value)
    assert str(told.value).startswith("turnlog.toml, sink 'mine': ")
    assert kind in ("strict", "kepd", "webhok", "zzz") or "of the distribution somebodys-sinks " in str(told.value)


def test_a_type_that_two_distributions_offer_is_nobodys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever came first on the path would get the turns: both are named instead."""
    monkeypatch.syspath_prepend(install(tmp_path / "other", "other-sinks", {"kept": "other:Kept"}))
    with pytest.raises(ConfigError, match="'kept' is offered by other-sinks and somebodys-sinks; uninstall"):
        opened("kept")


def test_ours_are_opened_without_looking_for_others() -> None:
    """Reading the metadata of everything that is installed takes its time; a sink of ours does not pay for it."""
    program = (
        "import sys; from pathlib import Path; from turnlog.config import Config, SinkConfig;"
        "from turnlog.sinks.registry import open_sink;"
        "open_sink(Config(), SinkConfig('m', 'memory')); print('importlib.metadata' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "False\n"


def test_every_type_of_ours_calls_itself_so() -> None:
    """The table and the classes agree."""
    server = {"url": "http://h"}
    options = {"batch": server, "memobase": server, "webhook": server, "jsonl": {"path": "f"}}
    for kind in SINK_TYPES:
        sink = open_sink(Config(), SinkConfig("s", kind, options=options.get(kind, {})))
        assert sink.type == kind
        sink.close()
