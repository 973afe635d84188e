"""Where the log and the configuration are, and what a broken configuration stops: only what needs it."""

from pathlib import Path

import pytest

from .support import Answering, Cli, batch_sink, memory_sink, old_file

BROKEN = {
    "[sync]\nmax_attempt = 3\n": "[sync]: unknown key 'max_attempt'; did you mean 'max_attempts'?",
    "[synch]\n": "unknown key 'synch'; did you mean 'sync'?",
    "[sync]\nmax_attempts = 0\n": "[sync]: max_attempts must be at least 1",
    "[sync]\nmax_attempts = 'three'\n": "[sync]: Expected `int`, got `str` at `max_attempts`",
    "[sync]\nbase_seconds = nan\n": "[sync]: base_seconds and max_seconds must be from 0 to",
    "[sync]\nmax_seconds = inf\n": "[sync]: base_seconds and max_seconds must be from 0 to",
    "[log]\ndurability = 'never'\n": "[log]: Invalid enum value 'never' at `durability`",
    "sinks = 5\n": "Expected `array`, got `int` at `sinks`",
    "[[sinks]]\nname = 'a'\n": "sink 1: missing key `type`",
    "[[sinks]]\nname = '../a'\ntype = 'memory'\n": "sink 1: the name '../a' must be letters, digits",
    "[[sinks]]\nname = 'a'\ntype = 'memory'\n" * 2: "two sinks have the name 'a'; give each its own",
    "[log\n": "is no valid TOML: ",
    "\x00": "is no valid TOML: ",
    "\xff": "is not UTF-8: ",
}
NOT_STOPPED = ("pending", "replay", "verify", "stats", "tail", "sinks", "sources", "show 2", "record hi", "retry 2")


def with_config(cli: Cli, text: str) -> None:
    cli.directory.mkdir(exist_ok=True)
    (cli.directory / "turnlog.toml").write_bytes(text.encode("latin-1"))


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_configuration_is_told_in_one_sentence(cli: Cli, text: str) -> None:
    """`sync` and `config check` end 78, name the file, what is wrong, and the nearest right word."""
    with_config(cli, text)
    sentence = cli.refused(78, "sync", "--once")
    assert str(cli.directory / "turnlog.toml") in sentence
    assert BROKEN[text] in sentence
    assert cli.refused(78, "sync", "--dry-run") == sentence
    assert cli.refused(78, "config", "check") == sentence
    assert not (cli.directory / "log").exists()


@pytest.mark.parametrize("command", NOT_STOPPED)
@pytest.mark.parametrize("text", ["[log\n", "[synch]\n", None])
def test_a_broken_configuration_does_not_stop_what_can_do_without(cli: Cli, text: str | None, command: str) -> None:
    """Recording and looking go on; at most one sentence warns. Also where a file is named that is not there."""
    cli.record("a turn")
    if text is None:
        cli.options = (*cli.options, "--config", str(cli.directory / "none.toml"))
    else:
        with_config(cli, text)
    result = cli(*command.split())
    assert result.code == 0
    warnings = [s for s in result.err.splitlines() if "going on without the configuration" in s]
    assert len(warnings) == (0 if command.split()[0] in ("replay", "verify", "stats", "tail", "sources") else 1)
    assert cli("sync", "--once").code == 78


def test_an_import_goes_on_too(cli: Cli, tmp_path: Path) -> None:
    """What was recorded meanwhile is owed once the configuration is mended."""
    with_config(cli, "[log\n")
    path = old_file(tmp_path / "old.jsonl", range(3))
    result = cli("import", "save-data", str(path), "--json")
    assert (result.code, result.object["recorded"], len(result.sentences)) == (0, 3, 1)
    cli.configure(memory_sink())
    assert cli.ok("sync", "--once", "--json").object["delivered"] == 3


def test_a_sinks_own_options_are_checked(cli: Cli) -> None:
    """By `config check`, for every sink, each with a sentence; a missing secret is among them."""
    cli.configure(
        batch_sink("ftp://x", name="a"),
        batch_sink("http://x", name="b", token=Path("none")),
        '[[sinks]]\nname = "c"\ntype = "batch"\nurl = "http://x"\ntoken = { env = "TEAM_TOKEN" }\n',
        '[[sinks]]\nname = "d"\ntype = "batch"\nurl = "http://x"\ntoken = "secret-in-the-file"\n',
        '[[sinks]]\nname = "e"\ntype = "batch"\nurl = "http://x"\ntoken = { env = "A", file = "B" }\n',
        '[[sinks]]\nname = "f"\ntype = "batch"\n',
        '[[sinks]]\nname = "g"\ntype = "carrier-pigeon"\n',
        '[[sinks]]\nname = "h"\ntype = "batch"\nurl = "http://x"\ntokn = { file = "x" }\n',
        memory_sink("good"),
    )
    result = cli("config", "check")
    assert (result.code, result.out, len(result.sentences)) == (78, "", 8)
    assert "secret-in-the-file" not in result.err
    for words, sentence in zip(
        (
            "sink 'a': url must begin with http:// or https://",
            f"sink 'b': the secret in the file {cli.directory}/none cannot be read: No such file or directory",
            "sink 'c': the secret in the environment variable TEAM_TOKEN is missing or empty; set it and try again",
            "sink 'd': Expected `object | null`, got `str` at `token`",
            "sink 'e': a secret is { env = NAME } or { file = PATH }, one of them",
            "sink 'f': missing key `url`",
            "sink 'g': unknown type 'carrier-pigeon'; known: batch, jsonl, memobase, memory, webhook",
            "sink 'h': unknown key 'tokn'; did you mean 'token'?",
        ),
        result.sentences,
        strict=True,
    ):
        assert words in sentence


def test_the_configuration_is_good(cli: Cli) -> None:
    """It is said, with the file and the sinks; without a file there is nothing to be wrong."""
    assert cli.ok("config", "check").out.startswith("ok: there is no configuration file")
    cli.configure(memory_sink(), batch_sink("http://x"))
    assert cli.ok("config", "check").out == f"ok: {cli.directory}/turnlog.toml, sinks: mem (memory), team (batch)\n"


# --- places -----------------------------------------------------------------------------------------------------------


def seen_by(cli: Cli, *options: str) -> str:
    """The user of the one turn in the log that a command finds."""
    cli.options = options
    (source,) = cli.ok("stats", "--json").object["by_source"]
    return str(source)


def test_the_folder_is_the_command_lines_the_environments_the_configurations_or_the_platforms(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this order; `log.dir` is relative to its file, and `~` is the home folder everywhere."""
    config = tmp_path / "etc" / "my.toml"
    config.parent.mkdir()
    config.write_text('[log]\ndir = "../by-config"\n')
    home = Path.home()
    for name, folder in {
        "option": tmp_path / "by-option", "environment": home / "by-environment", "config": tmp_path / "by-config",
        "platform": home / ".local/state/turnlog",
    }.items():  # fmt: skip
        Cli(folder).record("hi", source=name)
    assert seen_by(cli) == "platform"
    assert seen_by(cli, "--config", str(config)) == "config"
    monkeypatch.setenv("TURNLOG_CONFIG", str(config))
    assert seen_by(cli) == "config"
    monkeypatch.setenv("TURNLOG_DIR", "~/by-environment")
    assert seen_by(cli) == "environment"
    assert seen_by(cli, "--dir", str(tmp_path / "by-option")) == "option"
    monkeypatch.delenv("TURNLOG_DIR")
    config.write_text('[log]\ndir = "~/by-environment"\n')
    assert seen_by(cli) == "environment"


def test_the_file_is_the_command_lines_the_environments_the_folders_or_the_platforms(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In this order; the one that is used is told by `config check`."""
    files = {
        "option": tmp_path / "option.toml", "environment": tmp_path / "environment.toml",
        "folder": cli.directory / "turnlog.toml", "platform": Path.home() / ".config/turnlog/turnlog.toml",
    }  # fmt: skip
    for name, path in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'[[sinks]]\nname = "{name}"\ntype = "memory"\n')

    def used(*options: str) -> str:
        cli.options = ("--dir", str(cli.directory), *options)
        return str(cli.ok("sinks", "--json").object["sink"])

    monkeypatch.setenv("TURNLOG_CONFIG", str(files["environment"]))
    assert used("--config", str(files["option"])) == "option"
    assert used() == "environment"
    monkeypatch.delenv("TURNLOG_CONFIG")
    assert used() == "folder"
    files["folder"].unlink()
    assert used() == "platform"


def test_a_mistake_in_the_configuration_does_not_move_the_log(cli: Cli, tmp_path: Path) -> None:
    """`log.dir` counts as long as the file is TOML; if it is not, nobody knows where the log is: that is told."""
    config = tmp_path / "my.toml"
    config.write_text('[log]\ndir = "here"\n[synch]\n')
    cli.options = ("--config", str(config))
    assert cli("record", "hi").code == 0
    assert (tmp_path / "here" / "log").is_dir()
    config.write_text('[log\ndir = "here"\n')
    assert "is no valid TOML" in cli.refused(78, "record", "hi")
    assert "cannot be read: No such file" in Cli(tmp_path).refused(78, "--config", "none", "sync", "--once")


def test_a_tokens_file_is_relative_to_the_configuration(cli: Cli, tmp_path: Path, server: Answering) -> None:
    """Wherever the command is run, and in an environment variable it is nowhere else."""
    config = tmp_path / "etc" / "my.toml"
    config.parent.mkdir()
    config.write_text(batch_sink(server.url, token=Path("../secret")))
    (tmp_path / "secret").write_text("s3cret")
    cli.options = (*cli.options, "--config", str(config))
    cli.record("hi")
    assert cli.ok("sync", "--once", "--json").object["delivered"] == 1


def test_recording_takes_the_promise_from_the_configuration(cli: Cli) -> None:
    """With `os` no sync is made; the log is the same."""
    cli.configure(log='durability = "os"')
    cli.record("hi")
    assert cli.ok("verify", "--json").object["events"] == 2


def test_the_user_is_the_environments(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a turn does not say; an empty USER_ID says nothing."""
    for value, user in (("me", "me"), ("", "default")):
        monkeypatch.setenv("USER_ID", value)
        seq = cli.record("hi")
        assert cli.ok("show", str(seq), "--json").object["turn"]["user"] == user
    assert cli.ok("show", str(cli.record("hi", user="ann")), "--json").object["turn"]["user"] == "ann"


def test_a_sink_without_backfill_is_owed_only_what_comes(cli: Cli) -> None:
    """A sink that is configured later is owed everything, unless it says otherwise."""
    cli.record("old")
    cli.configure(memory_sink("all"), memory_sink("new") + "backfill = false\n")
    assert cli("record", "new").code == 0
    assert (cli.states("all"), cli.states("new")) == ({"pending": 2}, {"pending": 1})
