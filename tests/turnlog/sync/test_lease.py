"""One worker a sink."""

import subprocess
import sys
from pathlib import Path

import pytest

from turnlog.errors import Busy
from turnlog.sync.lease import lease, worker_name

_HOLD = """
import sys
from pathlib import Path
from turnlog.sync.lease import lease
with lease(Path(sys.argv[1]), "alpha"):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_a_sink_has_one_worker(tmp_path: Path) -> None:
    """A second lease in the same process is refused, and names who holds it; another sink's is not."""
    with lease(tmp_path, "alpha"):
        with pytest.raises(Busy, match=worker_name()), lease(tmp_path, "alpha"):
            pass
        with lease(tmp_path, "beta"):
            pass
    with lease(tmp_path, "alpha"):
        pass


@pytest.mark.parametrize("killed", [False, True])
def test_a_lease_ends_with_its_process(tmp_path: Path, killed: bool) -> None:
    """While another process holds it this one is Busy (75), and is told which; when that dies, however, it is free."""
    command = [sys.executable, "-W", "error", "-c", _HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(Busy, match=f":{process.pid} since") as caught, lease(tmp_path, "alpha"):
            pass
        assert caught.value.exit_code == 75
        if killed:
            process.kill()
        process.communicate("\n", timeout=30)
    with lease(tmp_path, "alpha"):
        assert worker_name() in (tmp_path / "sink-alpha.lock").read_text()


def test_a_lease_is_let_go_after_an_error(tmp_path: Path) -> None:
    """Whatever ends the work, the next worker may begin; the lock file stays, for a deleted one locks nobody out."""
    with pytest.raises(RuntimeError, match="work"), lease(tmp_path, "alpha"):
        raise RuntimeError("work")
    assert (tmp_path / "sink-alpha.lock").exists()
    with lease(tmp_path, "alpha"):
        pass


def test_a_holder_that_cannot_be_read_is_somebody(tmp_path: Path) -> None:
    """Even if the lock file says nothing sensible, the refusal is a sentence."""
    with lease(tmp_path, "alpha"):
        (tmp_path / "sink-alpha.lock").write_bytes(b"\xff\xfe")
        with pytest.raises(Busy, match="another process"), lease(tmp_path, "alpha"):
            pass
