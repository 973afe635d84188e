"""`turnlog replay --until`: the past, from the log alone."""

from datetime import timedelta, timezone

import pytest

from eventlog import EventLog
from projections import STATISTICS, Checkpoints, replay

from .support import Cli, memory_sink


@pytest.fixture
def told(cli: Cli) -> Cli:
    """A log of seven events: two turns, delivered one after the other."""
    cli.configure(memory_sink())
    for text in "ab":
        cli.record(text)
        cli.ok("sync", "--once")
    return cli


STATES_BY_SEQ = {
    0: None,
    1: None,
    2: {},
    3: {"pending": 1},
    4: {"attempting": 1},
    5: {"delivered": 1},
    6: {"delivered": 1, "pending": 1},
    7: {"delivered": 1, "attempting": 1},
    8: {"delivered": 2},
    9: {"delivered": 2},
    10**30: {"delivered": 2},
}


def until(cli: Cli, value: str) -> tuple[int, dict[str, int] | None]:
    """The last seq and the states that are not empty; None where the sink is not known yet."""
    replayed = cli.ok("replay", "--json", "--until", value).object
    sink = replayed["sinks"].get("mem")
    return replayed["last_seq"], None if sink is None else {state: count for state, count in sink.items() if count}


@pytest.mark.parametrize("seq", STATES_BY_SEQ)
def test_a_seq_shows_the_state_right_after_it(told: Cli, seq: int) -> None:
    """Every prefix has its state; a seq that is not there yet shows the present."""
    assert until(told, str(seq)) == (min(seq, 8), STATES_BY_SEQ[seq])


def test_a_time_shows_the_state_at_that_time(told: Cli) -> None:
    """Inclusive; in UTC, with an offset, or without, which is UTC."""
    far = timezone(timedelta(hours=-9, minutes=-30))
    for entry in told.log().read():
        for text in (
            f"{entry.at:%Y-%m-%dT%H:%M:%S.%fZ}",
            f"{entry.at:%Y-%m-%d %H:%M:%S.%f}",
            entry.at.astimezone(far).isoformat(),
        ):
            assert until(told, text) == (entry.seq, STATES_BY_SEQ[entry.seq]), text
        just_before = (entry.at - timedelta(microseconds=1)).isoformat()
        assert until(told, just_before) == (entry.seq - 1, STATES_BY_SEQ[entry.seq - 1])


def test_a_day_is_its_beginning(told: Cli) -> None:
    """2000-01-01 is before everything, and tomorrow after it."""
    assert until(told, "2000-01-01") == (0, None)
    tomorrow = next(told.log().read()).at + timedelta(days=1)
    assert until(told, tomorrow.date().isoformat())[0] == 8


@pytest.mark.parametrize(
    "value",
    ["", "x", "-1", "1.5", "now", "2026-13-01", "0001-01-01T00:00:00+12:00", "9999-12-31T23:00:00-12:00", "9" * 5000],
)
def test_what_is_neither_is_refused(told: Cli, value: str) -> None:
    """One sentence, exit code 2."""
    sentence = told.refused(2, "replay", "--until", value)
    assert sentence.startswith(
        f"invalid value for '--until': {value!r} is neither a seq nor a time such as 2026-11-20T"
    )


def test_people_get_a_table(told: Cli) -> None:
    """The same numbers."""
    counts, titles, row = told.ok("replay", "--until", "6").out.splitlines()
    assert counts == "6 events, 2 turns, last seq 6"
    states = ["pending", "attempting", "retrying", "delivered", "dead", "skipped", "superseded"]
    assert titles.split() == ["sink", *states, "reconciled"]
    assert row.split() == ["mem", "1", "0", "0", "1", "0", "0", "0", "0"]


def test_a_checkpoint_is_used_only_when_asked_for(cli: Cli) -> None:
    """`--from-checkpoint` begins at one and saves the next; `replay` alone reads the log and nothing else."""
    turns = "".join(f'{{"messages": [{{"role": "user", "content": "{number}"}}]}}\n' for number in range(1200))
    cli.ok("record", "--json", stdin=turns)
    plain = cli.ok("replay", "--json").out
    folder = cli.directory / "checkpoints"
    assert not folder.exists()
    assert cli.ok("replay", "--json", "--from-checkpoint").out == plain
    saved = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(saved) == {"delivery", "statistics"}
    assert cli.ok("replay", "--json", "--from-checkpoint").out == plain
    result = cli("replay", "--check")
    assert (result.code, result.err.count("agrees with the log")) == (0, 2)
    for path in folder.iterdir():
        path.write_bytes(b"rubbish")
    assert cli.ok("replay", "--json", "--from-checkpoint").out == plain
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == saved


def test_a_checkpoint_that_says_something_else_is_told(cli: Cli) -> None:
    """`--check` ends 1 and says which file to delete; without one it says that there is none."""
    cli.record("a")
    result = cli("replay", "--check")
    assert (result.code, result.err.count("no checkpoint that fits")) == (0, 2)
    log = EventLog.open(cli.directory, read_only=True)
    (state,) = replay(log, STATISTICS)
    state.turns += 1
    assert Checkpoints(log).save((STATISTICS,), (state,))
    result = cli("replay", "--check")
    assert result.code == 1
    assert "does not agree with the log; delete checkpoints/statistics" in result.err


@pytest.mark.parametrize("option", ["--check", "--from-checkpoint"])
def test_there_are_no_checkpoints_of_the_past(cli: Cli, option: str) -> None:
    """Asked for both, it says what to leave out."""
    result = cli("replay", "--until", "3", option)
    assert result.code == 2
    assert "leave one of the options out" in result.err
