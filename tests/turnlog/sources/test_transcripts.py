"""Every shared transcript: imported as it is, and cut at random bytes first. What is in them is counted elsewhere.

TURNLOG_CUTS says at how many bytes each is cut; without it, a few files are cut once.
"""

import json
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventlog import EventLog, TurnRecorded
from projections import content_digest
from turnlog.cli.main import run
from turnlog.errors import WrongUsage
from turnlog.recorder import TurnRecorder
from turnlog.sources.base import SourceOptions
from turnlog.sources.importing import import_streams
from turnlog.sources.registry import source_type

from .shared import FOLDERS, TRANSCRIPTS

CUTS = int(os.environ.get("TURNLOG_CUTS", "0"))
SEED = (
    os.environ.get("TURNLOG_SEED") or os.environ.get("PYTEST_XDIST_TESTRUNUID") or str(random.SystemRandom().random())
)
"""Another one for each run, and the same in all processes of a run."""

NO_TRANSCRIPTS = ("ORIGIN.txt", ".expected.json", "chat.html", "message_feedback.json", "model_comparisons.json")

FILES = sorted(
    path
    for folder in FOLDERS
    for path in (TRANSCRIPTS / folder).rglob("*")
    if path.is_file() and not path.name.endswith(NO_TRANSCRIPTS)
)
WITH_TURNS = [path for path in FILES if not path.name.endswith(".meta.json")]
SAMPLES = WITH_TURNS if CUTS else random.Random(SEED).sample(WITH_TURNS, min(8, len(WITH_TURNS)))

pytestmark = pytest.mark.skipif(not FILES, reason="the shared transcripts are not here")


def source_of(path: Path) -> str:
    return FOLDERS[path.relative_to(TRANSCRIPTS).parts[0]]


def newest(log: Path) -> dict[tuple[str, str], bytes]:
    """The newest revision of each turn of each conversation."""
    events = (entry.event for entry in EventLog.open(log, read_only=True).read())
    found = (event for event in events if isinstance(event, TurnRecorded))
    return {(turn.conversation, turn.turn_id): content_digest(turn) for turn in found}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(TRANSCRIPTS))[:80])
def test_auto_imports_every_file(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a traceback; a second time nothing is recorded, and a dry run before says what is done."""

    def auto(*options: str) -> dict[str, int]:
        assert run(["--dir", str(tmp_path), "import", "auto", str(path), "--json", *options]) == 0
        return dict(json.loads(capsys.readouterr().out))

    would, did, again = auto("--dry-run"), auto(), auto()
    assert would == did
    assert (again["recorded"], again["revised"], again["quarantined"]) == (0, 0, did["quarantined"])
    assert len(newest(tmp_path)) == did["recorded"]


def bring_in(log: Path, name: str, path: Path) -> None:
    """Import a file that may be so damaged that it is refused."""
    source = source_type(name).from_options(SourceOptions("amy"))
    with TurnRecorder(log, durability="os") as recorder:
        try:
            import_streams(recorder, source, source.discover([path]))
        except WrongUsage as error:
            assert path.name in str(error)


def copied(path: Path, folder: Path) -> Path:
    """The file with those beside it, in a folder where it can be cut."""
    target = folder / path.parent.name / path.name
    target.parent.mkdir(parents=True)
    shutil.copyfile(path, target)
    return target


def cut_places(path: Path) -> Iterator[int]:
    chance = random.Random(f"{SEED} {path.relative_to(TRANSCRIPTS)}")
    return (chance.randrange(path.stat().st_size) for _ in range(CUTS or 1))


@pytest.mark.timeout(60 + 10 * CUTS)
@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: str(path.relative_to(TRANSCRIPTS))[:80])
def test_a_file_that_was_cut_and_is_whole_again_is_as_if_it_always_was(path: Path, tmp_path: Path) -> None:
    """The same conversations as of the whole file read once."""
    name, target = source_of(path), copied(path, tmp_path / "copy")
    content = path.read_bytes()
    bring_in(tmp_path / "once", name, target)
    whole = newest(tmp_path / "once")
    for number, cut in enumerate(cut_places(path)):
        log = tmp_path / f"log{number}"
        target.write_bytes(content[:cut])
        bring_in(log, name, target)
        target.write_bytes(content)
        bring_in(log, name, target)
        assert newest(log) == whole, f"cut at byte {cut} (seed {SEED})"
        shutil.rmtree(log)
