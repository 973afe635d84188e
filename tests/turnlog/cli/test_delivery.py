"""`turnlog sync --once` against a real receiver, and against everything that can be wrong with one."""

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from turnlog.sync.lease import lease

from .support import DEADLINE_SECONDS, NOBODY, ROOT, TOKEN, Answering, Cli, Receiver, batch_sink, memory_sink, owed

SAMPLE = str(ROOT / "data" / "save_data.jsonl")


def test_everything_is_delivered_once_and_the_log_alone_knows_it(cli: Cli, receiver: Receiver) -> None:
    """The whole way: import, deliver, nothing pending, counts that add up, and no file but the log is needed."""
    cli.configure(receiver.sink())
    imported = cli("import", "save-data", SAMPLE, "--user", "amy", "--json").object
    result = cli.process("sync", "--once", "--json")
    assert (result.code, result.err) == (0, "")
    assert result.object == {"delivered": imported["recorded"], "failed": 0, "dead": 0, "pending": 0, "reconciled": 0}
    assert receiver.messages() == owed(cli)
    assert set(receiver.messages().values()) == {1}
    assert cli.ok("pending", "--json").out == ""
    replayed = cli.ok("replay", "--json").object
    assert sum(replayed["sinks"]["team"].values()) == replayed["turns"] == imported["recorded"]
    assert replayed["events"] == replayed["last_seq"]
    assert cli.ok("verify", "--json").object["events"] == replayed["events"]

    for path in cli.directory.iterdir():
        if path.name not in ("log", "blobs"):
            path.unlink()
    assert cli.ok("replay", "--json").object == replayed
    assert cli.ok("pending", "--json").out == ""
    again = cli("import", "save-data", SAMPLE, "--user", "amy", "--json").object
    assert again == {**imported, "recorded": 0, "unchanged": imported["recorded"]}
    assert cli.ok("replay", "--json").object["sinks"] == replayed["sinks"]


def test_with_no_receiver_nothing_is_lost_and_no_turn_is_blamed(cli: Cli, new_receiver: Callable[[], Receiver]) -> None:
    """An outage ends the run soon, with 1; no turn is dead, no attempt counted; when it is over all is delivered."""
    receiver = new_receiver()
    receiver.start()
    cli.configure(receiver.sink())
    receiver.kill()
    count = cli("import", "save-data", SAMPLE, "--json").object["recorded"]
    for _ in range(3):
        result = cli.process("sync", "--once", "--json")
        assert (result.code, result.object["pending"], result.object["failed"], result.object["dead"]) == (
            1,
            count,
            0,
            0,
        )
        assert result.sentence.startswith(f"the sink 'team' is paused (unavailable): {receiver.url} cannot be reached")
    rows = cli.ok("pending", "--json").objects
    assert {(row["state"], row["attempts"]) for row in rows} == {("pending", 0)}
    assert len(cli.events("SinkPaused")) == 1
    receiver.start()
    assert cli.ok("sync", "--once", "--json").object["delivered"] == count
    assert receiver.messages() == owed(cli)


def test_a_wrong_token_pauses_the_sink_until_it_is_mended(cli: Cli, receiver: Receiver, tmp_path: Path) -> None:
    """The sink is told as paused and unauthorized, no turn is blamed, and all is delivered with the right token."""
    token = tmp_path / "mine"
    token.write_text("wrong")
    cli.configure(batch_sink(receiver.url, token=token))
    for text in "abc":
        cli.record(text)
    for _ in range(2):
        result = cli("sync", "--once", "--json")
        assert (result.code, result.object["pending"], result.object["failed"]) == (1, 3, 0)
        assert result.sentence.startswith("the sink 'team' is paused (unauthorized): ")
        assert "401" in result.sentence
    assert cli("pending").sentence == result.sentence
    token.write_text(f"\ufeff{TOKEN}\r\n", encoding="utf-8")
    assert cli.ok("sync", "--once", "--json").object["delivered"] == 3
    assert receiver.messages() == owed(cli)


@pytest.mark.parametrize("content", [None, "", " \n", "令牌", "two\nlines", "\x00"])
def test_a_secret_that_cannot_be_used_is_a_broken_configuration(
    cli: Cli, server: Answering, content: str | None
) -> None:
    """It ends 78 and says what is left, nothing is sent, no turn is blamed, and recording goes on."""
    token = cli.directory / "token"
    cli.configure(batch_sink(server.url, token=Path("token")))
    if content is not None:
        token.write_text(content, encoding="utf-8")
    cli.record("hi")
    result = cli("sync", "--once", "--json")
    assert (result.code, result.object["pending"], server.bodies) == (78, 1, [])
    assert "sink 'team': the secret in the file " in result.sentence
    assert cli.refused(78, "config", "check") == result.sentence
    assert cli.states() == {"pending": 1}
    token.write_text("good")
    assert cli.ok("sync", "--once", "--json").object["delivered"] == 1


def test_one_broken_sink_keeps_no_other_from_its_turns(cli: Cli) -> None:
    """A sink without its secret, one of an unknown type, one that is down: the fourth gets everything; 78 wins."""
    broken = (batch_sink(NOBODY, name="a", token=Path("none")), '[[sinks]]\nname = "b"\ntype = "bach"\n')
    cli.configure(*broken, batch_sink(NOBODY, name="c"), memory_sink("d"))
    cli.record("hi")
    result = cli("sync", "--once", "--json")
    assert (result.code, result.object["delivered"], result.object["pending"]) == (78, 1, 3)
    secret, kind, paused = result.sentences
    assert "sink 'a': the secret in the file " in secret
    assert kind.endswith("sink 'b': unknown type 'bach'; did you mean 'batch'?")
    assert paused.startswith("the sink 'c' is paused (unavailable): ")
    assert cli.states("d") == {"delivered": 1}


def test_a_sink_that_is_not_configured_any_longer_is_told(cli: Cli) -> None:
    """Its turns wait, the run ends 1 and says what to do; retired, it holds nothing up."""
    cli.configure(memory_sink("old"))
    cli.record("hi")
    cli.configure(memory_sink("new"))
    result = cli("sync", "--once", "--json")
    assert (result.code, result.object["delivered"], result.object["pending"]) == (1, 1, 1)
    assert "the sink 'old', which is not configured: 1; configure it again" in result.sentence
    assert cli.ok("sync", "--once", "--sink", "new", "--json").object["pending"] == 0
    assert cli("sinks", "retire", "old").code == 0
    assert cli.ok("sync", "--once", "--json").object["pending"] == 0


def test_without_a_sink_there_is_nothing_to_deliver(cli: Cli) -> None:
    """It is said, and is no error; a sink that is not configured cannot be named."""
    cli.record("hi")
    result = cli("sync", "--once", "--json")
    assert (result.code, result.object["pending"]) == (0, 0)
    assert result.sentence.startswith("no sink is configured, so nothing was delivered")
    assert cli.refused(2, "sync", "--once", "--sink", "team") == "no sink 'team' is configured; there are none"
    cli.configure(memory_sink("mem"))
    for option in ("--once", "--dry-run"):
        assert cli.refused(2, "sync", option, "--sink", "men") == "no sink 'men' is configured; did you mean 'mem'?"


def test_a_dry_run_plans_what_would_be_sent_and_writes_nothing(cli: Cli, server: Answering) -> None:
    """Also for a sink that is not enrolled yet; in the same requests as the run then."""
    seqs = [cli.record("hi", conversation=f"c{number % 2}") for number in range(4)]
    cli.configure(batch_sink(server.url, more="turns = 3\nconnections = 1"), memory_sink())
    before = cli.ok("replay", "--json").out
    plan = cli.ok("sync", "--dry-run", "--json").objects
    assert [request["sink"] for request in plan] == ["team", "mem"]
    assert len(plan[0]["turns"]) == 3
    assert sorted(plan[1]["turns"]) == seqs
    assert cli.ok("sync", "--dry-run", "--sink", "mem", "--json").objects == plan[1:]
    assert (cli.ok("replay", "--json").out, server.bodies) == (before, [])
    assert cli.ok("sync", "--once", "--json").object["delivered"] == 8
    (first, *_) = (event for event in cli.events("SyncAttempted") if event.sink == "team")
    assert list(first.turns) == plan[0]["turns"]


def test_a_second_worker_of_a_sink_is_turned_away(cli: Cli, server: Answering) -> None:
    """It ends 75 and names who holds the lease; other sinks get their turns, and later so does this one."""
    cli.configure(batch_sink(server.url), memory_sink())
    cli.record("hi")
    with lease(cli.directory, "team"):
        holder = (cli.directory / "sink-team.lock").read_text().strip()
        result = cli.process("sync", "--once", "--json")
        assert (result.code, server.bodies) == (75, [])
        busy = f"the sink 'team' is being delivered to by {holder}; try again when it is done, or wait for it with "
        assert result.sentence == f"{busy}`turnlog sync --follow --wait`"
        assert (result.object["delivered"], result.object["pending"]) == (1, 1)
        record, pending = cli("record", "ho"), cli("pending")
        assert (record.code, pending.code) == (0, 0)
    assert cli.ok("sync", "--once", "--json").object["delivered"] == 3


def test_two_runs_at_the_same_time_deliver_each_turn_once(cli: Cli, server: Answering) -> None:
    """One delivers, the other ends 75 while the first is at it."""
    cli.configure(batch_sink(server.url, more="turns = 1\nconnections = 1"))
    for text in "abcd":
        cli.record(text)
    inside, go_on = threading.Event(), threading.Event()
    answer = server.answer

    def answer_late(body: bytes) -> tuple[int, bytes]:
        inside.set()
        assert go_on.wait(DEADLINE_SECONDS)
        return answer(body)

    server.answer = answer_late  # type: ignore[method-assign]
    first = cli.start("sync", "--once", "--json")
    assert inside.wait(DEADLINE_SECONDS)
    second = cli("sync", "--once")
    go_on.set()
    out, err = first.communicate(timeout=DEADLINE_SECONDS)
    assert (first.returncode, err, second.code) == (0, "", 75)
    assert f":{first.pid} since " in second.sentence
    assert json.loads(out)["delivered"] == 4
    assert len(server.bodies) == 4


def test_a_turn_that_is_refused_is_isolated_and_the_lane_goes_on(cli: Cli, server: Answering) -> None:
    """A request of three is halved until the culprit stands alone: it is dead, with the server's reason."""
    cli.configure(batch_sink(server.url, more="connections = 1"))
    for text in "abc":
        cli.record(text, turn_id=text)
    answer = server.answer
    server.answer = lambda body: answer(body) if '"b"' not in body.decode() else (422, b'{"error": "no b here"}')  # type: ignore[method-assign]
    result = cli("sync", "--once", "--json")
    assert (result.code, result.object) == (1, {"delivered": 2, "failed": 0, "dead": 1, "pending": 0, "reconciled": 0})
    assert result.sentence == "turns that are dead at 'team': 1; see `turnlog pending --state dead`"
    (row,) = cli.ok("pending", "--json").objects
    assert (row["turn_id"], row["state"], row["last_error"]["kind"]) == ("b", "dead", "rejected")
    assert "no b here" in row["last_error"]["message"]


def test_a_line_that_is_damaged_keeps_no_other_from_its_sink(cli: Cli) -> None:
    """A turn whose line cannot be read any longer is not in the state; the others are delivered."""
    cli.configure(memory_sink())
    for text in ("one", "two", "six"):
        cli.record(text)
    (segment,) = (cli.directory / "log").iterdir()
    segment.write_bytes(segment.read_bytes().replace(b'"content":"two"', b'"content":"TWO"'))
    result = cli("sync", "--once", "--json")
    assert (result.code, result.object["delivered"]) == (1, 2), "the damage needs attention"


def test_a_folder_of_the_log_can_be_moved(cli: Cli, tmp_path: Path) -> None:
    """Nothing in it knows where it is."""
    cli.configure(memory_sink())
    cli.record("a")
    moved = Cli(tmp_path / "moved")
    shutil.move(cli.directory, moved.directory)
    assert moved.ok("sync", "--once", "--json").object["delivered"] == 1
    assert moved.ok("verify", "--json").object["ok"]
