"""A process that reads sessions in one of several ways; prints the seconds that it took and its largest memory in MB.

    python intakes.py WAY SOURCE PATH WORK

`yardstick` decodes every line with json.loads (an export as a whole) and does nothing with it; `import` is `turnlog
import` into the log in the folder WORK; `claude-code-log` and `convoviz` are the peers, as their own programs load what
they then convert, without their caches. Imports of modules are not measured, but for what `turnlog` imports late.
"""

import contextlib
import io
import json
import os
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from peak import peak_bytes

Way = Callable[[str, Path, Path], Callable[[], object]]
"""Gets ready to read what a source finds at a path, with a folder to work in."""


def yardstick(_source: str, path: Path, _work: Path) -> Callable[[], object]:
    """Every line of every file; a file that is no lines as a whole."""
    if path.suffix == ".json":
        return lambda: json.loads(path.read_bytes())
    paths = [path] if path.is_file() else sorted(path.rglob("*.jsonl"))

    def read() -> None:
        for each in paths:
            with each.open("rb") as file:
                for line in file:
                    json.loads(line)

    return read


def turnlog(source: str, path: Path, work: Path) -> Callable[[], object]:
    """`turnlog import`, as one calls it."""
    from turnlog.cli.main import run

    def read() -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            if run(["--dir", str(work), "import", source, str(path), "--json"]):
                raise SystemExit(f"turnlog import {source} {path} failed")

    return read


def claude_code_log(_source: str, path: Path, _work: Path) -> Callable[[], object]:
    """The projects' folders one by one."""
    from claude_code_log.converter import load_directory_transcripts

    def read() -> None:
        for folder in sorted({file.parent for file in path.glob("projects/*/*.jsonl")}):
            load_directory_transcripts(folder, silent=True)

    return read


def convoviz(_source: str, path: Path, work: Path) -> Callable[[], object]:
    """The conversations of an export; it cannot be imported where no zip stands in the user's Downloads."""
    downloads = work / "Downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    (downloads / "none.zip").touch()
    os.environ["HOME"] = str(work)
    from convoviz.models import ConversationSet

    ConversationSet.model_rebuild(_types_namespace={"datetime": datetime})  # which some versions forget
    return lambda: ConversationSet.from_json(path)


WAYS: dict[str, Way] = {
    "yardstick": yardstick,
    "import": turnlog,
    "claude-code-log": claude_code_log,
    "convoviz": convoviz,
}

if __name__ == "__main__":
    way, source, path, work = sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])
    read = WAYS[way](source, path, work)
    begin = time.perf_counter()
    read()
    print(time.perf_counter() - begin, peak_bytes() / 1_000_000)
