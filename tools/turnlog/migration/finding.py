"""Where the files of an old setup are: by their names, in a folder and the folders in it."""

import os
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from turnlog.errors import WrongUsage

SAVE_DATA = "save_data.jsonl"

_WORKER_NAMES = ("config.yaml", "config.yml")
_DEPTH_MAX = 2
_FOREIGN_FOLDERS = ("node_modules", "venv", "site-packages", "__pycache__")


class OldFiles(Struct, frozen=True):
    """What an old setup consists of.

    `turns` is the file that the assistant wrote, `marks` tell how many of its lines were delivered, `env` is the file
    of variables, `workers` are the configurations of the workers, `calendars` those of CalSync. `other_turns` and
    `other_envs` have the names of such files and stand where they may be copies.
    """

    turns: Path | None = None
    marks: tuple[Path, ...] = ()
    env: Path | None = None
    workers: tuple[Path, ...] = ()
    calendars: tuple[Path, ...] = ()
    other_turns: tuple[Path, ...] = ()
    other_envs: tuple[Path, ...] = ()


def find_old_files(path: Path) -> OldFiles:
    """The old files at `path`: the folder of the scripts, its data folder, or the file of turns itself.

    Looks at names alone, two folders deep, and follows no links to folders. Raises WrongUsage if nothing is there.
    """
    if not path.exists():
        raise WrongUsage(f"{path} is not there; name the folder of the old scripts")
    folder, turns = _start(path)
    files = list(_files(folder))
    named = [file for file in files if file.name == SAVE_DATA]
    if turns is None:
        turns = next((file for file in (folder / "data" / SAVE_DATA, folder / SAVE_DATA) if file in named), None)
    envs = [file for file in files if file.name == ".env"]
    env = next((file for file in (folder / ".env", folder / "data" / ".env") if file in envs), None)
    found = OldFiles(
        turns=turns,
        marks=tuple(_marks(turns, folder)) if turns else (),
        env=env,
        workers=tuple(file for file in files if file.name in _WORKER_NAMES),
        calendars=tuple(file for file in files if file.name == "config.json"),
        other_turns=tuple(file for file in named if file != turns),
        other_envs=tuple(file for file in envs if file != env),
    )
    if found == OldFiles():
        raise WrongUsage(
            f"no old setup is in {path}: there is no {SAVE_DATA}, .env, config.yaml or config.json; name the folder of "
            "the old scripts"
        )
    return found


def _start(path: Path) -> tuple[Path, Path | None]:
    """The folder of the scripts, and the file of turns if it was named."""
    path = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() follows links; the user named the link
    folder = path if path.is_dir() else path.parent
    return (folder.parent if folder.name == "data" else folder), (None if path.is_dir() else path)


def _files(folder: Path, depth: int = 0) -> Iterator[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return
    yield from (entry for entry in entries if entry.is_file())
    for entry in entries if depth < _DEPTH_MAX else ():
        if entry.is_dir() and not entry.is_symlink() and _is_ours(entry.name):
            yield from _files(entry, depth + 1)


def _is_ours(name: str) -> bool:
    return not name.startswith(".") and name not in _FOREIGN_FOLDERS


def _marks(turns: Path, folder: Path) -> Iterator[Path]:
    """Where a mark of progress may stand: beside the turns under their name, or alone."""
    beside = (turns.with_name(f"{turns.name}.progress"), turns.with_suffix(".progress"), turns.parent / ".progress")
    for file in dict.fromkeys((*beside, folder / ".progress")):
        if file.is_file():
            yield file
