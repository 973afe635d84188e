"""Waiting for something to be so, with a deadline."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE_SECONDS = 60.0


def until(ask: Callable[[], T]) -> T:
    """Ask again and again until the answer is true; that answer."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (answer := ask()):
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.005)
    return answer
