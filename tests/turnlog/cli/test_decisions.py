"""The operator's hand: `retry`, `skip`, and `sinks pause | resume | retire`."""

import pytest

from .support import Answering, Cli, batch_sink, memory_sink


@pytest.fixture
def dead(cli: Cli, server: Answering) -> Cli:
    """A log with three dead turns, `a`, `b` and `c`, at a server that is well again."""
    cli.configure(batch_sink(server.url, more="turns = 1\nconnections = 1"))
    for text in "abc":
        cli.record(text, turn_id=text, user=f"user-{text}", conversation=f"c-{text}", source="my_source")
    server.status = 422
    assert cli("sync", "--once").code == 1
    assert cli.states() == {"dead": 3}
    server.status = 200
    return cli


CHOICES = {
    "a seq": (("3",), "a"),
    "a turn id": (("b",), "b"),
    "several": (("a", "5"), "ac"),
    "a user": (("--user", "user-b"), "b"),
    "a conversation": (("--conversation", "c-c"), "c"),
    "a source, with dashes": (("--source", "my-source"), "abc"),
    "a sink": (("--sink", "team"), "abc"),
    "a state": (("--state", "dead"), "abc"),
    "all at once": (("a", "b", "--user", "user-b", "--sink", "team", "--state", "dead"), "b"),
    "nothing that is there": (("--user", "nobody"), ""),
}


@pytest.mark.parametrize("command", ["retry", "skip"])
@pytest.mark.parametrize("choice", CHOICES)
def test_turns_are_chosen_by_name_or_by_filter(dead: Cli, command: str, choice: str) -> None:
    """A dry run tells the same turns, and decides nothing."""
    arguments, chosen = CHOICES[choice]
    before = dead.ok("replay", "--json").out
    dry = dead.ok(command, *arguments, "--dry-run", "--json")
    assert dead.ok("replay", "--json").out == before
    assert dead.ok(command, *arguments, "--json", "--reason", "because").out == dry.out
    assert "".join(row["turn_id"] for row in dry.objects) == chosen
    state = "pending" if command == "retry" else "skipped"
    wanted = {state: len(chosen), "dead": 3 - len(chosen)}
    assert dead.states() == {name: count for name, count in wanted.items() if count}
    decided = dead.events("RetryRequested" if command == "retry" else "TurnSkipped")
    assert [(event.sink, event.reason, len(event.turns)) for event in decided] == [
        ("team", "because", len(chosen)),
    ] * bool(chosen)  # fmt: skip


def test_a_turn_that_was_dead_is_delivered_after_a_retry(dead: Cli, server: Answering) -> None:
    """Attempts count from 0 again; the next run sends it, and the other two stay dead."""
    result = dead("retry", "b")
    assert (result.code, result.err) == (0, "1 turns are due to be sent again\n")
    (row,) = dead.ok("pending", "--state", "pending", "--json").objects
    assert (row["turn_id"], row["attempts"], row["last_error"]) == ("b", 0, None)
    result = dead("sync", "--once", "--json")
    assert (result.code, result.object["delivered"]) == (1, 1)
    assert dead.states() == {"delivered": 1, "dead": 2}


def test_a_skip_is_taken_back_by_a_retry(cli: Cli) -> None:
    """A skipped turn is not sent; named again, it is."""
    cli.configure(memory_sink())
    cli.record("a", turn_id="a")
    cli.record("b", turn_id="b")
    assert cli("skip", "a").err == "1 turns are skipped\n"
    assert cli.ok("sync", "--once", "--json").object["delivered"] == 1
    assert cli.states("mem") == {"skipped": 1, "delivered": 1}
    assert cli("retry", "a").code == 0
    assert cli.ok("sync", "--once", "--json").object["delivered"] == 1


def test_what_is_delivered_is_sent_again_only_where_it_is_named(cli: Cli) -> None:
    """By its name or its state; a filter that happens to include it does not."""
    cli.configure(memory_sink())
    cli.record("a", turn_id="a")
    cli.ok("sync", "--once")
    assert cli.ok("retry", "--sink", "mem", "--json").out == ""
    assert cli.ok("retry", "--state", "delivered", "--dry-run", "--json").object["turn_id"] == "a"
    assert cli.ok("retry", "a", "--json").object["state"] == "delivered"
    assert cli.states("mem") == {"pending": 1}
    assert cli.ok("skip", "--state", "pending", "--json").object["turn_id"] == "a"


@pytest.mark.parametrize("command", ["retry", "skip"])
def test_a_decision_about_nothing_is_refused(cli: Cli, command: str) -> None:
    """Nobody decides about all turns by saying nothing; a turn or sink that is not there is told."""
    cli.configure(memory_sink())
    cli.record("a")
    before = cli.ok("replay", "--json").out
    for arguments in ((), ("--dry-run",), ("--reason", "x"), ("--json",)):
        assert cli.refused(2, command, *arguments).startswith("name a TURN, or say which turns are meant with --sink")
    for name in ("99", "nosuch", "1", "-1", "", "9" * 5000):
        assert cli.refused(2, command, "--", name).startswith(f"there is no turn {name!r} in {cli.directory}")
    assert cli.refused(2, command, "--sink", "men", "2") == "there is no sink 'men'; did you mean 'mem'?"
    assert cli.ok("replay", "--json").out == before


def test_a_paused_sink_gets_nothing_until_it_is_resumed(cli: Cli) -> None:
    """The pause has a reason, which `pending`, `sinks` and `sync` tell; recording goes on."""
    cli.configure(memory_sink())
    cli.record("a")
    assert cli("sinks", "pause", "mem", "--reason", "the disk there is being changed").err == "mem is paused\n"
    cli.record("b")
    result = cli("sync", "--once", "--json")
    assert (result.code, result.object["pending"]) == (1, 2)
    why = "the sink 'mem' is paused (operator): the disk there is being changed"
    assert result.sentence == cli("pending").sentence == why
    assert "paused (operator)" in cli.ok("sinks").out
    assert cli("sinks", "resume", "mem").err == "mem is resumed\n"
    assert cli.ok("sync", "--once", "--json").object["delivered"] == 2


def test_a_retired_sink_is_owed_nothing_for_good(cli: Cli) -> None:
    """What it has stays known; it cannot be resumed, and configuring it does not bring it back."""
    cli.configure(memory_sink())
    cli.record("a", turn_id="a")
    cli.ok("sync", "--once")
    cli.record("b")
    assert cli("sinks", "retire", "mem").err == "mem is retired\n"
    assert cli.ok("sync", "--once", "--json").object["pending"] == 0
    assert cli.ok("sinks", "--json").object["state"] == "retired"
    assert cli.ok("show", "a", "--json").object["sinks"]["mem"]["state"] == "delivered"
    for decision in ("pause", "resume", "retire"):
        assert cli.refused(2, "sinks", decision, "mem").startswith("the sink 'mem' is retired, which is for good")
    assert cli.ok("verify").out.startswith("ok: ")


def test_only_a_sink_that_is_known_can_be_paused(cli: Cli) -> None:
    """Known to the log or to the configuration, which then enrols it; any other is told with the nearest."""
    assert cli.refused(2, "sinks", "pause", "mem") == "there is no sink 'mem'; there are none"
    cli.configure(memory_sink())
    assert cli.refused(2, "sinks", "pause", "men") == "there is no sink 'men'; did you mean 'mem'?"
    assert not (cli.directory / "log").exists()
    assert cli("sinks", "pause", "mem").code == 0
    assert len(cli.events("SinkEnrolled")) == len(cli.events("SinkPaused")) == 1
