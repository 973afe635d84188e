"""The contract with programs: what `--json` prints, field by field, in order, as README.md documents it."""

import tomllib
from typing import Any

import pytest
from msgspec.structs import asdict

from turnlog.cli.daemon.test_ import Looked
from turnlog.config import DaemonConfig, ImportLimits
from turnlog.daemon.service.installing import Autostart
from turnlog.daemon.status import Status
from turnlog.sources.looking import Seen

from .support import NOBODY, ROOT, Answering, Cli, batch_sink, memory_sink, old_file

STATES = ("pending", "attempting", "retrying", "delivered", "dead", "skipped", "superseded")
REPLAY = ("events", "last_seq", "turns", "sinks", "reconciled")
RECORD = ("seq", "turn_id", "revision", "new")
IMPORT = ("recorded", "revised", "unchanged", "quarantined")
SYNC = ("delivered", "failed", "dead", "pending", "reconciled")
PLAN = ("sink", "turns")
PENDING = (
    "seq", "turn_id", "revision", "source", "user", "conversation", "sink", "state", "attempts", "next_attempt_at",
    "last_error", "waits_for", "held",
)  # fmt: skip
LAST_ERROR = ("kind", "status", "message")
VERIFY = ("ok", "events", "segments", "problems")
PROBLEM = ("kind", "segment", "seq", "offset", "detail")
STATS = ("events", "last_seq", "turns", "revisions", "by_type", "by_source", "by_hour", "sinks")
SINK_STATS = (*STATES, "requests", "reconciled", "failures")
SINKS = (
    "sink", "type", "state", "lag_seconds", "counts", "pause", "last_success_at", "in_flight", "rate", "next_probe_at",
)  # fmt: skip
SOURCES = ("source", "turns", "quarantined", "last_turn_at", "streams", "notices")
STREAM = ("stream", "cursor", "advanced_at", "quarantined")
SHOW = ("seq", "turn_id", "revision", "recorded_at", "turn", "sinks", "events")
AT_SINK = ("state", "attempts", "next_attempt_at", "last_error", "waits_for", "receipt", "held")
LIFE_EVENT = ("seq", "at", "type", "fields")
CONFIG_CHECK = ("ok", "path", "problems")


def keys(value: dict[str, Any]) -> tuple[str, ...]:
    return tuple(value)


DOCUMENTED = (RECORD, IMPORT, SYNC, PLAN, PENDING, LAST_ERROR, STATES, STATS, SINKS, PROBLEM)
PRINTED_WHOLE = (Seen, Status, Looked, Autostart)


@pytest.mark.parametrize("fields", [*DOCUMENTED, *(printed.__struct_fields__ for printed in PRINTED_WHOLE)])
def test_the_fields_stand_in_the_readme(fields: tuple[str, ...]) -> None:
    """The README names them, in this order."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert ", ".join(f'"{name}"' for name in fields) in readme


@pytest.mark.parametrize("section", ["daemon", "import"])
def test_the_defaults_stand_in_the_readme(section: str) -> None:
    """Its configuration can be read, and what these sections say in it is what they say where nobody says anything."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    text = readme.split("## Configuration\n")[1].split("\nWithout any file")[0]
    example = tomllib.loads("[log]" + text.partition("[log]")[2])
    defaults = asdict({"daemon": DaemonConfig(), "import": ImportLimits()}[section])
    assert example[section] == {name: value for name, value in defaults.items() if value is not None}


def test_record_prints_a_line_for_each_turn(cli: Cli) -> None:
    """New or known, every turn that is recorded has its seq, id and revision."""
    line = '{"turn_id": "t", "messages": [{"role": "user", "content": "%s"}]}\n'
    results = cli.ok("record", "--json", stdin=line % "a" + line % "a" + line % "b").objects
    assert [keys(result) for result in results] == [RECORD] * 3
    assert [tuple(result.values()) for result in results] == [(2, "t", 1, True), (2, "t", 1, False), (3, "t", 2, True)]


def test_import_prints_its_counts(cli: Cli) -> None:
    """One object."""
    path = old_file(cli.directory.with_name("old.jsonl"), range(3))
    counts = cli.ok("import", "save-data", str(path), "--json").object
    assert keys(counts) == IMPORT
    assert tuple(counts.values()) == (3, 0, 0, 0)


def test_replay_prints_the_state(cli: Cli) -> None:
    """The seven states of each sink add up to the turns that it is owed."""
    assert cli.ok("replay", "--json").object == {
        "events": 0, "last_seq": 0, "turns": 0, "sinks": {}, "reconciled": {},
    }  # fmt: skip
    cli.configure(memory_sink())
    cli.record("hi", turn_id="a")
    cli.record("ho", turn_id="a")
    replayed = cli.ok("replay", "--json").object
    assert keys(replayed) == REPLAY
    assert (replayed["events"], replayed["last_seq"], replayed["turns"]) == (4, 4, 2)
    assert keys(replayed["sinks"]["mem"]) == STATES
    assert replayed["sinks"]["mem"] == {**dict.fromkeys(STATES, 0), "pending": 1, "superseded": 1}


def test_sync_prints_its_counts_and_its_plan(cli: Cli) -> None:
    """One object for a run, a line for each request of a plan; talk goes to stderr."""
    cli.configure(memory_sink())
    seq = cli.record("hi")
    plan = cli.ok("sync", "--dry-run", "--json").objects
    assert plan == [{"sink": "mem", "turns": [seq]}]
    assert keys(plan[0]) == PLAN
    counts = cli.ok("sync", "--once", "--json").object
    assert keys(counts) == SYNC
    assert tuple(counts.values()) == (1, 0, 0, 0, 0)


def test_pending_prints_a_line_for_each_turn_and_sink(cli: Cli, server: Answering) -> None:
    """Nothing for a delivered turn; `last_error` is null or says kind, status and message."""
    cli.configure(batch_sink(server.url, more="turns = 1"), sync="base_seconds = 1000")
    cli.record("hi", turn_id="a", user="ann", conversation="c", source="s")
    (row,) = cli.ok("pending", "--json").objects
    assert keys(row) == PENDING
    assert tuple(row.values()) == (3, "a", 1, "s", "ann", "c", "team", "pending", 0, None, None, None, False)
    server.status = 500
    assert cli("sync", "--once").code == 1
    (row,) = cli.ok("pending", "--json").objects
    assert keys(row["last_error"]) == LAST_ERROR
    assert (row["state"], row["attempts"], row["last_error"]["kind"], row["last_error"]["status"]) == (
        "retrying", 1, "failed", 500,
    )  # fmt: skip
    assert row["next_attempt_at"].endswith("Z")
    cli.record("ho", turn_id="b", user="ann", conversation="c", source="s")
    _, waiting = cli.ok("pending", "--json").objects
    assert (waiting["waits_for"], waiting["next_attempt_at"], row["waits_for"]) == (row["seq"], None, None)


def test_retry_and_skip_print_what_they_decide_about(cli: Cli) -> None:
    """The same lines as `pending`, with the state from before."""
    cli.configure(memory_sink())
    cli.record("hi", turn_id="a")
    skipped = cli.ok("skip", "a", "--json").object
    assert (keys(skipped), skipped["state"]) == (PENDING, "pending")
    retried = cli.ok("retry", "a", "--json").object
    assert (keys(retried), retried["state"]) == (PENDING, "skipped")


def test_verify_prints_a_report(cli: Cli) -> None:
    """A problem says what is damaged and where."""
    assert cli.ok("verify", "--json").object == {"ok": True, "events": 0, "segments": 0, "problems": []}
    for text in "abc":
        cli.record(text)
    (segment,) = (cli.directory / "log").iterdir()
    lines = segment.read_bytes().splitlines(keepends=True)
    segment.write_bytes(b"".join(lines).replace(b'"content":"b"', b'"content":"x"'))
    result = cli("verify", "--json")
    report = result.object
    assert (result.code, result.err) == (1, "")
    assert (keys(report), report["ok"], report["events"], report["segments"]) == (VERIFY, False, 3, 1)
    (problem,) = report["problems"]
    assert keys(problem) == PROBLEM
    assert (problem["segment"], problem["offset"]) == (segment.name, len(b"".join(lines[:2])))


def test_stats_prints_counters(cli: Cli) -> None:
    """By type, source, hour and sink."""
    cli.configure(memory_sink())
    cli.record("hi", turn_id="a", source="s")
    cli.record("ho", turn_id="a", source="s")
    cli.ok("sync", "--once", "--json")
    stats = cli.ok("stats", "--json").object
    assert (keys(stats), keys(stats["sinks"]["mem"])) == (STATS, SINK_STATS)
    assert (stats["turns"], stats["revisions"], stats["by_source"]) == (2, 1, {"s": 2})
    assert stats["by_type"]["TurnRecorded"] == 2
    assert sum(stats["by_type"].values()) == stats["events"] == stats["last_seq"]
    assert sum(stats["by_hour"].values()) == 2
    assert (stats["sinks"]["mem"]["requests"], stats["sinks"]["mem"]["delivered"]) == (1, 1)


def test_sinks_prints_a_line_for_each_sink(cli: Cli) -> None:
    """`lag_seconds` is null where nothing waits; `pause` is null, or says why and since when."""
    cli.configure(batch_sink(NOBODY))
    (new,) = cli.ok("sinks", "--json").objects
    assert (keys(new), new["state"], keys(new["counts"])) == (SINKS, "new", STATES)
    cli.record("hi")
    assert cli("sync", "--once").code == 1
    (paused,) = cli.ok("sinks", "--json").objects
    assert (paused["sink"], paused["type"], paused["state"]) == ("team", "batch", "paused")
    assert paused["lag_seconds"] >= 0
    assert keys(paused["pause"]) == ("kind", "reason", "since", "until")
    assert paused["pause"]["kind"] == "unavailable"
    assert paused["next_probe_at"] > paused["pause"]["since"]
    assert (paused["in_flight"], paused["rate"]) == (0, 0)


def test_sources_prints_a_line_for_each_source(cli: Cli) -> None:
    """With its streams, and what could not be read in them."""
    path = old_file(cli.directory.with_name("old.jsonl"), range(2))
    with path.open("a") as file:
        file.write("this is no JSON\n")
    assert cli("import", "save-data", str(path)).code == 0
    (source,) = cli.ok("sources", "--json").objects
    assert (keys(source), source["source"], source["turns"], source["quarantined"]) == (SOURCES, "save_data", 2, 1)
    (stream,) = source["streams"]
    assert (keys(stream), stream["stream"]) == (STREAM, str(path))
    (bad,) = stream["quarantined"]
    assert keys(bad) == ("seq", "stream", "position", "reason", "raw", "blob")
    assert (bad["position"], bad["raw"]) == ("line 3", "this is no JSON")


def test_show_prints_a_turns_life(cli: Cli) -> None:
    """A line for each revision: the turn whole, where it stands, and its events with their own fields."""
    cli.configure(memory_sink())
    cli.record("hi", "ho", turn_id="a")
    cli.ok("sync", "--once")
    cli.record("hi", "ha", turn_id="a")
    first, second = cli.ok("show", "a", "--json").objects
    assert keys(first) == keys(second) == SHOW
    assert [message["content"] for message in first["turn"]["messages"]] == ["hi", "ho"]
    assert (keys(first["sinks"]["mem"]), first["sinks"]["mem"]["state"]) == (AT_SINK, "delivered")
    assert [event["type"] for event in first["events"]] == ["SyncAttempted", "SyncSucceeded", "superseded"]
    assert {keys(event) for event in first["events"]} == {LIFE_EVENT}
    assert (second["revision"], second["sinks"]["mem"]["state"], second["events"]) == (2, "pending", [])


def test_tail_prints_the_logs_own_lines(cli: Cli) -> None:
    """Byte by byte, checksum included."""
    for text in "你好":
        cli.record(text)
    (segment,) = (cli.directory / "log").iterdir()
    assert cli.ok("tail", "--json").out.encode() == segment.read_bytes()
    assert cli.ok("tail", "--json", "-n", "1").out.encode() == segment.read_bytes().splitlines(keepends=True)[-1]


def test_config_check_prints_what_is_wrong(cli: Cli) -> None:
    """`path` is the file that was read, null if there is none."""
    checked = cli.ok("config", "check", "--json").object
    assert (keys(checked), tuple(checked.values())) == (CONFIG_CHECK, (True, None, []))
    cli.configure(memory_sink())
    checked = cli.ok("config", "check", "--json").object
    assert checked == {"ok": True, "path": str(cli.directory / "turnlog.toml"), "problems": []}
    cli.configure('[[sinks]]\nname = "a"\ntype = "nosuch"\n', '[[sinks]]\nname = "b"\ntype = "memory"\nturn = 3\n')
    result = cli("config", "check", "--json")
    assert (result.code, result.object["ok"], len(result.object["problems"])) == (78, False, 2)
    assert result.object["problems"] == result.sentences


def test_times_are_utc_as_rfc_3339(cli: Cli) -> None:
    """Every time in JSON ends in Z."""
    cli.configure(memory_sink())
    line = '{"started_at": "2026-01-01T10:00:00+08:00", "messages": [{"role": "user", "content": "a"}]}'
    seq = cli.ok("record", "--json", stdin=line).object["seq"]
    shown = cli.ok("show", str(seq), "--json").object
    assert shown["turn"]["started_at"] == "2026-01-01T02:00:00Z"
    assert shown["recorded_at"].endswith("Z")
