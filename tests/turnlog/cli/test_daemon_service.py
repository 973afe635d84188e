"""`turnlog daemon install`, `uninstall` and `autostart-status`, with stand-ins for the managers, and with real ones."""

import os
import plistlib
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from turnlog.cli.commands.daemon_ import COMMANDS
from turnlog.daemon.service import installing
from turnlog.secrets import SecretRef, credential_name

from .managers import Managers, contents
from .support import Cli, batch_sink

ME = pwd.getpwuid(os.getuid()).pw_name


@pytest.fixture
def mac(managers: Managers, monkeypatch: pytest.MonkeyPatch) -> Managers:
    """launchd instead."""
    monkeypatch.setattr(installing, "PLATFORM", "darwin")
    (Path.home() / "Library" / "LaunchAgents").mkdir(parents=True)
    return managers


def _unit() -> Path:
    return Path.home() / ".config" / "systemd" / "user" / "turnlog.service"


def _plist() -> Path:
    return Path.home() / "Library" / "LaunchAgents" / "io.turnlog.daemon.plist"


@pytest.mark.parametrize("manager", ["systemd", "launchd"])
@pytest.mark.parametrize("options", [(), ("--system",)])
def test_install_install_uninstall_uninstall_leave_the_machine_as_it_was(
    cli: Cli, managers: Managers, monkeypatch: pytest.MonkeyPatch, manager: str, options: tuple[str, ...]
) -> None:
    """All end 0; the second of each changes nothing; no file, link or folder is left."""
    monkeypatch.setattr(installing, "PLATFORM", "darwin" if manager == "launchd" else "linux")
    if manager == "launchd":
        (Path.home() / "Library" / "LaunchAgents").mkdir(parents=True)
    before = contents(cli.directory.parent)
    assert cli("daemon", "install", *options).code == 0
    installed = contents(cli.directory.parent)
    assert cli("daemon", "install", *options).code == 0
    assert _without_calls(contents(cli.directory.parent)) == _without_calls(installed) != _without_calls(before)
    assert cli.ok("daemon", "autostart-status", "--json").object["current"] is True
    for said in ("uninstalled", "not installed, so there is nothing to do"):
        result = cli("daemon", "uninstall", *options)
        assert result.code == 0
        assert said in result.err
    assert _without_calls(contents(cli.directory.parent)) == _without_calls(before)


def _without_calls(found: dict[str, object]) -> dict[str, object]:
    return {path: value for path, value in found.items() if path != "managers/calls"}


def test_it_is_written_known_enabled_and_started(cli: Cli, managers: Managers) -> None:
    """In this order; what is as it should be is not started anew, what has changed is."""
    first = cli("daemon", "install")
    assert managers.acts() == ["daemon-reload", "enable turnlog.service", "restart turnlog.service"]
    assert _unit().read_text() in first.out, "it is shown"
    assert oct(_unit().stat().st_mode & 0o777) == "0o644"
    assert oct(cli.directory.stat().st_mode & 0o777) == "0o700"
    cli("daemon", "install")
    assert managers.acts() == ["daemon-reload", "enable turnlog.service", "start turnlog.service"]
    cli.configure(sync="grace_seconds = 60")
    cli("daemon", "install")
    assert managers.acts()[-1] == "restart turnlog.service"
    assert "TimeoutStopSec=75\n" in _unit().read_text()
    cli("daemon", "uninstall")
    assert managers.acts() == ["disable --now turnlog.service", "daemon-reload", "reset-failed turnlog.service"]


def test_the_program_is_this_python_on_this_log(cli: Cli, managers: Managers) -> None:
    """With absolute paths, and the virtual environment's own name for Python."""
    cli.configure()
    cli("daemon", "install")
    (start,) = (line for line in _unit().read_text().splitlines() if line.startswith("ExecStart="))
    config = cli.directory / "turnlog.toml"
    words = [sys.executable, "-m", "turnlog", "--dir", str(cli.directory), "--config", str(config), "daemon", "run"]
    assert start == "ExecStart=:" + " ".join(f'"{word}"' for word in words)


def test_a_relative_folder_becomes_absolute(cli: Cli, managers: Managers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service does not start where the shell was."""
    monkeypatch.chdir(cli.directory.parent)
    cli.options = ("--dir", "data")
    cli("daemon", "install")
    assert f'"--dir" "{cli.directory}"' in _unit().read_text()


def test_a_dry_run_shows_and_does_nothing(cli: Cli, managers: Managers) -> None:
    """Neither a file nor a folder, nor a command that changes anything; then it is just so."""
    before = contents(Path.home())
    shown = cli("daemon", "install", "--dry-run")
    assert shown.code == 0
    assert managers.calls() == []
    assert contents(Path.home()) == before
    assert not cli.directory.exists()
    steps = [line.removeprefix("would do: ") for line in shown.err.splitlines()]
    assert steps[0] == f"mkdir -p {cli.directory}"
    assert steps[1] == f"write {_unit()}"
    assert [step.removeprefix("systemctl --user ") for step in steps[2:]] == [
        "daemon-reload",
        "enable turnlog.service",
        "restart turnlog.service",
    ]
    done = cli("daemon", "install")
    assert done.out == shown.out


def test_json_tells_the_same(cli: Cli, managers: Managers) -> None:
    """One object, and nothing on stderr."""
    told = cli.ok("daemon", "install", "--json").object
    assert (told["manager"], told["scope"], told["file"], told["done"]) == ("systemd", "user", str(_unit()), True)
    assert told["content"] == _unit().read_text()
    assert told["steps"][-1] == "systemctl --user restart turnlog.service"
    assert "enable-linger" in told["advice"][0]
    removed = cli.ok("daemon", "uninstall", "--json").object
    assert removed["steps"][0] == "systemctl --user disable --now turnlog.service"
    assert cli.ok("daemon", "uninstall", "--json").object["steps"] == []


@pytest.mark.parametrize("manager", ["offline", "unknown", "absent"])
def test_without_a_manager_it_says_so_and_shows_what_there_would_be(
    cli: Cli, managers: Managers, monkeypatch: pytest.MonkeyPatch, manager: str
) -> None:
    """As in a container: one sentence, nothing is written, and --dry-run shows the unit."""
    managers.says("manager", manager)
    if manager == "absent":
        monkeypatch.setenv("PATH", str(managers.state / "nothing"))
    sentence = cli.refused(1, "daemon", "install")
    assert sentence.startswith("no systemd manages the services of this user here (")
    assert "`turnlog daemon run`" in sentence
    assert not _unit().exists()
    shown = cli("daemon", "install", "--dry-run")
    assert shown.code == 0
    assert "[Service]\nType=notify\n" in shown.out
    assert len(shown.sentences) == 1
    assert cli("daemon", "uninstall").code == 0
    assert cli.ok("daemon", "autostart-status").out.startswith("not installed")


def test_what_is_left_is_removed_without_a_manager_too(cli: Cli, managers: Managers) -> None:
    """The files, and the link that enabling made."""
    before = contents(Path.home())
    cli("daemon", "install")
    managers.says("manager", "offline")
    managers.calls()
    assert cli("daemon", "autostart-status").code == 1
    assert cli("daemon", "uninstall").code == 0
    assert managers.calls() == []
    assert contents(Path.home()) == before


@pytest.mark.parametrize("verb", ["daemon-reload", "enable", "restart"])
def test_a_step_that_fails_is_told_and_can_be_tried_again(cli: Cli, managers: Managers, verb: str) -> None:
    """The manager's words in one sentence; when it is mended the same command ends well, and so does uninstalling."""
    before = contents(Path.home())
    managers.says(f"fail-{verb}", "Failed: the bus\nis not there")
    sentence = cli.refused(1, "daemon", "install")
    assert sentence.startswith(f"`systemctl --user {verb}")
    assert sentence.endswith("ended with 1: Failed: the bus is not there")
    managers.mend(verb)
    assert cli("daemon", "install").code == 0
    assert cli("daemon", "uninstall").code == 0
    assert contents(Path.home()) == before


def test_a_service_that_cannot_be_stopped_stays_installed(cli: Cli, managers: Managers) -> None:
    """Its file is what it can be stopped by."""
    cli("daemon", "install")
    managers.says("fail-disable", "no")
    assert "disable --now" in cli.refused(1, "daemon", "uninstall")
    assert _unit().exists()


def test_linger_is_advised_where_it_is_off(cli: Cli, managers: Managers) -> None:
    """A user's service ends with their session otherwise."""
    cli("daemon", "install")
    assert cli("daemon", "install").err.endswith("`loginctl enable-linger` has it run from boot on\n")
    managers.says("linger", "yes")
    assert "enable-linger" not in cli("daemon", "install").err
    assert cli.ok("daemon", "autostart-status", "--json").object["lingers"] is True


def test_a_broken_configuration_is_not_installed(cli: Cli, managers: Managers) -> None:
    """It ends 78 with the sentence of `config check`."""
    cli.configure(sync="intervall_seconds = 3")
    assert cli.refused(78, "daemon", "install") == cli.refused(78, "config", "check")
    assert managers.calls() == []
    assert not _unit().exists()


def test_what_only_the_shell_knows_is_told(cli: Cli, managers: Managers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service has no variables of a shell: neither secrets nor the old scripts' sink."""
    cli.configure(batch_sink("http://127.0.0.1:9", more='token = { env = "TEAM_TOKEN" }'))
    monkeypatch.setenv("TEAM_TOKEN", "canary-4711")
    result = cli("daemon", "install")
    assert "the sink 'team' needs the environment variable TEAM_TOKEN, which a service has not" in result.err
    assert "canary-4711" not in result.out + result.err
    (cli.directory / "turnlog.toml").unlink()
    monkeypatch.setenv("MEMOBASE_URL", "http://127.0.0.1:9")
    assert "the sink is described by this shell's environment" in cli("daemon", "install").err


def test_a_file_that_a_sink_writes_may_be_written(cli: Cli, managers: Managers) -> None:
    """The rest of the machine may not; stdout is no file."""
    written = cli.directory.parent / "out put" / "turns.jsonl"
    sinks = (
        f'[[sinks]]\nname = "{name}"\ntype = "jsonl"\npath = "{path}"\n' for name, path in (("a", written), ("b", "-"))
    )
    cli.configure(*sinks)
    cli("daemon", "install")
    paths = [line for line in _unit().read_text().splitlines() if line.startswith("ReadWritePaths=")]
    assert paths[:2] == [f'ReadWritePaths="-{cli.directory}"', f'ReadWritePaths="-{written.parent}"']
    assert written.parent.is_dir(), "a folder that is made later could not be written"


def test_the_status_says_what_is_not_as_it_should_be(cli: Cli, managers: Managers) -> None:
    """It ends 1 then, and names the command that mends it."""
    assert cli.ok("daemon", "autostart-status", "--json").object["state"] == "not installed"
    cli("daemon", "install")
    fine = cli.ok("daemon", "autostart-status")
    assert fine.out == f"installed (systemd, user), enabled, while you are logged in, active: {_unit()}\n"
    (managers.state / "active").unlink()
    _unit().write_text(_unit().read_text() + "# changed\n")
    shutil.rmtree(_unit().parent / "default.target.wants")
    status = cli("daemon", "autostart-status")
    assert status.code == 1
    changed, disabled, stopped = status.sentences
    assert "not what an installation would write now; `turnlog daemon install`" in changed
    assert "does not start by itself" in disabled
    assert "does not run (failed)" in stopped
    assert cli("daemon", "install").code == cli("daemon", "autostart-status").code == 0


def test_the_status_works_with_a_broken_configuration(cli: Cli, managers: Managers) -> None:
    """It says so and goes on."""
    cli("daemon", "install")
    cli.configure(sync="nonsense = 1")
    result = cli("daemon", "autostart-status", "--json")
    assert result.object["installed"] is True
    assert "going on without the configuration" in result.err


def test_the_systems_service_runs_as_the_owner_of_the_log(
    cli: Cli, managers: Managers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else as whoever called sudo; it waits for no login."""
    cli.configure()
    monkeypatch.setenv("SUDO_USER", "nobody")
    result = cli("daemon", "install", "--system")
    assert result.code == 0
    assert "enable-linger" not in result.err
    unit = (managers.state / "etc" / "turnlog.service").read_text()
    assert f"\nUser={ME}\n" in unit
    assert "WantedBy=multi-user.target\n" in unit
    assert {call.split()[1] for call in managers.calls()} == {"--no-ask-password"}
    assert cli.ok("daemon", "autostart-status", "--json").object["scope"] == "system"
    cli.options = ("--dir", str(cli.directory / "new"))
    assert "\nUser=nobody\n" in cli("daemon", "install", "--system", "--dry-run").out


def test_a_secret_of_somebody_else_is_lent_to_the_systems_service(
    cli: Cli, managers: Managers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where systemd puts the copy, the secret is read from it; a secret that the account has itself needs none."""
    secret = tmp_path / "team token"
    secret.write_text("mine")
    cli.configure(batch_sink("http://127.0.0.1:9", token=secret))
    assert "LoadCredential" not in cli("daemon", "install", "--system", "--dry-run").out
    monkeypatch.setattr("turnlog.daemon.service.program._owner", lambda *_: "nobody")
    lent = f"LoadCredential={credential_name(secret)}:{secret}\n"
    assert lent in cli("daemon", "install", "--system", "--dry-run").out
    assert "LoadCredential" not in cli("daemon", "install", "--dry-run").out
    (tmp_path / "lent").mkdir()
    reference = SecretRef(file=secret.name)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "lent"))
    assert reference.resolve(tmp_path) == "mine"
    (tmp_path / "lent" / credential_name(secret)).write_text("lent")
    assert reference.resolve(tmp_path) == "lent"


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_without_the_rights_it_says_what_to_try(cli: Cli, managers: Managers) -> None:
    """Before anything is done."""
    (managers.state / "etc").chmod(0o500)
    assert "try it with sudo" in cli.refused(2, "daemon", "install", "--system")
    assert managers.calls() == []


def test_the_launchd_job_is_a_valid_property_list(cli: Cli, mac: Managers) -> None:
    """What it says is what was meant, with paths of any kind."""
    cli.options = ("--dir", str(cli.directory / 'é <&> "100%"'))
    directory = Path(cli.options[1])
    cli("daemon", "install")
    job = plistlib.loads(_plist().read_bytes())
    assert job == {
        "Label": "io.turnlog.daemon",
        "ProgramArguments": [sys.executable, "-m", "turnlog", "--dir", str(directory), "daemon", "run"],
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": 10,
        "ProcessType": "Background",
        "ExitTimeOut": 25,
        "Umask": 0o077,
        "StandardOutPath": "/dev/null",
        "StandardErrorPath": str(directory / "launchd.err"),
    }
    assert all(Path(path).is_absolute() for path in (job["ProgramArguments"][0], job["StandardErrorPath"]))
    assert oct(_plist().stat().st_mode & 0o777) == "0o644"


def test_launchd_is_told_in_its_own_words(cli: Cli, mac: Managers) -> None:
    """Bootstrap and kickstart; a job that has changed is taken out, and waited for, before it is put in again."""
    domain = f"gui/{os.getuid()}"
    service = f"{domain}/io.turnlog.daemon"
    cli("daemon", "install")
    enable, kickstart = f"launchctl enable {service}", f"launchctl kickstart {service}"
    bootstrap = f"launchctl bootstrap {domain} {_plist()}"
    assert mac.calls() == [enable, bootstrap, kickstart]
    cli("daemon", "install")
    assert mac.calls() == [enable, kickstart]
    cli.configure(sync="grace_seconds = 60")
    assert cli("daemon", "install").code == 0
    assert mac.calls() == [f"launchctl bootout {service}", enable, bootstrap, kickstart]
    assert plistlib.loads(_plist().read_bytes())["ExitTimeOut"] == 75
    (cli.directory / "launchd.err").write_text("said before the log was open")
    cli("daemon", "uninstall")
    assert mac.calls() == [f"launchctl bootout {service}"]
    assert not (cli.directory / "launchd.err").exists()


def test_the_systems_launchd_job_has_an_account(cli: Cli, mac: Managers) -> None:
    """And goes into the system's domain."""
    cli.configure()
    cli("daemon", "install", "--system")
    path = mac.state / "etc" / "io.turnlog.daemon.plist"
    assert plistlib.loads(path.read_bytes())["UserName"] == ME
    assert f"launchctl bootstrap system {path}" in mac.calls()


def test_launchd_without_a_login_says_so(cli: Cli, mac: Managers) -> None:
    """A user's domain is there while they are logged in; a failing step is told."""
    mac.says("manager", "gone")
    assert cli.refused(1, "daemon", "install").startswith(
        f"launchd has no gui/{os.getuid()} here (Could not find domain)"
    )
    mac.says("manager", "running")
    mac.says("fail-bootstrap", "Bootstrap failed: 5: Input/output error")
    assert "Bootstrap failed: 5" in cli.refused(1, "daemon", "install")


def test_a_launchd_job_that_was_switched_off_is_not_enabled(cli: Cli, mac: Managers) -> None:
    """Whoever did that in the system's settings is told."""
    cli("daemon", "install")
    assert cli.ok("daemon", "autostart-status", "--json").object["enabled"] is True
    mac.says("disabled", '\t"io.turnlog.daemon" => disabled')
    result = cli("daemon", "autostart-status", "--json")
    assert (result.code, result.object["enabled"], result.object["running"]) == (1, False, True)


@pytest.mark.parametrize("name", ["a\x01b", "\udcff"])
def test_a_path_that_no_property_list_can_hold_is_refused(cli: Cli, mac: Managers, name: str) -> None:
    """With a sentence."""
    cli.options = ("--dir", str(cli.directory / name))
    assert "no property list can hold" in cli.refused(2, "daemon", "install")


def _a_real_user_manager() -> bool:
    if shutil.which("systemctl") is None:
        return False
    asked = subprocess.run(["systemctl", "--user", "is-system-running"], capture_output=True, text=True, check=False)
    return asked.stdout.strip() in ("running", "degraded")


@pytest.mark.skipif(not _a_real_user_manager(), reason="no systemd manages this user's services here")
@pytest.mark.skipif("run" not in COMMANDS, reason="this build has no daemon to run")
@pytest.mark.skipif(
    (Path.home() / ".config/systemd/user/turnlog.service").exists(), reason="this user's own daemon is installed"
)
def test_a_real_systemd_runs_it(tmp_path: Path) -> None:
    """It is active, sandboxed, and gone again without a trace."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("TURNLOG_", "MEMOBASE_"))}
    environ["HOME"] = pwd.getpwuid(os.getuid()).pw_dir

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "turnlog", "--dir", str(tmp_path / "log é%"), "daemon", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=environ, timeout=100, check=False)

    try:
        installed = run("install")
        assert installed.returncode == 0, installed.stderr
        status = run("autostart-status", "--json")
        assert '"state":"active"' in status.stdout, status.stderr
    finally:
        assert run("uninstall").returncode == 0
    assert '"installed":false' in run("autostart-status", "--json").stdout
