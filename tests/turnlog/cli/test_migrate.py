"""`turnlog migrate`: from an old setup to this one, without losing a turn and without sending one twice."""

import json
import shutil
import sys
import time
import tomllib
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventlog.files import Files
from turnlog.cli.main import COMMANDS
from turnlog.testing.memobase import MemobaseDouble

from .support import DEADLINE_SECONDS, NOBODY, Cli, Witness, old_file

TOKEN = "canary-3391-token"
WORKER_TOKEN = "canary-5520-worker"


@pytest.fixture
def double() -> Iterator[MemobaseDouble]:
    with MemobaseDouble(TOKEN, persistent_chat_blobs=True) as double:
        yield double


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """An old setup: six turns, the first two delivered by the mark, the fourth by its flag."""
    return setup(tmp_path / "old", NOBODY, synced={4}, mark="2")


def setup(folder: Path, url: str, *, count: int = 6, synced: Any = (), mark: str | None = None) -> Path:
    (folder / "data").mkdir(parents=True)
    lines = [old_file(folder / "one", [n], synced=n in synced).read_text() for n in range(1, count + 1)]
    (folder / "one").unlink(missing_ok=True)
    (folder / "data" / "save_data.jsonl").write_text("".join(lines))
    if mark is not None:
        (folder / "data" / ".progress").write_text(mark)
    variables = f"MEMOBASE_URL={url}\nMEMOBASE_ACCESS_TOKEN={TOKEN}\nMEMOBASE_SYNC_INTERVAL=60\nUSER_ID=amy\n"
    (folder / ".env").write_text(variables)
    return folder


def worker(old: Path, url: str = NOBODY, name: str = "gpt") -> None:
    (old / "workers" / name).mkdir(parents=True)
    text = f"server:\n  base_url: {url}/\nworker:\n  check_interval: 45s\n  batch_size: 20\n"
    (old / "workers" / name / "config.yaml").write_text(f"{text}security:\n  worker_token: {WORKER_TOKEN}\n")


def tree(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def toml(cli: Cli) -> dict[str, Any]:
    return tomllib.loads((cli.directory / "turnlog.toml").read_text())


def pending(cli: Cli, sink: str) -> list[int]:
    """The numbers of the turns that are owed to a sink."""
    owed = {line["seq"] for line in cli("pending", "--json", "--sink", sink).objects}
    turns = [(e.seq, e.event) for e in cli.log().read() if e.type == "TurnRecorded"]
    return sorted(int(turn.messages[0].content.split()[1]) for seq, turn in turns if seq in owed)


def migrate(cli: Cli, old: Path, *options: str) -> dict[str, Any]:
    result = cli("migrate", str(old), "--json", *options)
    assert (result.code, result.err) == (0, ""), result
    return result.object


def test_every_undelivered_turn_arrives_and_no_delivered_one_again(
    cli: Cli, tmp_path: Path, double: MemobaseDouble
) -> None:
    """On a machine with only the old setup: migrate and deliver, each twice."""
    old = setup(tmp_path / "old", double.url, synced={4}, mark="2")
    for _ in range(2):
        assert cli("migrate", str(old), "--apply").code == 0
        cli.ok("sync", "--once")
    assert double.processed() == [f"{word} {n}" for n in (3, 5, 6) for word in ("问", "答")]
    assert cli.states("memobase") == {"delivered": 6}


@pytest.mark.skipif("daemon" not in COMMANDS, reason="there is no daemon yet")
def test_the_daemon_delivers_what_the_old_scripts_owed(cli: Cli, tmp_path: Path, double: MemobaseDouble) -> None:
    """Two commands on a machine with only the old setup; started again, the daemon sends nothing again."""
    old = setup(tmp_path / "old", double.url, synced={4}, mark="2")
    assert cli("migrate", str(old), "--apply").code == 0
    try:
        for _ in range(2):
            assert cli.process("daemon", "start").code == 0
            deadline = time.monotonic() + DEADLINE_SECONDS
            while cli.states("memobase") != {"delivered": 6}:
                assert time.monotonic() < deadline, cli.states("memobase")
                time.sleep(0.02)
            assert cli.process("daemon", "stop").code == 0
    finally:
        cli.process("daemon", "stop")
    texts = [message["content"] for blob in double.blobs() for message in blob.messages]
    assert texts == [f"{word} {n}" for n in (3, 5, 6) for word in ("问", "答")]


@settings(max_examples=12)
@given(
    flags=st.lists(st.booleans(), min_size=1, max_size=12),
    lines=st.integers(0, 12),
    as_text=st.sampled_from(["{}", "{}\n", '{{"lines": {}}}']),
)
def test_a_turn_is_owed_unless_its_flag_or_the_mark_says_that_it_was_delivered(
    flags: list[bool], lines: int, as_text: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever the flags and the mark are; the plan has counted them before."""
    folder, lines = tmp_path_factory.mktemp("migrate"), min(lines, len(flags))
    synced = {n for n, flag in enumerate(flags, 1) if flag}
    old = setup(folder / "old", NOBODY, count=len(flags), synced=synced, mark=as_text.format(lines))
    cli = Cli(folder / "data")
    owed = [n for n, flag in enumerate(flags, 1) if not flag and n > lines]
    turns = migrate(cli, old)["turns"]
    assert (turns["owed"], turns["delivered"], turns["new"]) == (len(owed), len(flags) - len(owed), len(flags))
    migrate(cli, old, "--apply")
    assert pending(cli, "memobase") == owed


def test_a_plan_changes_nothing(cli: Cli, old: Path) -> None:
    """It says what would be recorded and configured; no folder is made, no old file touched."""
    before = tree(old)
    plan = migrate(cli, old)
    assert not plan["applied"]
    assert {name: plan["turns"][name] for name in ("user", "sink", "turns", "delivered", "owed", "new")} == {
        "user": "amy", "sink": "memobase", "turns": 6, "delivered": 3, "owed": 3, "new": 6,
    }  # fmt: skip
    assert [sink["name"] for sink in plan["configuration"]["sinks"]] == ["memobase"]
    shown = cli("migrate", str(old))
    assert "6 turns of amy: 3 delivered to memobase, 3 owed" in shown.out
    assert "nothing was changed" in shown.err
    assert not cli.directory.exists()
    assert tree(old) == before


def test_a_second_apply_changes_nothing(cli: Cli, old: Path) -> None:
    """Neither the log nor the configuration, nor a secret's file; the old files stay as they were throughout."""
    before, witness = tree(old), Witness(cli.directory)
    worker(old)
    before = tree(old)
    assert migrate(cli, old, "--apply")["imported"]["recorded"] == 6
    length, rest = witness.look(), tree(cli.directory)
    assert migrate(cli, old, "--apply")["imported"] == {"recorded": 0, "revised": 0, "unchanged": 6, "quarantined": 0}
    assert witness.look() == length
    settings_of = lambda files: {name: files[name] for name in files if name.endswith((".toml", ".token"))}  # noqa: E731
    assert settings_of(tree(cli.directory)) == settings_of(rest)
    assert tree(old) == before


def test_secrets_get_files_of_their_own_and_are_nowhere_else(cli: Cli, old: Path) -> None:
    """0600, beside the configuration, which names them; neither the output nor the log shows them."""
    worker(old)
    shown = [cli("migrate", str(old), *options) for options in ((), ("--json",), ("--apply",), ("--apply", "--json"))]
    assert toml(cli)["sinks"][0]["token"] == {"file": "memobase.token"}
    assert toml(cli)["sinks"][1]["token"] == {"file": "server.token"}
    for name, token in (("memobase.token", TOKEN), ("server.token", WORKER_TOKEN)):
        path = cli.directory / name
        assert path.read_text().strip() == token
        assert path.stat().st_mode & 0o777 == 0o600
        path.unlink()
    told = "".join(result.out + result.err for result in shown)
    kept = b"".join(path.read_bytes() for path in cli.directory.rglob("*") if path.is_file())
    assert "canary" not in told
    assert b"canary" not in kept


def test_the_settings_of_the_workers_become_a_sink_that_gets_no_old_turns(cli: Cli, old: Path) -> None:
    """Several workers of one server are one sink; batch_size counts conversations; the variables' interval wins."""
    worker(old)
    worker(old, name="claude")
    migrate(cli, old, "--apply")
    assert toml(cli)["sync"] == {"interval_seconds": 60.0}
    assert toml(cli)["sinks"][1:] == [
        {
            "name": "server", "type": "batch", "url": NOBODY, "token": {"file": "server.token"}, "conversations": 20,
            "backfill": False,
        }
    ]  # fmt: skip
    assert pending(cli, "memobase") == [3, 5, 6]
    assert pending(cli, "server") == []
    cli("record", "--user", "amy", "问 7")
    assert pending(cli, "server") == [7]


def test_without_memobase_the_flags_speak_of_the_workers_server(cli: Cli, old: Path) -> None:
    """It is the only sink that is known; its check_interval is the sweep's."""
    (old / ".env").unlink()
    worker(old)
    migrate(cli, old, "--apply")
    assert toml(cli)["sync"] == {"interval_seconds": 45.0}
    assert pending(cli, "server") == [3, 5, 6]


def test_without_any_address_the_turns_are_kept_and_it_is_said(cli: Cli, old: Path) -> None:
    """A sink named `memobase`, configured later, gets what it has not had; that sink is not made up."""
    (old / ".env").unlink()
    assert any("no address of Memobase" in sentence for sentence in migrate(cli, old, "--apply")["left_alone"])
    assert not (cli.directory / "turnlog.toml").exists()
    cli.configure(f'[[sinks]]\nname = "memobase"\ntype = "memobase"\nurl = "{NOBODY}"\n')
    cli("record", "--user", "amy", "问 7")
    assert pending(cli, "memobase") == [3, 5, 6, 7]


@pytest.mark.parametrize(
    ("said", "token"), [("${WORKER_TOKEN}", {"env": "WORKER_TOKEN"}), ("$ecret", {"file": "server.token"})]
)
def test_a_variable_that_a_workers_file_names_is_a_reference(
    cli: Cli, old: Path, said: str, token: dict[str, str]
) -> None:
    """Only as shells and YAML readers write it: a token may begin with any sign."""
    worker(old)
    path = old / "workers" / "gpt" / "config.yaml"
    path.write_text(path.read_text().replace(WORKER_TOKEN, said))
    migrate(cli, old, "--apply")
    assert toml(cli)["sinks"][1]["token"] == token


def test_variables_of_the_environment_stay_there(cli: Cli, old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that no file holds is not written into one."""
    (old / ".env").unlink()
    monkeypatch.setenv("MEMOBASE_URL", NOBODY)
    monkeypatch.setenv("MEMOBASE_TOKEN", TOKEN)
    migrate(cli, old, "--apply")
    assert toml(cli)["sinks"][0]["token"] == {"env": "MEMOBASE_TOKEN"}
    assert not list(cli.directory.glob("*.token"))


def test_what_the_configuration_says_already_stays(cli: Cli, old: Path) -> None:
    """Comments, an interval, a sink; a Memobase of another name is the one that the flags speak of."""
    cli.directory.mkdir()
    text = f'# mine\n[sync]\ninterval_seconds = 7\n\n[[sinks]]\nname = "memory"\ntype = "memobase"\nurl = "{NOBODY}"\n'
    (cli.directory / "turnlog.toml").write_text(text)
    plan = migrate(cli, old, "--apply")
    assert plan["turns"]["sink"] == "memory"
    assert (cli.directory / "turnlog.toml").read_text() == text
    assert pending(cli, "memory") == [3, 5, 6]


def test_a_configuration_is_added_to(cli: Cli, old: Path) -> None:
    """What is new stands behind what is there, also where its sinks stand in one line."""
    cli.directory.mkdir()
    for text in (
        '[[sinks]]\nname = "m"\ntype = "memory" # mine\n',
        'sinks = [{ name = "m", type = "memory" }] # mine\n',
    ):
        shutil.rmtree(cli.directory)
        cli.directory.mkdir()
        (cli.directory / "turnlog.toml").write_text(text)
        migrate(cli, old, "--apply")
        assert [sink["name"] for sink in toml(cli)["sinks"]] == ["m", "memobase"]
        assert toml(cli)["sync"]["interval_seconds"] == 60
        assert "# mine" in (cli.directory / "turnlog.toml").read_text()


@pytest.mark.parametrize("step", ["memobase.token", "turnlog.toml"])
def test_what_failed_midway_is_finished_by_the_next_run(
    cli: Cli, old: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Meanwhile an old script delivers one more turn: it is not sent again."""
    write = Files.write_file

    def fail(self: Files, path: Path, *pieces: bytes) -> None:
        if path.name == step:
            raise OSError(28, "No space left on device", str(path))
        write(self, path, *pieces)

    with monkeypatch.context() as patched:
        patched.setattr(Files, "write_file", fail)
        failed = cli("migrate", str(old), "--apply")
    assert failed.code in (1, 78)
    assert "No space left" in failed.sentence
    shutil.rmtree(old)
    setup(old, NOBODY, count=7, synced={4, 5}, mark="2")
    migrate(cli, old, "--apply")
    assert pending(cli, "memobase") == [3, 6, 7]
    assert cli.states("memobase") == {"delivered": 3, "skipped": 1, "pending": 3}
    assert cli.ok("config", "check").code == 0


@pytest.mark.parametrize(
    ("file", "content", "sentence"),
    [
        ("data/.progress", '{"offset": 4096}', "--delivered-lines"),
        ("data/save_data.jsonl.progress", "5", "--delivered-lines"),
        ("data/.progress", "7", "save_data.jsonl has 6: if it was begun anew since, say with --delivered-lines"),
        (".env", f"MEMOBASE_URL=http://amy:{TOKEN}@127.0.0.1:9\n", "MEMOBASE_URL: url must hold no password"),
        (".env", "MEMOBASE_URL=http://x\nMEMOBASE_SYNC_INTERVAL=often\n", "MEMOBASE_SYNC_INTERVAL"),
        (".env", f'="{TOKEN}\n', "line 1 is no NAME=value"),
        ("config.yaml", f"security: {{worker_token: {TOKEN}", "config.yaml is no valid YAML"),
        ("config.yaml", "server: {base_url: ftp://x}", "url must begin with http"),
    ],
)
def test_what_is_not_clear_is_said_and_nothing_is_done(
    cli: Cli, old: Path, file: str, content: str, sentence: str
) -> None:
    """It ends 78, with --apply as without, and names the file, not what is in it."""
    (old / file).write_text(content)
    for options in ((), ("--apply",), ("--apply", "--json")):
        result = cli("migrate", str(old), *options)
        assert result.code == 78
        assert sentence in result.sentences[0]
        assert result.sentences[-1] == "nothing was changed"
        assert "canary" not in result.out + result.err
    assert not cli.directory.exists()


@pytest.mark.parametrize("package", ["dotenv.parser", "yaml", "tomlkit"])
def test_a_package_that_is_missing_is_named(cli: Cli, old: Path, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that brings it; nothing is done."""
    worker(old)
    monkeypatch.setitem(sys.modules, package, None)
    result = cli("migrate", str(old), "--apply")
    assert result.code == 1
    assert "pip install 'turnlog[" in result.sentence
    assert not cli.directory.exists()


def test_the_operator_says_how_many_lines_were_delivered(cli: Cli, old: Path) -> None:
    """In place of a mark that nobody understands, or of one that is wrong."""
    (old / "data/.progress").write_text("line five, I think")
    migrate(cli, old, "--apply", "--delivered-lines", "5")
    assert pending(cli, "memobase") == [6]


def test_a_secret_that_is_there_is_not_overwritten(cli: Cli, old: Path) -> None:
    """Another content under the name of the token's file is somebody else's."""
    cli.directory.mkdir()
    (cli.directory / "memobase.token").write_text("another")
    result = cli("migrate", str(old), "--apply")
    assert result.code == 78
    assert "memobase.token holds another secret than MEMOBASE_ACCESS_TOKEN" in result.sentences[0]
    assert [path.name for path in cli.directory.iterdir()] == ["memobase.token"]
    assert (cli.directory / "memobase.token").read_text() == "another"


def test_a_broken_configuration_is_not_touched(cli: Cli, old: Path) -> None:
    """It ends 78 before anything is recorded."""
    cli.directory.mkdir()
    (cli.directory / "turnlog.toml").write_text("[sync\n")
    assert "no valid TOML" in cli.refused(78, "migrate", str(old), "--apply")
    assert [path.name for path in cli.directory.iterdir()] == ["turnlog.toml"]


def test_what_is_left_for_later_is_named(cli: Cli, old: Path) -> None:
    """CalSync's configuration, the mail account, a second file of turns."""
    (old / "config.json").write_text(json.dumps({"caldav": {"password": TOKEN}}))
    with (old / ".env").open("a") as file:
        file.write(f"OPENAI_EMAIL_USERNAME=amy\nOPENAI_EMAIL_PASSWORD={TOKEN}\n")
    shutil.copy(old / "data" / "save_data.jsonl", old / "save_data.jsonl")
    left = migrate(cli, old)["left_alone"]
    assert [
        sum(words in sentence for sentence in left)
        for words in ("config.json", "OPENAI_EMAIL_PASSWORD", f"{old / 'save_data.jsonl'} is not imported")
    ] == [1, 1, 1]
    assert "canary" not in str(left)


def test_a_folder_without_an_old_setup_is_wrong_usage(cli: Cli, tmp_path: Path) -> None:
    """The sentence says what was looked for."""
    assert "no old setup is in" in cli.refused(2, "migrate", str(tmp_path / "home"))
    assert "is not there" in cli.refused(2, "migrate", str(tmp_path / "nowhere"))
