"""Memobase from the command line: without a file, killed again and again, failing and coming back."""

import json
import os
import random
import signal
from collections import Counter
from collections.abc import Iterator

import msgspec
import pytest

from projections import RetryPolicy
from turnlog.sinks.memobase_api import Fields
from turnlog.sync.life import tell_life
from turnlog.testing.memobase import MemobaseDouble

from .support import Cli, Witness
from .test_crash import ROUNDS, kill_after_events, moments  # noqa: F401 - a fixture

TOKEN = "secret-token"
USERS = 4


@pytest.fixture
def double() -> Iterator[MemobaseDouble]:
    with MemobaseDouble(TOKEN, persistent_chat_blobs=True) as double:
        yield double


def memobase_sink(url: str, more: str = "") -> str:
    """The part of a configuration that delivers there."""
    return f'[[sinks]]\nname = "memory"\ntype = "memobase"\nurl = "{url}"\ntoken = {{ env = "TEAM_TOKEN" }}\n{more}\n'


def lines(first: int, count: int) -> str:
    """Turns for `turnlog record`, of a few users by turns."""
    return "".join(
        json.dumps(
            {
                "turn_id": f"turn-{n}",
                "user": f"user-{n % USERS}",
                "conversation": f"conversation-{n % USERS}",
                "messages": [{"role": "user", "content": f"question {n}"}, {"role": "assistant", "content": "answer"}],
            }
        )
        + "\n"
        for n in range(first, first + count)
    )


def stored(double: MemobaseDouble) -> list[str]:
    """The ids of the turns in all blobs that were ever stored, in order of arrival."""
    return [turn_id for blob in double.blobs() for turn_id in msgspec.convert(blob.fields, Fields).turn_ids]


def test_the_old_scripts_variables_are_enough(
    cli: Cli, double: MemobaseDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No file: the sink is named `memobase`, the user is USER_ID, and the last turns are flushed."""
    monkeypatch.setenv("MEMOBASE_URL", double.url)
    monkeypatch.setenv("MEMOBASE_ACCESS_TOKEN", TOKEN)
    monkeypatch.setenv("USER_ID", "ann")
    assert "memobase" in cli.ok("config", "check").out
    cli.record("hi", "hello")
    assert cli.ok("sync", "--once", "--json").object["delivered"] == 1
    assert double.processed() == ["hi", "hello"]
    assert cli.states("memobase") == {"delivered": 1}
    assert TOKEN not in (cli.directory / "log" / "00000000000000000001.jsonl").read_text()


def test_a_wrong_token_names_where_it_is_from(
    cli: Cli, double: MemobaseDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sink is paused, loudly, and no turn is blamed; mended, everything goes on by itself."""
    cli.configure(memobase_sink(double.url))
    monkeypatch.setenv("TEAM_TOKEN", "wrong")
    cli.record("hi")
    result = cli("sync", "--once")
    assert result.code == 1
    assert "unauthorized" in result.err
    assert "the environment variable TEAM_TOKEN" in result.err
    assert cli.states("memory") == {"pending": 1}
    monkeypatch.setenv("TEAM_TOKEN", TOKEN)
    assert cli.ok("sync", "--once", "--json").object["delivered"] == 1


def test_what_the_model_failed_on_is_sent_again(
    cli: Cli, double: MemobaseDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The flush at the end of a run tells it; the turn is owed anew, and processed once when the model is back."""
    monkeypatch.setenv("TEAM_TOKEN", TOKEN)
    cli.configure(memobase_sink(double.url))
    cli.record("hi")
    double.switches.model_failing = True
    cli.ok("sync", "--once")
    assert len(cli.events("DeliveryRevoked")) == 1
    assert [blob.state for blob in double.blobs()] == ["deleted", "idle"]
    double.switches.model_failing = False
    cli.ok("sync", "--once")
    assert double.processed() == ["hi"]
    assert cli.states("memory") == {"delivered": 1}
    assert [blob.state for blob in double.blobs() if blob.state != "deleted"] == ["done"]


def test_an_engine_that_is_killed_again_and_again_delivers_each_turn_once(
    cli: Cli,
    double: MemobaseDouble,
    moments: random.Random,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While turns come: the blobs tell what was stored. Each life can be told, and replay counts what was in doubt."""
    monkeypatch.setenv("TEAM_TOKEN", TOKEN)
    cli.configure(memobase_sink(double.url, "tokens = 256\nconnections = 2"), sync="base_seconds = 0")
    each, killed = 40, 0
    cli.ok("record", stdin=lines(0, each))
    witness = Witness(cli.directory)
    for number in range(ROUNDS):
        process = cli.start("sync", "--follow")
        kill_after_events(process, cli, moments.randint(1, 25))
        killed += process.returncode == -signal.SIGKILL
        cli.ok("record", stdin=lines((number + 1) * each, each))
        witness.look()
    assert killed == ROUNDS
    assert cli.ok("sync", "--once", "--json").object["pending"] == 0
    turns = (ROUNDS + 1) * each
    assert Counter(stored(double)) == Counter(f"turn-{n}" for n in range(turns))
    for user in range(USERS):
        mine = [int(turn_id[5:]) for turn_id in stored(double) if int(turn_id[5:]) % USERS == user]
        assert mine == sorted(mine)
    assert cli.ok("verify", "--json").object["ok"]
    replayed = cli.ok("replay", "--json").object
    assert cli.states("memory") == {"delivered": turns}
    successes = cli.events("SyncSucceeded")
    assert replayed["reconciled"]["memory"] == sum(len(e.turns) for e in successes if e.reconciled)
    print(f"killed {killed} times, {turns} turns, reconciled {replayed['reconciled']['memory']}")
    _tell_lives(cli, moments, int(os.environ.get("TURNLOG_LIVES", "10")))


def _tell_lives(cli: Cli, moments: random.Random, count: int) -> None:  # noqa: F811
    """Each attempt has its outcome, and the last one is a success with the blob that holds the turn."""
    log = cli.log()
    seqs = [entry.seq for entry in log.read() if entry.type == "TurnRecorded"]
    for seq in moments.sample(seqs, min(count, len(seqs))):
        life = tell_life(log, seq, policy=RetryPolicy())
        types = [event.type for event in life.events]
        assert types[-1] == "SyncSucceeded"
        assert types.count("SyncAttempted") == types.count("SyncSucceeded") + types.count("SyncFailed")
        assert life.sinks["memory"].state == "delivered"
        assert life.sinks["memory"].receipt["blobs"]
