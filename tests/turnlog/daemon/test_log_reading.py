"""Reading the log back: the last lines of all its files, and those that come."""

import gzip
import shutil
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnlog.daemon.log_file import LogFile
from turnlog.daemon.log_lines import decode, encode, time_of, to_sentence, to_text
from turnlog.daemon.log_reading import LogReader, wanted_lines
from turnlog.testing import FakeClock
from turnlog.testing.clock import START

ANY = wanted_lines(errors=False, since=None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "daemon.log"


@pytest.fixture
def reader(path: Path) -> Iterator[LogReader]:
    with closing(LogReader(path)) as reader:
        yield reader


def _line(number: int, level: str = "info") -> bytes:
    return encode({"at": (START + timedelta(seconds=number)).isoformat(), "level": level, "message": str(number)})


def _write(path: Path, *numbers: int) -> None:
    with path.open("ab") as file:
        file.writelines(_line(number) + b"\n" for number in numbers)


def _numbers(lines: object) -> list[int]:
    return [int(line.fields["message"]) for line in lines]  # type: ignore[attr-defined]


def test_without_a_file_there_is_nothing(reader: LogReader, path: Path) -> None:
    """Until there is one."""
    assert reader.last(5, ANY) == []
    assert list(reader.news()) == []
    _write(path, 1)
    assert _numbers(reader.news()) == [1]


@pytest.mark.parametrize("count", [0, 1, 3, 4, 6, 9, 20, None])
def test_the_last_lines_are_those_of_all_files(path: Path, reader: LogReader, count: int | None) -> None:
    """Our own numbers, logrotate's archives and its dates: first lines tell their order, no lock is among them."""
    _write(path.with_name("daemon.log-20261119"), 1, 2)
    with gzip.open(path.with_name("daemon.log.2.gz"), "wb") as file:
        file.writelines(_line(n) + b"\n" for n in (3, 4, 5))
    _write(path.with_name("daemon.log.1"), 6, 7)
    _write(path, 8, 9)
    for other in ("daemon.log.lock", "daemon.logs", "other.log"):
        _write(path.with_name(other), 99)
    numbers = list(range(1, 10))
    assert _numbers(reader.last(count, ANY)) == (numbers if count is None else numbers[len(numbers) - min(count, 9) :])
    assert list(reader.news()) == [], "what was read is read"


def test_errors_and_times_choose_lines(path: Path, reader: LogReader) -> None:
    """Both together too; a line that says neither is none of them, and is printed otherwise."""
    path.write_bytes(b"\n".join([_line(1, "error"), _line(2), b"torn", b'{"at":3}', _line(4, "critical"), b""]))
    chosen = [
        (False, None, 5),
        (True, None, 2),
        (False, START + timedelta(seconds=2), 2),
        (True, START + timedelta(seconds=2), 1),
    ]
    for errors, since, count in chosen:
        with closing(LogReader(path)) as reader:
            assert len(reader.last(None, wanted_lines(errors=errors, since=since))) == count


def test_files_that_ended_before_a_time_are_not_read(
    path: Path, reader: LogReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are."""
    _write(path.with_name("daemon.log.1"), 1)
    _write(path, 2)
    now = datetime.now(UTC)
    assert len(reader.last(None, ANY, since=now + timedelta(days=1))) == 1


@given(st.lists(st.one_of(st.just("turn over"), st.just("look"), st.integers(1, 4)), max_size=40))
def test_who_follows_misses_nothing_and_sees_nothing_twice(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str | int]
) -> None:
    """However often the file is turned over between two looks."""
    path = tmp_path_factory.mktemp("logs") / "daemon.log"
    clock = FakeClock()
    file = LogFile(path, bytes_max=0, seconds_max=0.5, backups=100, clock=clock)
    seen: list[int] = []
    written = 0
    with closing(LogReader(path)) as reader:
        seen += _numbers(reader.last(None, ANY))
        for step in steps:
            if step == "turn over":
                clock.advance(1000)
            elif step == "look":
                seen += _numbers(reader.news())
            else:
                for _ in range(int(step)):
                    written += 1
                    file.write(encode({"at": clock.now().isoformat(), "message": str(written)}))
                    clock.advance(0.001)
        seen += _numbers(reader.news())
    file.close()
    assert seen == list(range(1, written + 1))


def test_a_line_that_comes_late_to_a_renamed_file_is_seen(path: Path, reader: LogReader) -> None:
    """Another process may write it in the moment of the renaming."""
    _write(path, 1)
    assert _numbers(reader.last(9, ANY)) == [1]
    older = path.rename(path.with_name("daemon.log.1"))
    _write(path, 3)
    assert _numbers(reader.news()) == [3]
    _write(older, 2)
    _write(path, 4)
    assert sorted(_numbers(reader.news())) == [2, 4]


def test_a_line_is_seen_when_it_is_whole(path: Path, reader: LogReader) -> None:
    """Half of one waits for the rest."""
    line = _line(1) + b"\n"
    path.write_bytes(line[:10])
    assert list(reader.news()) == []
    with path.open("ab") as file:
        file.write(line[10:])
    assert _numbers(reader.news()) == [1]


def test_a_file_that_is_cut_off_begins_anew(path: Path, reader: LogReader) -> None:
    """As copytruncate does it."""
    _write(path, 1, 2, 3)
    assert _numbers(reader.news()) == [1, 2, 3]
    shutil.copy(path, path.with_name("daemon.log.1"))
    path.write_bytes(b"")
    assert list(reader.news()) == []
    _write(path, 4)
    assert _numbers(reader.news()) == [4]


def test_a_damaged_archive_ends_where_it_is_damaged(path: Path, reader: LogReader) -> None:
    """The rest of the log is printed all the same."""
    whole = gzip.compress(b"".join(_line(n) + b"\n" for n in range(50)))
    path.with_name("daemon.log.3.gz").write_bytes(whole[: len(whole) // 2])
    path.with_name("daemon.log.2.gz").write_bytes(b"no archive")
    path.with_name("daemon.log.4.gz").write_bytes(whole[:40] + bytes(40) + whole[80:])
    _write(path, 100)
    assert _numbers(reader.last(None, ANY))[-1] == 100


@given(st.dictionaries(st.text(max_size=5), st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=9)))
def test_any_line_is_one_line_and_can_be_read_again(fields: dict[str, object]) -> None:
    """As JSON, and as a text for people, whatever stands in its fields."""
    line = encode(fields)
    assert b"\n" not in line
    assert decode(line) == fields
    assert isinstance(to_sentence(fields), str)
    assert isinstance(to_text(fields), str)


@pytest.mark.parametrize("at", [None, "soon", 3, "2026-13-01", "9999-12-31T23:59:59-23:00"])
def test_a_time_that_is_none_is_none(at: object) -> None:
    """Nothing fails for it."""
    assert time_of({"at": at}) is None


def test_a_text_quotes_what_would_be_read_wrongly() -> None:
    """Blanks, quotes and equal signs; what is not there is not mentioned."""
    fields = {
        "at": "2026-11-20T10:00:00.5+00:00",
        "level": "error",
        "message": "no",
        "a": "x y",
        "b": 'q"',
        "c": None,
        "d": 1,
    }
    assert to_text(fields) == '2026-11-20 10:00:00Z  ERROR     no a="x y" b="q\\"" d=1'
