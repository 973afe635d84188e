"""Running checks: none of them can stop the others, or the whole."""

import threading
from collections.abc import Iterator

from turnlog.doctor.findings import Finding, Late, in_parallel, run_checks

CANARY = "canary-8841"


def broken() -> Iterator[Finding]:
    yield Finding("half", "ok", "as far as it came")
    raise RuntimeError(CANARY)


def test_a_check_that_breaks_is_told_and_the_rest_goes_on() -> None:
    """By its type and place: what an error says may quote a secret."""
    well = Finding("well", "ok", "all is well")
    found = list(run_checks([("half", broken), ("well", lambda: [well])]))
    assert [(finding.name, finding.state) for finding in found] == [("half", "ok"), ("half", "fail"), ("well", "ok")]
    assert "RuntimeError at test_findings.py:" in found[1].sentence
    assert CANARY not in str(found)


def test_jobs_run_at_once_and_the_one_that_hangs_is_late() -> None:
    """Two wait for each other, which they could not in turn; one raises; one never ends."""
    both, never = threading.Barrier(2, timeout=30), threading.Event()

    def fail() -> int:
        raise ValueError("no")

    try:
        results = in_parallel(
            {"a": both.wait, "b": both.wait, "broken": fail, "hangs": lambda: int(never.wait(60))}, seconds=0.5
        )
    finally:
        never.set()
    assert {results["a"], results["b"]} == {0, 1}
    assert isinstance(results["broken"], ValueError)
    assert isinstance(results["hangs"], Late)
