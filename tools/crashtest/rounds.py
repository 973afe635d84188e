"""One round: what it is given, what it counts, and the process that it runs in."""

import json
import os
import shutil
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from builds import Build
from children import SECONDS_MAX, Child

_TOLD_MAX = 5
"""So many broken promises are told of one round."""


def say(text: str) -> None:
    """Tell the person at the terminal; stdout is for what came of it."""
    print(text, file=sys.stderr, flush=True)


def seeded(seed: str | float) -> Random:
    """Decisions that are the same for the same seed."""
    return Random(seed)  # noqa: S311 - it chooses moments, not keys


@dataclass
class Round:
    """A round of a group: all that it decides comes from its `seed`."""

    group: str
    seed: int
    folder: Path
    build: Build
    events: int = 0  # acknowledged
    crashes: int = 0
    broken: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = seeded(f"{self.group} {self.seed}")

    @property
    def directory(self) -> Path:
        """Where the log of this round stands."""
        return self.folder / "data"


def play(this: Round, work: Callable[[Round], None]) -> None:
    """Run a round in a process of its own, and take over what it counted and found."""
    this.folder.mkdir(parents=True)
    child = Child(lambda pipe: _report(this, work, pipe))
    try:
        status = child.wait()
    finally:
        child.kill()
    if status != 0 or not child.lines:
        this.broken.append(_why_it_ended(status))
    else:
        this.events, this.crashes, broken = json.loads(child.lines[-1])
        this.broken += broken
    if this.broken:
        (this.folder / "broken.txt").write_text("\n".join([*this.broken, ""]), encoding="utf-8")
    else:
        shutil.rmtree(this.folder)


def _report(this: Round, work: Callable[[Round], None], pipe: int) -> None:
    try:
        work(this)
    except Exception as error:  # noqa: BLE001 - a log that raises what it should not breaks a promise too
        said = "".join(traceback.format_exception_only(error)).strip().replace("\n", " ")
        this.broken.append(f"the round ended with an exception: {said} (see traceback.txt)")
        (this.folder / "traceback.txt").write_text(traceback.format_exc(), encoding="utf-8")
    data = json.dumps([this.events, this.crashes, this.broken[:_TOLD_MAX]]).encode() + b"\n"
    while data:
        data = data[os.write(pipe, data) :]


def _why_it_ended(status: int) -> str:
    if status == -14:  # SIGALRM
        return f"the round was not done within {SECONDS_MAX} seconds: somebody waits for ever"
    return f"the round's process ended with {status} and said nothing"
