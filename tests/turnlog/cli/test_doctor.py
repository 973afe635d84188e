"""`turnlog doctor`: everything at once, and what it ends with."""

import signal
from pathlib import Path
from typing import Any

import pytest

from turnlog.daemon import client
from turnlog.doctor import all_checks

from .daemons import Service
from .managers import Managers
from .support import NOBODY, TOKEN, Cli, Receiver, batch_sink, memory_sink

NO_LINGERING = "it runs while you are logged in; `loginctl enable-linger` has it run from boot on"


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


def found(cli: Cli, name: str) -> list[dict[str, Any]]:
    """What one check finds."""
    return [line for line in cli("doctor", "--json").objects if line["name"] == name]


def test_all_is_well(cli: Cli, receiver: Receiver) -> None:
    """A sink that is there, a log that is whole: 0, and every check has something to say."""
    receiver.token.chmod(0o600)
    cli.configure(receiver.sink())
    (cli.directory / "turnlog.toml").chmod(0o600)
    cli.directory.chmod(0o700)
    cli.record("hi", "hello")
    cli.ok("sync", "--once")
    all_states = states(cli, 0)
    for name in ("sink team", "secrets", "log", "permissions"):
        assert all_states[name] == ["ok"]
    assert set(all_states) >= {
        "python",
        "packages",
        "import eventlog",
        "disk",
        "sync speed",
        "locks",
        "clock",
        "service",
    }
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
    seen = states(cli, 1)
    assert (seen["sink team"], seen["sink mem"], seen["permissions"]) == (["fail"], ["ok"], ["warn"])
    assert seen["source claude_code"] == ["warn"]
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
    seen = states(cli, 78)
    assert "fail" in seen[name]
    assert {"log", "disk", "locks"} <= set(seen)
    sentences = [line["sentence"] for line in cli("doctor", "--json").objects]
    assert [told for told in cli("config", "check").sentences if told not in sentences] == []


def test_where_only_a_broken_file_could_tell_the_folder_the_rest_is_looked_at(cli: Cli, tmp_path: Path) -> None:
    """The folder's checks are left out: another one would be looked at."""
    (tmp_path / "broken.toml").write_text("[log\n")
    cli.options = ("--config", str(tmp_path / "broken.toml"))
    seen = states(cli, 78)
    assert seen["configuration"] == ["fail"]
    assert "log" not in seen


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
    seen = states(cli, 1)
    assert seen["disk"] == ["fail"]
    assert "sinks" in seen


def test_a_service_is_judged_as_its_manager_tells(cli: Cli, managers: Managers) -> None:
    """One that is as it should be is well; what is not is told once each, with its remedy, also for the system's."""
    cli.record("hi")
    assert states(cli, 0)["service"] == ["skip"]
    assert cli("daemon", "install").code == 0
    (told,) = found(cli, "service")
    assert (told["state"], told["remedy"]) == ("ok", NO_LINGERING)
    (managers.state / "active").unlink()
    (told,) = found(cli, "service")
    assert (told["state"], "does not run (failed)" in told["sentence"]) == ("warn", True)
    assert "turnlog daemon logs --errors" in told["remedy"]
    assert cli("daemon", "install", "--system").code == 0
    assert len(found(cli, "service")) == 2
    unit = managers.state / "etc" / "turnlog.service"
    unit.write_text("[Unit]\n")
    assert "turnlog daemon install --system" in found(cli, "service")[-1]["remedy"]
    unit.unlink()
    told = found(cli, "service")[-1]
    assert (told["state"], "is left" in told["sentence"]) == ("warn", True)


def test_a_daemon_is_asked_how_it_is(cli: Cli, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """None is needed; one that runs says itself what needs attention, and one that hangs is told as such."""
    cli.configure(memory_sink())
    assert found(cli, "daemon")[0]["state"] == "skip"
    (cli.directory / "daemon.lock").touch()
    assert found(cli, "daemon")[0]["state"] == "skip"
    pid = service.start()
    (told,) = found(cli, "daemon")
    assert (told["state"], f"process {pid}" in told["sentence"]) == ("ok", True)
    cli.ok("daemon", "drain")
    _, told = found(cli, "daemon")
    assert (told["state"], told["remedy"]) == ("warn", "turnlog daemon reload")
    monkeypatch.setattr(client, "STATUS_SECONDS", 0.2)
    service.signal(signal.SIGSTOP)
    try:
        (told,) = found(cli, "daemon")
    finally:
        service.signal(signal.SIGCONT)
    assert (told["state"], "does not answer" in told["sentence"]) == ("fail", True)
