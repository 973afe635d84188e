"""`turnlog doctor`: everything at once, and what it ends with."""

from pathlib import Path

import pytest

from turnlog.doctor import all_checks

from .support import NOBODY, TOKEN, Cli, Receiver, batch_sink, memory_sink


def states(cli: Cli, code: int) -> dict[str, list[str]]:
    """The states of each check."""
    result = cli("doctor", "--json")
    assert result.code == code, result
    found: dict[str, list[str]] = {}
    for line in result.objects:
        assert list(line) == ["name", "state", "sentence", "remedy"]
        assert line["state"] in ("ok", "warn", "fail", "skip")
        assert line["sentence"]
        assert line["remedy"] or line["state"] in ("ok", "skip"), line
        found.setdefault(line["name"], []).append(line["state"])
    return found


def test_all_is_well(cli: Cli, receiver: Receiver) -> None:
    """A sink that is there, a log that is whole: 0, and every check has something to say."""
    receiver.token.chmod(0o600)
    cli.configure(receiver.sink())
    (cli.directory / "turnlog.toml").chmod(0o600)
    cli.directory.chmod(0o700)
    cli.record("hi", "hello")
    cli.ok("sync", "--once")
    found = states(cli, 0)
    assert found["sink team"] == found["secrets"] == found["log"] == found["permissions"] == ["ok"]
    assert set(found) >= {"python", "packages", "import eventlog", "disk", "sync speed", "locks", "clock", "service"}
    result = cli("doctor")
    assert (result.code, result.sentence) == (0, "all is well")
    assert "sync speed" in result.out


def test_a_folder_that_is_not_there_is_not_made(cli: Cli) -> None:
    """Nothing is wrong with a machine on which nothing was recorded yet."""
    states(cli, 0)
    assert not cli.directory.exists()


def test_looking_changes_nothing(cli: Cli) -> None:
    """Not a byte, and no file more."""
    cli.record("hi")
    before = {path: path.read_bytes() for path in cli.directory.rglob("*") if path.is_file()}
    cli("doctor")
    assert {path: path.read_bytes() for path in cli.directory.rglob("*") if path.is_file()} == before


def test_what_needs_attention_ends_1(cli: Cli) -> None:
    """A sink that is away, a folder that others can read, a source that is not there: each with its remedy."""
    cli.configure(batch_sink(NOBODY), memory_sink(), '[[sources]]\ntype = "claude_code"\npath = "nowhere"\n')
    cli.directory.chmod(0o755)
    found = states(cli, 1)
    assert (found["sink team"], found["sink mem"], found["permissions"]) == (["fail"], ["ok"], ["warn"])
    assert found["source claude_code"] == ["warn"]
    assert "need attention" in cli("doctor").sentence


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("[sync\n", "configuration"),
        ('[[sinks]]\nname = "x"\ntype = "bath"\n', "configuration"),
        ('[[sources]]\ntype = "claude_cod"\n', "configuration"),
        (batch_sink(NOBODY, token=Path("nowhere")), "secrets"),
    ],
)
def test_a_broken_configuration_ends_78_and_the_rest_is_looked_at(cli: Cli, text: str, name: str) -> None:
    """With the sentence that `turnlog config check` has."""
    cli.configure()
    (cli.directory / "turnlog.toml").write_text(text)
    found = states(cli, 78)
    assert "fail" in found[name]
    assert {"log", "disk", "locks"} <= set(found)
    sentences = [line["sentence"] for line in cli("doctor", "--json").objects]
    assert [told for told in cli("config", "check").sentences if told not in sentences] == []


def test_where_only_a_broken_file_could_tell_the_folder_the_rest_is_looked_at(cli: Cli, tmp_path: Path) -> None:
    """The folder's checks are left out: another one would be looked at."""
    (tmp_path / "broken.toml").write_text("[log\n")
    cli.options = ("--config", str(tmp_path / "broken.toml"))
    found = states(cli, 78)
    assert found["configuration"] == ["fail"]
    assert "log" not in found


def test_secrets_are_looked_for_and_never_told(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither those in files nor in variables; a file that others may read is a warning with its remedy."""
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "token").chmod(0o644)
    monkeypatch.setenv("TEAM_TOKEN", TOKEN)
    other = f'[[sinks]]\nname = "b"\ntype = "batch"\nurl = "{NOBODY}"\ntoken = {{ env = "TEAM_TOKEN" }}\n'
    cli.configure(batch_sink(NOBODY, token=tmp_path / "token"), other)
    result = cli("doctor", "--json")
    secrets = [line for line in result.objects if line["name"] == "secrets"]
    assert [line["state"] for line in secrets] == ["warn", "ok"]
    assert secrets[0]["remedy"] == f"chmod 600 {tmp_path / 'token'}"
    assert TOKEN not in result.out + result.err


def test_a_check_that_breaks_is_told_and_the_rest_goes_on(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends 1; what the error says is not told."""

    def fail(*_: object) -> None:
        raise RuntimeError(TOKEN)

    monkeypatch.setattr(all_checks, "check_disk", fail)
    found = states(cli, 1)
    assert found["disk"] == ["fail"]
    assert "sinks" in found
