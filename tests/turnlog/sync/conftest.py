"""A bench for each test, closed at its end and held against the laws."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .support import Bench

Make = Callable[..., Bench]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """`make(sink, policy=)`: a bench in a folder of its own; at the end its log keeps all laws."""
    benches: list[Bench] = []

    def make_bench(*arguments: Any, **options: Any) -> Bench:
        benches.append(Bench(tmp_path / str(len(benches)), *arguments, **options))
        return benches[-1]

    yield make_bench
    for bench in benches:
        bench.check()
        bench.close()


@pytest.fixture
def bench(make: Make) -> Bench:
    """A bench with a sink that takes a turn twice if it is sent twice, and cannot be asked."""
    return make()
