"""Each parser, fed with samples that were spoiled in every way that one can think of, for as long as one likes.

Opt-in, for it takes its time: `TURNLOG_FUZZ_SECONDS=180` fuzzes each parser for so long. What takes less is in the
property tests of the sources.
"""

import json
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from turnlog.errors import WrongUsage
from turnlog.sources.base import SourceOptions
from turnlog.sources.registry import source_type

from .export_samples import claude_talk, talk, zipped
from .gemini_samples import ROWS, page, prompt_file
from .shared import FOLDERS, TRANSCRIPTS
from .test_growth import GROWING

SECONDS = float(os.environ.get("TURNLOG_FUZZ_SECONDS", "0"))
EXAMPLES = 200
SEED_BYTES_MAX = 64 * 1024
HANG_SECONDS = 1.0

TOKENS: list[bytes] = [
    *(b"{ } [ ] \" \\ , : null true -1 1e999 1e400 9999999999999999999999 NaN \\ud800 \\u0000".split()),
    b"\x00" * 64, b"\xff\xfe", b"\n", b"\r\n", b'{"type":', b'"id":null', b'"content":{}',
    b'"content":[[]]', b'"message":7', b"[" * 2000, b'{"a":' * 2000, b"</div>", b'<div class="outer-cell',
    b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"PK\x03\x04",
]  # fmt: skip

pytestmark = pytest.mark.skipif(not SECONDS, reason="fuzzing takes its time; TURNLOG_FUZZ_SECONDS says how much")


def seeds_of(name: str) -> list[bytes]:
    """The tests' own samples of a source, and what is not too large of the shared ones."""
    found = [g.copy(g.pieces) for key, g in GROWING.items() if key.split()[0] == name]
    if name == "gemini":
        found += [page(ROWS).encode(), prompt_file(), zipped({"a/MyActivity.html": page(ROWS)})]
    if name in ("chatgpt", "claude"):
        found += [zipped({"conversations.json": json.dumps([{"chatgpt": talk, "claude": claude_talk}[name](1)])})]
    folder = next(folder for folder, source in FOLDERS.items() if source == name)
    files = [path for path in sorted((TRANSCRIPTS / folder).rglob("*.*")) if path.is_file() and path.suffix != ".txt"]
    return found + [path.read_bytes() for path in files if path.stat().st_size <= SEED_BYTES_MAX]


def spoil(content: bytes, other: bytes, steps: list[tuple[str, float, float, bytes]]) -> bytes:
    """The content after some steps; places are shares of its length."""
    for kind, begin, length, token in steps:
        start = int(begin * len(content))
        end = min(len(content), start + int(length * len(content)))
        if kind == "cut":
            content = content[:start] + content[end:]
        elif kind == "put":
            content = content[:start] + token + content[start:]
        elif kind == "replace":
            content = content[:start] + token + content[start + len(token) :]
        elif kind == "repeat":
            content = content[:end] + content[start:end] + content[end:]
        elif kind == "splice":
            content = content[:start] + other[int(length * len(other)) :]
        else:
            content = _other_value(content, start, token)
    return content[: 4 * SEED_BYTES_MAX]


def _other_value(content: bytes, start: int, token: bytes) -> bytes:
    """What stands behind the next colon is something else."""
    colon = content.find(b":", start)
    end = min((at for mark in (b",", b"}") if (at := content.find(mark, colon + 1)) > 0), default=-1)
    return content if colon < 0 or end < 0 else content[: colon + 1] + token + content[end:]


shares = st.floats(0, 1, allow_nan=False)
kinds = st.sampled_from(["cut", "put", "replace", "repeat", "splice", "value"])
tokens = st.sampled_from(TOKENS) | st.binary(max_size=8)
all_steps = st.lists(st.tuples(kinds, shares, shares | st.floats(0, 0.01), tokens), min_size=1, max_size=6)


def read_all(name: str, path: Path) -> Iterator[Any]:
    source = source_type(name).from_options(SourceOptions("amy"))
    source.recognises(path)
    try:
        for stream in source.discover([path]):
            for chunk in source.read(stream):
                yield from chunk.turns
                yield from chunk.notes
    except WrongUsage as error:
        assert "\n" not in str(error)


@pytest.mark.timeout(2 * SECONDS + 60)
@pytest.mark.parametrize("name", sorted(set(FOLDERS.values())))
def test_nothing_that_a_file_holds_is_a_crash_or_takes_long(name: str, tmp_path: Path) -> None:
    """What can be read is read, in less than a second, and can be written down; the rest is set apart."""
    contents, until, examples = seeds_of(name), time.monotonic() + SECONDS, 0
    path = tmp_path / ("sample.jsonl" if name in ("claude_code", "codex", "gemini_cli") else "sample.json")
    slow: list[tuple[float, bytes]] = []

    @settings(max_examples=EXAMPLES, database=None, phases=[Phase.generate, Phase.shrink],
              suppress_health_check=list(HealthCheck), deadline=None)  # fmt: skip
    @given(st.sampled_from(range(len(contents))), st.sampled_from(range(len(contents))), all_steps)
    def fuzz(which: int, other: int, steps: list[tuple[str, float, float, bytes]]) -> None:
        content = spoil(contents[which], contents[other], steps)
        path.write_bytes(content)
        begin = time.process_time()
        for thing in read_all(name, path):
            msgspec.json.encode(thing)
        took = time.process_time() - begin
        if took > HANG_SECONDS:
            slow.append((took, content))

    while time.monotonic() < until:
        seed(random.getrandbits(64))(fuzz)()
        examples += EXAMPLES
    print(f"{name}: {examples} examples")
    if slow:
        worst, content = max(slow)
        kept = path.with_name("slow")
        kept.write_bytes(content)
        raise AssertionError(f"{len(slow)} took over a second, the worst {worst:.1f} s: {kept}")
