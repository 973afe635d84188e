"""The command line: which cases, how large, where, and in which form the figures come."""

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from appends import append_cases, unsynced_cases, wait_cases
from follows import follow_cases, idle_cases
from lookups import checkpoint_cases, fetch_cases
from noise import Noise
from old_way import old_way_cases
from replays import memory_cases, replay_cases
from report import Row, as_json, as_table

from bench import FULL, QUICK, Bench, say

CASES: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "append": append_cases,
    "append-os": unsynced_cases,
    "wait": wait_cases,
    "replay": replay_cases,
    "memory": memory_cases,
    "checkpoint": checkpoint_cases,
    "fetch": fetch_cases,
    "follow": follow_cases,
    "idle": idle_cases,
    "old-way": old_way_cases,
}

CHECKOUT = Path(__file__).resolve().parents[2]


def main(arguments: Sequence[str]) -> int:
    """Measure and print; returns the exit code."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))  # so that the folder is removed
    rows: list[Row] = []
    with _workplace(options.dir) as folder:
        bench = Bench(folder, QUICK if options.quick else FULL)
        for row in _measure(bench, options.case or list(CASES)):
            rows.append(row)
            if options.json:
                print(as_json(row), flush=True)
    if not options.json:
        print(as_table(rows))
    return 0


def _measure(bench: Bench, names: Sequence[str]) -> Iterator[Row]:
    whole = Noise()
    for name in names:
        begin, noise = time.monotonic(), Noise()
        say(f"{name} ...")
        yield from CASES[name](bench)
        say(f"{name}: {time.monotonic() - begin:.0f} s{_others(noise)}")
    say(f"done{_others(whole)}")


def _others(noise: Noise) -> str:
    percent = noise.percent()
    return "" if percent is None else f"; other work took {percent:.0f} % of the machine"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tools/bench/run", description="Measure Turnlog beside its peers.")
    parser.add_argument("--quick", action="store_true", help="small sizes: under a minute, and noisier")
    parser.add_argument("--json", action="store_true", help="JSON Lines, one object per case, instead of a table")
    parser.add_argument("--case", action="append", choices=list(CASES), help="only this one; can be given again")
    parser.add_argument("--dir", type=Path, help="work below this folder; a disk, for syncs must be real")
    return parser


@contextmanager
def _workplace(parent: Path | None) -> Iterator[Path]:
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
