"""The log at a glance, and the clock."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from eventlog import EventLog, SinkResumed
from turnlog.doctor.log_health import PROBLEMS_MAX, check_clock, check_log, check_time_zones


def fill(directory: Path, *, ahead: float = 0.0) -> Path:
    """A small log whose clock is so many seconds ahead; its only segment."""
    clock = lambda: datetime.now(UTC) + timedelta(seconds=ahead)  # noqa: E731
    with EventLog.open(directory, durability="os", clock=clock) as log:
        for number in range(3):
            log.append(SinkResumed(sink=f"s{number}"))
    (path,) = (directory / "log").iterdir()
    return path


def test_a_whole_log_is_well_and_an_empty_one_too(tmp_path: Path) -> None:
    """It says what proves the rest."""
    fill(tmp_path / "data")
    (finding,) = check_log(tmp_path / "data")
    assert (finding.state, "turnlog verify" in finding.sentence) == ("ok", True)
    assert [f.state for f in check_log(tmp_path / "nowhere")] == ["ok"]
    assert not (tmp_path / "nowhere").exists()


def test_damage_is_a_failure_and_a_torn_tail_is_none(tmp_path: Path) -> None:
    """Each with its place."""
    path = fill(tmp_path)
    content = path.read_bytes().rstrip(b"\n") + b"\n"
    path.write_bytes(content + b'{"crc":"0')
    assert [f.state for f in check_log(tmp_path)] == ["ok", "ok"]
    path.write_bytes(content.replace(b'"s1"', b'"sX"'))
    (finding,) = check_log(tmp_path)
    assert (finding.state, finding.remedy) == ("fail", "see all of it: turnlog verify")
    assert path.name in finding.sentence


def test_of_much_damage_a_little_is_told(tmp_path: Path) -> None:
    """And how much more there is."""
    path = fill(tmp_path)
    first = path.read_bytes().split(b"\n")[0] + b"\n"
    path.write_bytes(first + 50 * (first[:20] + b"\0" + first[21:]) + first)
    found = list(check_log(tmp_path))
    assert len(found) == PROBLEMS_MAX + 1
    assert {finding.state for finding in found} == {"fail"}
    assert "more problems" in found[-1].sentence


def test_a_log_that_cannot_be_read_is_a_failure(tmp_path: Path) -> None:
    """A file where the folder should be."""
    (tmp_path / "log").write_text("x")
    assert [f.state for f in check_log(tmp_path)] == ["fail"]
    assert [f.state for f in check_clock(tmp_path)] == ["ok"]


@pytest.mark.parametrize(("ahead", "state"), [(7200.0, "warn"), (-7200.0, "ok"), (0.0, "ok")])
def test_an_event_of_the_future_tells_of_a_wrong_clock(tmp_path: Path, ahead: float, state: str) -> None:
    """One of the past is as it should be."""
    fill(tmp_path, ahead=ahead)
    assert [f.state for f in check_clock(tmp_path)] == [state]


def test_the_time_zones_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a database of them that is a warning."""
    import zoneinfo

    from turnlog.doctor import log_health

    assert [f.state for f in check_time_zones()] == ["ok"]

    def missing(key: str) -> None:
        raise zoneinfo.ZoneInfoNotFoundError(key)

    monkeypatch.setattr(log_health, "ZoneInfo", missing)
    assert [f.state for f in check_time_zones()] == ["warn"]
