"""Where the files of an old setup are."""

from pathlib import Path

import pytest

from turnlog.errors import WrongUsage
from turnlog.migration.finding import find_old_files


def laid_out(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")


@pytest.mark.parametrize("named", ["", "data", "data/save_data.jsonl"])
def test_any_part_of_the_setup_leads_to_all_of_it(tmp_path: Path, named: str) -> None:
    """The folder of the scripts, its data folder, and the file of turns are the same setup."""
    laid_out(
        tmp_path, "data/save_data.jsonl", "data/.progress", ".env", "workers/gpt/config.yaml", "config.json",
        "old/save_data.jsonl", "workers/.env",
    )  # fmt: skip
    found = find_old_files(tmp_path / named)
    assert found.turns == tmp_path / "data/save_data.jsonl"
    assert found.marks == (tmp_path / "data/.progress",)
    assert found.env == tmp_path / ".env"
    assert found.workers == (tmp_path / "workers/gpt/config.yaml",)
    assert found.calendars == (tmp_path / "config.json",)
    assert found.other_turns == (tmp_path / "old/save_data.jsonl",)
    assert found.other_envs == (tmp_path / "workers/.env",)


def test_a_file_of_turns_may_have_any_name_if_it_is_named(tmp_path: Path) -> None:
    """Its mark has its name too."""
    laid_out(tmp_path, "mine.jsonl", "mine.jsonl.progress")
    found = find_old_files(tmp_path / "mine.jsonl")
    assert (found.turns, found.marks) == (tmp_path / "mine.jsonl", (tmp_path / "mine.jsonl.progress",))


def test_links_and_other_programs_folders_are_not_searched(tmp_path: Path) -> None:
    """A link to a folder may lead anywhere, and round in a circle."""
    laid_out(tmp_path, "setup/.env", "setup/.git/config.yaml", "setup/venv/config.yaml", "setup/a/b/c/config.yaml")
    laid_out(tmp_path, "elsewhere/config.yaml")
    (tmp_path / "setup/link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "setup/circle").symlink_to(tmp_path / "setup")
    assert find_old_files(tmp_path / "setup").workers == ()


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_nothing_old_is_wrong_usage(tmp_path: Path, name: str) -> None:
    """Said with the folder's name."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(WrongUsage, match=name):
        find_old_files(tmp_path / name)
