"""Where the packages were loaded from, and whose they are."""

import os
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest

from turnlog.doctor.installation import (
    IMPORT_NAMES,
    check_imports,
    check_packages,
    installed_at,
    judge_import,
    on_path,
    requirements_of,
)

OURS, THEIRS = Path("/site/eventlog"), Path("/elsewhere/eventlog")


def test_this_installation_is_in_order() -> None:
    """Every import name is where the distribution has it, and what it needs is there."""
    assert [finding.state for finding in check_imports()] == ["ok"] * len(IMPORT_NAMES)
    assert all(installed_at(name) for name in IMPORT_NAMES)
    assert {finding.state for finding in check_packages() if finding.name == "packages"} == {"ok"}


def test_requirements_are_read_from_the_metadata() -> None:
    """Names, least versions and extras."""
    found = {(r.name.lower(), r.extra): r.at_least for r in requirements_of(distribution("turnlog"))}
    assert found["msgspec", None] == "0.19"
    assert found["pyyaml", "migrate"] == "6"


@pytest.mark.parametrize(
    ("loaded", "expected", "others", "places", "state", "named"),
    [
        (OURS, [OURS], [], [OURS], "ok", [OURS]),
        (OURS, [], [], [OURS], "ok", ["no installed distribution"]),
        (None, [OURS], [], [], "fail", ["cannot be found"]),
        (THEIRS, [OURS], [], [THEIRS, OURS], "fail", [OURS, THEIRS]),
        (OURS, [OURS], ["axon"], [OURS], "warn", [OURS, "axon"]),
        (OURS, [OURS], [], [OURS, THEIRS], "warn", [OURS, THEIRS]),
    ],
)
def test_a_clash_is_named_with_both_places(
    loaded: Path | None, expected: list[Path], others: list[str], places: list[Path], state: str, named: list[object]
) -> None:
    """The one that was loaded and the one that has the name too, with what to do about it."""
    finding = judge_import("eventlog", loaded, expected, others, places)
    assert finding.state == state
    assert [str(name) for name in named if str(name) not in finding.sentence] == []
    assert bool(finding.remedy) == (state != "ok")


def test_every_place_of_a_name_on_a_path_is_found(tmp_path: Path) -> None:
    """Packages and modules, not folders that are none."""
    for name in ("a/eventlog", "c/eventlog", "b"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "a/eventlog/__init__.py").touch()
    (tmp_path / "b/eventlog.py").touch()
    folders = [str(tmp_path / name) for name in "abc"]
    assert on_path("eventlog", folders) == [tmp_path / "a/eventlog", tmp_path / "b/eventlog.py"]


@pytest.mark.parametrize("name", ["eventlog", "projections"])
def test_a_clash_that_keeps_turnlog_from_starting_is_named_all_the_same(tmp_path: Path, name: str) -> None:
    """One sentence in place of a traceback, whatever the command."""
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").touch()
    done = subprocess.run(
        [sys.executable, "-m", "turnlog", "doctor"],
        cwd=tmp_path / name,  # -m looks into the working folder first
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr.startswith(f"turnlog: {name} was loaded from {tmp_path / name}, but turnlog has it in ")
    assert done.stderr.count("\n") == 1
