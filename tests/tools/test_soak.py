"""The soak as a program, for less time than it is made for; and that what it judges by finds what is wrong.

It lasts TURNLOG_SOAK_MINUTES, else two, beside the other tests: most of that time it waits.
"""

import importlib
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest

from turnlog.daemon.status import SinkStatus, Status

FOLDER = Path(__file__).resolve().parents[2] / "tools" / "bench"
MINUTES = os.environ.get("TURNLOG_SOAK_MINUTES", "2")

pytestmark = pytest.mark.timeout(float(MINUTES) * 60 + 180)


def test_a_daemon_keeps_its_size_its_word_and_every_turn(tmp_path: Path) -> None:
    """Through outages, reloads and a log that is renamed; the figures are one JSON object each."""
    command = [sys.executable, str(FOLDER / "soak"), "--minutes", MINUTES, "--json", "--dir", str(tmp_path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    figures = {row["case"]: row["value"] for row in map(json.loads, done.stdout.splitlines())}
    assert figures["soak/problems"] == 0
    for name in ("turns", "outages", "reloads", "probes", "memory/first-quarter", "open-files/last-quarter"):
        assert figures[f"soak/{name}"] > 0
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def truth(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """What the soak judges a status by."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("soak_truth")


def told(*, sink: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A status as its JSON has it: of 10 turns 7 are delivered."""
    team = SinkStatus("team", "batch", **{"state": "ok", "pending": 3, "delivered": 7, **WAITING, **sink})
    top = {"state": "running", "running": True, "turns": 10, "last_seq": 30, **fields}
    status = Status(at=datetime.now(UTC), directory="/d", version="1", sinks=(team,), **top)
    found: dict[str, Any] = json.loads(msgspec.json.encode(status))
    return found


WAITING = {"oldest_undelivered_seconds": 1.0}
KNOWN = {"seq": 30, "delivered": 7, "recorded": 10, "begun": 10, "received": 7}
LIES: dict[str, dict[str, Any]] = {
    "a turn too few": {"turns": 9, "sink": {"pending": 2}},
    "a turn too many": {"turns": 11, "sink": {"pending": 4}},
    "an old seq": {"last_seq": 29, "sink": {}},
    "delivered too many": {"sink": {"delivered": 8, "pending": 2}},
    "delivered too few": {"sink": {"delivered": 6, "pending": 4}},
    "paused while it is not": {"sink": {"state": "paused"}},
    "dead": {"sink": {"dead": 1, "pending": 2}},
    "a turn that is nowhere": {"sink": {"pending": 2}},
    "a turn that is twice": {"sink": {"pending": 4}},
    "none is the oldest": {"sink": {"oldest_undelivered_seconds": None}},
    "not running": {"state": "starting", "sink": {}},
}


def test_what_is_true_is_taken(truth: ModuleType) -> None:
    """Exactly so where nothing happens meanwhile, and within what happened where something does."""
    known = truth.Known(**KNOWN)
    assert list(truth.untrue(told(sink={}), known, known)) == []
    later = truth.Known(**{**KNOWN, "begun": 12, "seq": 40, "delivered": 9, "pauses": 1, "paused": "unavailable"})
    assert list(truth.untrue(told(turns=11, sink={"state": "paused", "delivered": 8}), known, later)) == []


@pytest.mark.parametrize("lie", LIES)
def test_every_lie_is_found(truth: ModuleType, lie: str) -> None:
    """Where nothing happens between two looks there is one truth."""
    known = truth.Known(**KNOWN)
    assert list(truth.untrue(told(**LIES[lie]), known, known)) != []


def test_a_pause_that_is_not_told_is_found(truth: ModuleType) -> None:
    """If the log said so before and after."""
    known = truth.Known(**KNOWN, paused="unavailable", pauses=1)
    assert list(truth.untrue(told(sink={}), known, known)) != []


@pytest.mark.parametrize(("first", "last", "grown"), [(50.0, 51.0, []), (50.0, 60.0, ["memory"])])
def test_growth_is_found(monkeypatch: pytest.MonkeyPatch, first: float, last: float, grown: list[str]) -> None:
    """From the first quarter to the last, and not for one moment in between."""
    monkeypatch.syspath_prepend(str(FOLDER))
    growth = importlib.import_module("soak_growth")
    sizes = [first] * 4 + [999.0] + [first] * 3 + [last] * 4
    samples = [growth.Sample({"memory": size, "open-files": 9.0, "threads": 4.0}, 0.0, 0.0) for size in sizes]
    assert [problem.partition(" ")[0] for problem in growth.growth(samples)] == grown
