"""The benchmarks as programs: what they print, and what they leave behind. No figure is judged here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "tools" / "bench"
FIELDS = {"case", "value", "unit", "ratio", "reference"}


def run(program: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
    """Run it to its end."""
    command = [sys.executable, str(FOLDER / program), *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("program", "measured", "expected"),
    [
        ("run", ["append-os", "fetch"], {"append-os/turnlog/1-writer", "fetch/median", "fetch/99th"}),
        ("deliver", ["receipt"], {"receipt/median", "receipt/99th"}),
        ("sources", ["save_data"], {"save_data/json.loads", "save_data/import", "save_data/import-again"}),
        ("daemon", ["reach"], {"reach/recorded/median", "reach/recorded/99th", "reach/posted/median"}),
    ],
)
def test_json_has_one_object_per_case_with_the_documented_fields(
    tmp_path: Path, program: str, measured: list[str], expected: set[str]
) -> None:
    """`--json` prints one object per case: its name, a figure with its unit, and a ratio with what it refers to."""
    chosen = [argument for name in measured for argument in ("--case", name)]
    done = run(program, "--quick", "--json", "--dir", tmp_path, *chosen)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    cases = [row["case"] for row in rows]
    assert expected <= set(cases)
    assert len(cases) == len(set(cases))
    for row in rows:
        assert set(row) == FIELDS
        assert row["value"] > 0
        assert row["unit"]
        assert (row["ratio"] is None) == (row["reference"] is None)
        assert row["reference"] is None or row["reference"] in cases
    assert list(tmp_path.iterdir()) == []


def test_it_removes_what_it_wrote(tmp_path: Path) -> None:
    """Nothing is left in the folder that it worked in; the figures stand in a table on stdout."""
    done = run("run", "--quick", "--case", "fetch", "--dir", tmp_path)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []
    assert done.stdout.splitlines()[0].split() == ["case", "value", "unit", "ratio", "reference"]


@pytest.mark.parametrize(
    ("program", "known"),
    [("run", "old-way"), ("deliver", "recovery"), ("watch", "latency"), ("daemon", "idle"), ("sources", "memory")],
)
def test_an_unknown_case_is_wrong_usage(program: str, known: str) -> None:
    """A case that does not exist ends 2 and names those that do."""
    done = run(program, "--case", "nonsense")
    assert done.returncode == 2
    assert known in done.stderr
