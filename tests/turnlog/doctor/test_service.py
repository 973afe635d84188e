"""The service by its files, the daemon by its lock."""

import sys
from pathlib import Path

import pytest

from eventlog import Lock
from turnlog.doctor.service import DAEMON_LOCK, UNIT, check_daemon, check_service

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="these are systemd's folders")


def states(tmp_path: Path) -> tuple[str, str]:
    environ = {"XDG_CONFIG_HOME": str(tmp_path / "config")}
    (service,), (daemon,) = check_service(environ), check_daemon(tmp_path, environ)
    return service.state, daemon.state


def test_a_service_is_known_by_its_files_and_a_daemon_by_its_lock(tmp_path: Path) -> None:
    """None is needed; one that is installed should be enabled and run; a lock file that nobody holds is no daemon."""
    folder = tmp_path / "config" / "systemd" / "user"
    (folder / "default.target.wants").mkdir(parents=True)
    (tmp_path / DAEMON_LOCK).touch()
    assert states(tmp_path) == ("skip", "skip")
    (folder / UNIT).touch()
    assert states(tmp_path) == ("warn", "warn")
    (folder / "default.target.wants" / UNIT).symlink_to(folder / UNIT)
    lock = Lock(tmp_path / DAEMON_LOCK)
    lock.acquire()
    try:
        assert states(tmp_path) == ("ok", "ok")
    finally:
        lock.release()
        lock.close()
    assert states(tmp_path) == ("ok", "warn")
