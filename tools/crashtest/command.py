"""The command line: which groups, how many rounds, from which seed, and what came of them.

* `kill`: processes that write and one that follows, killed at random microseconds.
* `disk`: writers on a disk that forgets what was not synced, block by block; they and the machine die at any call.
* `errors`: an error of the system at each call in turn.
* `kernel`: a file system that the kernel stops as a power cut would. Needs Linux and root.
* `limits`: errors that the kernel itself raises, at limits of the process and under strace.

Each round runs in a process of its own, bounded in time. A group ends with its first round that fails.
"""

import argparse
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom
from types import FrameType

from builds import BROKEN, Build
from disk import disk_round
from faults import errors_round
from kernel import kernel_round, why_not_kernel
from kill import kill_round
from limits import limits_round, why_not_limits
from rounds import Round, play

CHECKOUT = Path(__file__).resolve().parents[2]

GROUPS: dict[str, Callable[[Round], None]] = {
    "kill": kill_round,
    "disk": disk_round,
    "errors": errors_round,
    "kernel": kernel_round,
    "limits": limits_round,
}

WHY_NOT: dict[str, Callable[[Path], str]] = {"kernel": why_not_kernel, "limits": why_not_limits}
"""For groups that a machine may not allow: says why it does not, or nothing."""

_ABOUT = "Crash the log in every way that this machine allows, and look for what it promised."
_ROUNDS = 20
_SEEDS = 10**9


@dataclass
class Tally:
    """What came of one group; `skipped` says why it was not run."""

    group: str
    rounds: int = 0
    events: int = 0
    crashes: int = 0
    seconds: float = 0.0
    failed: Round | None = None
    skipped: str = ""

    def __str__(self) -> str:
        if self.skipped:
            return f"{self.group:8}skipped: {self.skipped}"
        counts = f"{self.rounds} rounds, {self.events} acknowledged events, {self.crashes} crashes"
        return f"{self.group:8}{counts}"


def main(arguments: Sequence[str]) -> int:
    """Run the rounds and print what came of them; returns the exit code."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _end)
    seed = options.seed if options.seed is not None else SystemRandom().randrange(_SEEDS)
    print(f"seed {seed}", flush=True)
    build = Build(options.broken)
    tallies = []
    with _workplace(options.dir) as folder:
        for group in dict.fromkeys(options.group or GROUPS):
            tally = _run_group(group, seed, options.rounds, folder, build)
            print(tally, flush=True)
            tallies.append(tally)
    failed = [tally for tally in tallies if tally.failed is not None]
    for tally in failed:
        _print_failure(tally, options.broken)
    if not failed:
        print("no promise was broken")
    return 1 if failed else 0


def _end(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)  # so that what was made is removed


def _run_group(group: str, seed: int, rounds: int, folder: Path, build: Build) -> Tally:
    """Play the rounds of a group up to the first one that fails: round n has the seed `seed` + n."""
    tally, begin = Tally(group), time.monotonic()
    if group in WHY_NOT and (why := WHY_NOT[group](folder)):
        tally.skipped = why
        return tally
    for number in range(rounds):
        this = Round(group, seed + number, folder / f"{group}-{seed + number}", build)
        play(this, GROUPS[group])
        tally.rounds += 1
        tally.events += this.events
        tally.crashes += this.crashes
        tally.seconds = time.monotonic() - begin
        _say(f"{group}: {tally.rounds} of {rounds} rounds, {tally.seconds:.0f} s", done=False)
        if this.broken:
            tally.failed = this
            break
    _say(f"{group}: {tally.rounds} rounds, {tally.seconds:.0f} s", done=True)
    return tally


def _say(text: str, *, done: bool) -> None:
    """Tell the person at the terminal how far it is: one line that is written again and again."""
    if sys.stderr.isatty():
        print(f"\r{text:60}", end="\n" if done else "", file=sys.stderr, flush=True)
    elif done:
        print(text, file=sys.stderr, flush=True)


def _print_failure(tally: Tally, broken: str | None) -> None:
    this = tally.failed
    assert this is not None  # noqa: S101 - asked before
    print(f"\n{this.group}: a promise was broken")
    for sentence in this.broken:
        print(f"  {sentence}")
    flaw = f" --broken {broken}" if broken else ""
    print(f"  replay it with: tools/crashtest/run --group {this.group} --seed {this.seed} --rounds 1{flaw}")
    print(f"  its files are in {this.folder}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tools/crashtest/run", description=_ABOUT)
    parser.add_argument("--rounds", type=_count, default=_ROUNDS, help=f"rounds of each group ({_ROUNDS})")
    parser.add_argument("--seed", type=int, help="what all is drawn from; round n of a group has this seed + n")
    parser.add_argument("--group", action="extend", nargs="+", choices=list(GROUPS), help="only these")
    parser.add_argument("--dir", type=Path, help="work below this folder; what failed is kept there")
    parser.add_argument("--broken", choices=list(BROKEN), help="test a log that is broken on purpose")
    return parser


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


@contextmanager
def _workplace(parent: Path | None) -> Iterator[Path]:
    """A folder that is removed at the end unless a round left its files; in `build/`, which git ignores, by default."""
    chosen = (parent or CHECKOUT / "build").resolve()
    chosen.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="crashtest-", dir=chosen))
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        for place in (folder, chosen) if parent is None else (folder,):
            with suppress(OSError):  # somebody else uses it, or a round failed
                place.rmdir()
