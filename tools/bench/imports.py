"""What it costs to take sessions in: beside json.loads of every line, and beside peers that are installed."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from itertools import count
from pathlib import Path

from report import Row, interleave, rate_row, single_row
from sessions import write_conversations, write_sessions

from bench import Bench, say

_PROGRAM = Path(__file__).with_name("intakes.py")
_MEGABYTE = 1_000_000
_TRIED_BYTES = 100_000
_SETTLED_SECONDS = 2.1
"""Files that are younger are read again whatever they hold, see `turnlog.sources.unchanged`."""

_PEERS = {"claude_code": ("claude-code-log", "claude_code_log"), "chatgpt": ("convoviz", "convoviz")}
"""By source: a peer's name, which is its way in `intakes`, and its module."""


def source_cases(bench: Bench, source: str) -> Iterator[Row]:
    """MB/s of reading the same files in each way, and of importing them again when nothing has changed."""
    path, size_bytes = _sample(bench, source, bench.sizes.import_bytes)
    done, megabytes = bench.fresh(f"{source}-done"), size_bytes / _MEGABYTE
    time.sleep(_SETTLED_SECONDS)
    _take_in("import", source, path, done)
    measures: dict[str, Callable[[], float]] = {
        f"{source}/json.loads": lambda: megabytes / _take_in("yardstick", source, path, done)[0],
        f"{source}/import": partial(_import_anew, bench, source, path, megabytes, count()),
        f"{source}/import-again": lambda: megabytes / _take_in("import", source, path, done)[0],
    }
    for name in _peers(bench, source):
        measures[f"{source}/{name}"] = lambda name=name: megabytes / _take_in(name, source, path, done)[0]  # type: ignore[misc]
    results = interleave(measures, bench.sizes.import_rounds)
    for case in results:
        reference = f"{source}/json.loads"
        yield rate_row(results, case, "MB/s", None if case == reference else reference)


def peak_rows(bench: Bench) -> Iterator[Row]:
    """The most memory that an import takes: of a folder of sessions of each source, and of one conversations.json."""
    for source in ("claude_code", "codex", "gemini_cli", "chatgpt"):
        path, size_bytes = _sample(bench, source, bench.sizes.import_bytes_large)
        megabytes = _take_in("import", source, path, bench.fresh(f"{source}-peak"))[1]
        yield single_row(f"memory/{source}/{size_bytes // _MEGABYTE}-MB", megabytes, "MB")


def _sample(bench: Bench, source: str, size_bytes: int) -> tuple[Path, int]:
    """What a source is given, and how many bytes it has."""
    folder = bench.fresh(f"{source}-{size_bytes}")
    say(f"  writing {size_bytes / _MEGABYTE:,.0f} MB for {source}")
    if source == "chatgpt":
        return folder / "conversations.json", write_conversations(folder / "conversations.json", size_bytes)
    written = write_sessions(source, folder, size_bytes)
    return folder / "save_data.jsonl" if source == "save_data" else folder, written


def _import_anew(bench: Bench, source: str, path: Path, megabytes: float, numbers: Iterator[int]) -> float:
    return megabytes / _take_in("import", source, path, bench.fresh(f"{source}-log-{next(numbers)}"))[0]


def _take_in(way: str, source: str, path: Path, work: Path) -> tuple[float, float]:
    """Seconds, and MB of memory."""
    command: Sequence[str] = [sys.executable, "-W", "ignore", str(_PROGRAM), way, source, str(path), str(work)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=_environment())  # noqa: S603 - own
    seconds, megabytes = map(float, done.stdout.split()[-2:])
    return seconds, megabytes


def _environment() -> dict[str, str]:
    """Modules are compiled once, as those of an installed program are: processes that read ahead import them too."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def _peers(bench: Bench, source: str) -> list[str]:
    """The peers that can read what the source reads, tried on a small sample."""
    if source not in _PEERS:
        return []
    name, module = _PEERS[source]
    if find_spec(module) is None:
        say(f"skipped: {name} is not installed (pip install --group bench)")
        return []
    path, _ = _sample(bench, source, _TRIED_BYTES)
    try:
        _take_in(name, source, path, bench.fresh(f"{source}-tried"))
    except subprocess.CalledProcessError as error:
        say(f"skipped: {name}, as it is installed, fails: {error.stderr.strip().splitlines()[-1]}")
        return []
    return [name]
