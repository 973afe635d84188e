"""The log's folder, as it should not be."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from turnlog.doctor import storage
from turnlog.doctor.findings import Finding
from turnlog.doctor.storage import check_disk, check_permissions, check_sync_speed, file_system, measure_sync
from turnlog.recorder import TurnRecorder


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A folder with a turn in it."""
    with TurnRecorder(tmp_path / "data") as recorder:
        recorder.record(messages=[{"role": "user", "content": "hi"}])
    return tmp_path / "data"


def only(findings: Any) -> Finding:
    (finding,) = findings
    assert isinstance(finding, Finding)
    return finding


def test_what_turnlog_makes_is_in_order(directory: Path) -> None:
    """Its folder is open to the owner alone, has room, and is as fast as its disk; nothing is left behind."""
    before = sorted(directory.iterdir())
    assert only(check_permissions(directory)).state == "ok"
    assert measure_sync(directory) > 0
    assert sorted(directory.iterdir()) == before


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    """There is nothing to find; the room is that of where it would be."""
    missing = tmp_path / "not" / "there"
    assert only(check_permissions(missing)).state == "skip"
    assert only(check_sync_speed(missing)).state == "skip"
    assert str(tmp_path) in next(iter(check_disk(missing))).sentence
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["", "log", "log/00000000000000000001.jsonl", "index.sqlite", "log.lock"])
def test_what_others_may_read_is_a_warning(directory: Path, name: str) -> None:
    """It is named, with the command that mends it; a person's own file there may be as they like."""
    (directory / "turnlog.toml").touch(0o644)
    assert only(check_permissions(directory)).state == "ok"
    path = directory / name
    path.chmod(path.stat().st_mode | 0o040)
    finding = only(check_permissions(directory))
    assert finding.state == "warn"
    assert str(path) in finding.sentence
    assert subprocess.run(["sh", "-c", finding.remedy], check=False, timeout=60).returncode == 0
    assert only(check_permissions(directory)).state == "ok"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_to_is_a_failure(directory: Path) -> None:
    """Nothing could be recorded."""
    directory.chmod(0o500)
    try:
        assert only(check_permissions(directory)).state == "fail"
        assert only(check_sync_speed(directory)).state == "skip"
    finally:
        directory.chmod(0o700)


def test_a_disk_that_refuses_is_a_failure(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the system's reason. So is a file where the folder should be."""

    def full(_: Path) -> float:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage, "measure_sync", full)
    finding = only(check_sync_speed(directory))
    assert (finding.state, "No space left" in finding.sentence) == ("fail", True)
    finding = only(check_permissions(directory / "index.sqlite"))
    assert (finding.state, "is no folder" in finding.sentence) == ("fail", True)


class Room:
    """What statvfs(2) says of a file system."""

    f_frsize = 4096

    def __init__(self, *, blocks: int = 10**7, files: int = 10**6, flag: int = 0) -> None:
        self.f_bavail, self.f_files, self.f_favail, self.f_flag = blocks, 10**6, files, flag


@pytest.mark.parametrize(
    ("room", "state", "word"),
    [
        (Room(), "ok", "GiB are free"),
        (Room(blocks=10), "fail", "0 MiB are free"),
        (Room(blocks=100_000), "warn", "0.4 GiB are free"),
        (Room(files=3), "warn", "3 more files"),
        (Room(flag=os.ST_RDONLY), "fail", "read-only"),
    ],
)
def test_a_disk_is_judged_by_its_room(
    directory: Path, monkeypatch: pytest.MonkeyPatch, room: Room, state: str, word: str
) -> None:
    """Bytes, names, and whether it can be written to."""
    monkeypatch.setattr(storage.os, "statvfs", lambda _: room)
    monkeypatch.setattr(storage, "file_system", lambda _: "ext4")
    finding = only(check_disk(directory))
    assert finding.state == state
    assert word in finding.sentence


@pytest.mark.parametrize(
    ("kind", "states"), [("ext4", ["ok"]), ("nfs4", ["ok", "warn"]), ("fuse.sshfs", ["ok", "warn"])]
)
def test_a_network_s_file_system_is_a_warning(
    directory: Path, monkeypatch: pytest.MonkeyPatch, kind: str, states: list[str]
) -> None:
    """Its locks and syncs may not hold."""
    monkeypatch.setattr(storage.os, "statvfs", lambda _: Room())
    monkeypatch.setattr(storage, "file_system", lambda _: kind)
    assert [finding.state for finding in check_disk(directory)] == states


def test_the_type_of_a_file_system_is_that_of_the_nearest_mount(tmp_path: Path) -> None:
    """Blanks in names are escaped there; where no such file is, nothing is known."""
    inner = tmp_path / "my disk"
    inner.mkdir()
    mounts = tmp_path / "mountinfo"
    escaped = str(inner).replace(" ", "\\040")
    mounts.write_text(
        f"1 0 8:1 / / rw - ext4 /dev/sda rw\n2 1 0:2 / {escaped} rw shared:1 - nfs4 server:/x rw\n"
        "3 1 0:3 / /zzz rw - xfs d rw\n"
    )
    assert file_system(inner, mounts) == "nfs4"
    assert file_system(tmp_path, mounts) == "ext4"
    assert file_system(inner, tmp_path / "nothing") == ""


@pytest.mark.parametrize(("seconds", "state"), [(0.0005, "ok"), (0.2, "warn")])
def test_a_slow_disk_is_a_warning(directory: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, state: str) -> None:
    """With its figure."""
    monkeypatch.setattr(storage, "measure_sync", lambda _: seconds)
    finding = only(check_sync_speed(directory))
    assert finding.state == state
    assert f"{seconds * 1000:.1f} ms" in finding.sentence
