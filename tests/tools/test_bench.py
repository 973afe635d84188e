"""The benchmark as a program: what it prints, and what it leaves behind. No figure is judged here."""

import json
import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).resolve().parents[2] / "tools" / "bench" / "run"
FIELDS = {"case", "value", "unit", "ratio", "reference"}


def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
    """Run it to its end."""
    command = [sys.executable, str(PROGRAM), *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


def test_json_has_one_object_per_case_with_the_documented_fields(tmp_path: Path) -> None:
    """`--json` prints one object per case: its name, a figure with its unit, and a ratio with what it refers to."""
    done = run("--quick", "--json", "--case", "append-os", "--case", "fetch", "--dir", tmp_path)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    cases = [row["case"] for row in rows]
    assert {"append-os/turnlog/1-writer", "fetch/median", "fetch/99th"} <= set(cases)
    assert len(cases) == len(set(cases))
    for row in rows:
        assert set(row) == FIELDS
        assert row["value"] > 0
        assert row["unit"]
        assert (row["ratio"] is None) == (row["reference"] is None)
        assert row["reference"] is None or row["reference"] in cases


def test_it_removes_what_it_wrote(tmp_path: Path) -> None:
    """Nothing is left in the folder that it worked in; the figures stand in a table on stdout."""
    done = run("--quick", "--case", "fetch", "--dir", tmp_path)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []
    assert done.stdout.splitlines()[0].split() == ["case", "value", "unit", "ratio", "reference"]


def test_an_unknown_case_is_wrong_usage() -> None:
    """A case that does not exist ends 2 and names those that do."""
    done = run("--case", "nonsense")
    assert done.returncode == 2
    assert "old-way" in done.stderr
