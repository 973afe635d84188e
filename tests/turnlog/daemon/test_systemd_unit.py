"""The unit file: what systemd makes of it, by its own tools where they are installed."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from turnlog.daemon.service.program import Program
from turnlog.daemon.service.systemd_unit import TEMPORARY, escape, render_unit
from turnlog.errors import WrongUsage
from turnlog.secrets import credential_name

EXPOSURE_MAX = 25
"""Tenths, as --threshold wants it."""

PROGRAM = Program(
    python="/usr/bin/python3",
    directory=Path("/home/amy/.local/state/turnlog"),
    config_path=Path("/home/amy/.config/turnlog/turnlog.toml"),
    account="amy",
)

analyzes = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed (Debian package systemd)"
)

ODD = (
    "a b",
    "100%",
    "%h",
    "é 问",
    'quo"te',
    "back\\slash",
    "dollar$HOME",
    "${HOME}",
    "semi;colon",
    "tick'",
    "-x",
    "#x",
)


def _settings(unit: str) -> list[tuple[str, str]]:
    lines = [line for line in unit.splitlines() if line and line[0] not in "#["]
    return [(key, value) for key, _, value in (line.partition("=") for line in lines)]


def _values(unit: str, key: str) -> list[str]:
    return [value for name, value in _settings(unit) if name == key]


def _words(value: str) -> list[str]:
    """The words of a setting as systemd.syntax(7) and systemd.unit(5) read them: all are quoted, `%%` is a percent."""
    words, at = [], 0
    while at < len(value):
        assert value[at] == '"'
        word, at = "", at + 1
        while value[at] != '"':
            if value[at] == "\\":
                assert value[at + 1] in '\\"'
                at += 1
            elif value[at] == "%":
                assert value[at + 1] == "%"
                at += 1
            word, at = word + value[at], at + 1
        words.append(word)
        assert value[at + 1 : at + 2] in ("", " ")
        at += 2
    return words


# What a unit file can hold: no control characters, no surrogates, no noncharacters.
characters = st.characters(exclude_categories=("Cc", "Cs")).filter(
    lambda c: not (0xFDD0 <= ord(c) <= 0xFDEF or ord(c) & 0xFFFE == 0xFFFE)
)
names = st.text(characters.filter(lambda c: c != "/"), min_size=1, max_size=12) | st.sampled_from(ODD)
paths = st.lists(names, min_size=1, max_size=3).map(lambda parts: Path("/" + "/".join(parts)))


@given(directory=paths, config=paths, written=paths)
def test_any_path_comes_out_as_it_went_in(directory: Path, config: Path, written: Path) -> None:
    """Blanks, percent signs, quotes, dollars, backslashes and characters of any script, in words of their own."""
    program = replace(PROGRAM, directory=directory, config_path=config, writable=(written,))
    unit = render_unit(program, system=False)
    (start,) = _values(unit, "ExecStart")
    assert start[0] == ":", "no variables are put in"
    assert tuple(_words(start[1:])) == program.argv("daemon", "run")
    check, hang_up = _values(unit, "ExecReload")
    assert tuple(_words(check[1:])) == program.argv("config", "check")
    assert hang_up == """/bin/sh -c 'kill -HUP "$MAINPID"'"""
    assert [_words(value) for value in _values(unit, "ReadWritePaths")[:2]] == [[f"-{directory}"], [f"-{written}"]]


@given(st.text(characters))
def test_an_escaped_word_is_one_word(text: str) -> None:
    """Whatever is in it."""
    assert _words(escape(text)) == [text]


@pytest.mark.parametrize(
    "name", ["a\nb", "a\rb", "tab\t", "\x7f", "\x85", "bytes\udcff", "\ufdd0", "\U0001ffff", "\x1b[1m"]
)
def test_what_no_unit_can_hold_is_refused(name: str) -> None:
    """With a sentence: a line that systemd passes over would be worse."""
    with pytest.raises(WrongUsage, match="characters that no unit of systemd can hold"):
        render_unit(replace(PROGRAM, directory=Path("/x") / name), system=False)


@pytest.mark.parametrize("name", ['a"b', "a'b", "a\\b"])
def test_a_python_that_systemd_would_not_start_is_refused(name: str) -> None:
    """It takes no quotes and no backslashes in a program's path, escaped or not."""
    with pytest.raises(WrongUsage, match="starts no program whose path has quotes"):
        render_unit(replace(PROGRAM, python=f"/x/{name}/python"), system=False)


def test_what_it_promises_stands_in_it() -> None:
    """Notify and watchdog, a broken configuration that is not tried again, and what it may write."""
    settings = _settings(render_unit(PROGRAM, system=False))
    for key, value in (
        ("Type", "notify"),
        ("WatchdogSec", "60"),
        ("Restart", "on-failure"),
        ("RestartPreventExitStatus", "78"),
        ("KillMode", "mixed"),
        ("UMask", "0077"),
        ("TimeoutStopSec", "25"),
        ("ProtectSystem", "strict"),
        ("ProtectHome", "read-only"),
        ("PrivateTmp", "yes"),
        ("PrivateUsers", "yes"),
        ("RuntimeDirectory", "turnlog"),
        ("SystemCallFilter", "@system-service"),
        ("WantedBy", "default.target"),
    ):
        assert (key, value) in settings
    assert {key for key, _ in settings} & {"User", "StateDirectory", "LoadCredential", "RemoveIPC"} == set()


def test_it_may_take_longer_to_stop_than_the_daemon_takes_to_drain() -> None:
    """By a margin, whatever the grace time is."""
    assert _values(render_unit(replace(PROGRAM, grace_seconds=120.4), system=False), "TimeoutStopSec") == ["135"]


def test_the_systems_unit_has_an_account_and_a_state_folder() -> None:
    """The folder is systemd's to make where it is among those that it makes."""
    program = replace(PROGRAM, account="a%b", directory=Path("/var/lib/turn log"))
    unit = render_unit(program, system=True)
    assert _values(unit, "User") == ["a%%b"]
    assert _values(unit, "StateDirectory") == ['"turn log"']
    assert _values(unit, "StateDirectoryMode") == ["0700"]
    assert _values(unit, "WantedBy") == ["multi-user.target"]
    assert _values(render_unit(PROGRAM, system=True), "StateDirectory") == []
    assert _values(render_unit(program, system=False), "StateDirectory") == []


def test_a_secret_that_the_account_cannot_read_is_lent_by_systemd() -> None:
    """Under a name that the program finds it by; the rest of the line is its path, unquoted."""
    secret = Path("/etc/turnlog/100% secret")
    unit = render_unit(replace(PROGRAM, credentials=(secret,)), system=True)
    assert _values(unit, "LoadCredential") == [f"{credential_name(secret)}:/etc/turnlog/100%% secret"]


@pytest.mark.parametrize("place", ["directory", "config_path", "python"])
def test_a_path_in_a_temporary_folder_stays_visible(place: str) -> None:
    """A private /tmp would hide it; programs need one that they may write all the same."""
    path = TEMPORARY[1] / "x" / "y"
    unit = render_unit(replace(PROGRAM, **{place: str(path) if place == "python" else path}), system=False)
    assert _values(unit, "PrivateTmp") == []
    assert " ".join(map(str, TEMPORARY)) in _values(unit, "ReadWritePaths")


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """systemd-analyze --user wants to know one."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path


def _analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60, env=dict(os.environ), check=False
    )


@analyzes
@pytest.mark.parametrize("system", [False, True])
def test_systemd_finds_no_fault_with_it(runtime: Path, system: bool) -> None:
    """`verify` reads every line, and looks for the programs: here at a path with blanks, percents, dollars and more."""
    python = runtime / "é 100% $HOME ${x};問" / "py thon"
    python.parent.mkdir()
    python.symlink_to("/bin/true")
    program = replace(
        PROGRAM, python=str(python), account="root", directory=runtime / 'a "b" \\ c%', writable=(runtime / "x y",)
    )
    file = runtime / "turnlog.service"
    file.write_text(render_unit(program, system=system), encoding="utf-8")
    scope = "--system" if system else "--user"
    verified = _analyze(scope, "verify", "--recursive-errors=no", str(file))
    assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")
    python.unlink()
    assert _analyze(scope, "verify", "--recursive-errors=no", str(file)).returncode, "it does look there"


@analyzes
@pytest.mark.parametrize("system", [False, True])
@pytest.mark.parametrize("account", ["root", "amy"])
def test_its_exposure_is_at_most_2_5(runtime: Path, system: bool, account: str) -> None:
    """As `systemd-analyze security` counts it: from 0 (best) to 10. Even with the host's /tmp."""
    file = runtime / "turnlog.service"
    program = replace(PROGRAM, account=account, directory=TEMPORARY[0] / "x")
    file.write_text(render_unit(program, system=system))
    scope = "--system" if system else "--user"
    options = ("--offline=true", f"--threshold={EXPOSURE_MAX}", "--no-pager")
    rated = _analyze(scope, "security", *options, str(file))
    assert rated.returncode == 0, rated.stdout
    assert "Overall exposure level" in rated.stdout
    bare = file.read_text().replace("ProtectSystem=strict\n", "").replace("PrivateUsers=yes\n", "")
    file.write_text("\n".join(line for line in bare.splitlines() if not line.startswith(("SystemCall", "Restrict"))))
    assert _analyze(scope, "security", *options, str(file)).returncode, "it does count"
