"""No byte of a line ever changes once written, and no line disappears, whatever is done to a log."""

import random
from pathlib import Path

from .support import NOBODY, Answering, Cli, Witness, batch_sink, memory_sink, old_file


def test_no_command_changes_a_line(cli: Cli, server: Answering, tmp_path: Path) -> None:
    """The bytes up to the last line are hashed before and after each command that writes, and each that reads."""
    cli.configure(batch_sink(server.url, more="turns = 1"), memory_sink())
    path = old_file(tmp_path / "old.jsonl", range(30))
    path.write_text(path.read_text() + "broken\n")
    cli.record("first", turn_id="t")
    witness = Witness(cli.directory)
    size = witness.look()
    writes = [
        ("record", "--turn-id", "t", "second"),
        ("record", "third", "said"),
        ("import", "save-data", str(path)),
        ("sync", "--once"),
        ("retry", "--sink", "team", "--state", "dead"),
        ("skip", "--sink", "team", "--user", "default", "--source", "live"),
        ("sinks", "pause", "mem"),
        ("sinks", "resume", "mem"),
        ("sync", "--once"),
        ("sinks", "retire", "team"),
    ]
    statuses = iter([422, 200])
    for command in writes:
        server.status = next(statuses) if command[0] == "sync" else server.status
        assert cli(*command).code in (0, 1), command
        grown = witness.look()
        assert grown > size, f"{command} wrote nothing"
        size = grown
    for command in (
        ("verify",),
        ("pending",),
        ("stats",),
        ("tail",),
        ("sinks",),
        ("sources",),
        ("show", "t"),
        ("replay",),
    ):
        assert cli(*command).code == 0, command
        assert witness.look() == size, f"{command} wrote something"
    assert cli.ok("verify", "--json").object["ok"]


def test_a_sink_that_fails_changes_no_line(cli: Cli) -> None:
    """An outage adds events; with every run the old ones are where they were."""
    cli.configure(batch_sink(NOBODY))
    for number in range(20):
        cli.record(f"turn {number}")
    witness = Witness(cli.directory)
    for _ in range(3):
        assert cli("sync", "--once").code == 1
        witness.look()


def test_a_torn_tail_is_closed_and_nothing_before_it_is_touched(cli: Cli) -> None:
    """A half-written last line, wherever it was cut, stays as it is, and the next command writes behind it."""
    cli.record("whole", turn_id="whole")
    (segment,) = (cli.directory / "log").iterdir()
    whole = segment.read_bytes()
    cli.record("torn", turn_id="torn")
    torn = segment.read_bytes()[len(whole) :]
    cuts = random.Random(4).sample(range(1, len(torn) - 1), 5)
    for cut in cuts:
        segment.write_bytes(whole + torn[:cut])
        witness = Witness(cli.directory)
        witness.look()
        assert cli("verify").code == 0
        assert segment.read_bytes() == whole + torn[:cut]
        cli.record("next", turn_id="next")
        witness.look()
        assert segment.read_bytes().startswith(whole + torn[:cut])
        assert [turn.turn_id for turn in cli.events("TurnRecorded")] == ["whole", "next"]
        assert cli.ok("verify", "--json").object == {
            "ok": True, "events": 4, "segments": 1, "problems": [],
        }  # fmt: skip
