"""The command line: which cases, how large, where, and in which form the figures come."""

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from noise import Noise
from report import Row, as_json, as_table

from bench import FULL, QUICK, Bench, say

Cases = Callable[[Bench], Iterator[Row]]
"""Measures something, and yields its rows."""


@dataclass(frozen=True)
class Program:
    """What it is called, what it says of itself, and its cases by name, in the order in which they run.

    `more` are cases that take long: each runs where an option of its name asks for it, or `--case`.
    """

    name: str
    description: str
    cases: Mapping[str, Cases]
    more: Mapping[str, Cases] = field(default_factory=dict)

    def chosen(self, options: argparse.Namespace) -> Mapping[str, Cases]:
        """The cases that the command line asks for."""
        asked = [name for name in self.more if getattr(options, name)]
        names = [*(options.case or self.cases), *asked]
        return {name: cases for name, cases in {**self.cases, **self.more}.items() if name in names}


CHECKOUT = Path(__file__).resolve().parents[2]


def main(program: Program, arguments: Sequence[str]) -> int:
    """Measure and print; returns the exit code."""
    options = _parser(program).parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))  # so that the folder is removed
    rows: list[Row] = []
    with workplace(options.dir) as folder:
        bench = Bench(folder, QUICK if options.quick else FULL)
        for row in _measure(bench, program.chosen(options)):
            rows.append(row)
            if options.json:
                print(as_json(row), flush=True)
    if not options.json:
        print(as_table(rows))
    return 0


def _measure(bench: Bench, chosen: Mapping[str, Cases]) -> Iterator[Row]:
    whole = Noise()
    for name, cases in chosen.items():
        begin, noise = time.monotonic(), Noise()
        say(f"{name} ...")
        yield from cases(bench)
        say(f"{name}: {time.monotonic() - begin:.0f} s{_others(noise)}")
    say(f"done{_others(whole)}")


def _others(noise: Noise) -> str:
    percent = noise.percent()
    return "" if percent is None else f"; other work took {percent:.0f} % of the machine"


def _parser(program: Program) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=program.name, description=program.description)
    parser.add_argument("--quick", action="store_true", help="small sizes: under a minute, and noisier")
    parser.add_argument("--json", action="store_true", help="JSON Lines, one object per case, instead of a table")
    parser.add_argument(
        "--case", action="append", choices=[*program.cases, *program.more], help="only this one; can be given again"
    )
    for name in program.more:
        parser.add_argument(f"--{name}", action="store_true", help=f"measure {name} too, which takes long")
    parser.add_argument("--dir", type=Path, help="work below this folder; a disk, for syncs must be real")
    return parser


@contextmanager
def workplace(parent: Path | None) -> Iterator[Path]:
    """A folder that is removed at the end; in the checkout `build/`, which git ignores, unless told otherwise."""
    chosen = parent or CHECKOUT / "build"
    chosen.mkdir(parents=True, exist_ok=True)
    if _in_memory(chosen):
        say(f"{chosen} is in memory: what is called durable there means nothing. Name a folder on a disk with --dir.")
    try:
        with tempfile.TemporaryDirectory(prefix="bench-", dir=chosen) as folder:
            yield Path(folder)
    finally:
        if parent is None:
            with suppress(OSError):  # somebody else uses it
                chosen.rmdir()


def _in_memory(folder: Path) -> bool:
    """Whether a folder is on a file system without a disk; False where that cannot be told."""
    device = os.stat(folder).st_dev  # noqa: PTH116 - os.major takes what this gives
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return False
    kinds = [line.partition(" - ")[2].split()[0] for line in mounts if line.split()[2] == wanted]
    return bool(kinds) and kinds[-1] in ("tmpfs", "ramfs")
