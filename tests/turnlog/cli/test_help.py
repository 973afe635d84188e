"""Every command explains itself, quickly, and stands in the README."""

import subprocess
import sys
from collections.abc import Iterator

import click
import pytest

from turnlog.cli.commands.daemon_ import COMMANDS as DAEMON_COMMANDS
from turnlog.cli.main import COMMANDS, cli

from .support import ROOT, Cli


def _subcommands() -> Iterator[tuple[str, ...]]:
    with click.Context(cli) as context:
        for name in COMMANDS:
            command = cli.get_command(context, name)
            for sub in command.list_commands(context) if isinstance(command, click.Group) else ():
                yield name, sub


SUBCOMMANDS = sorted(_subcommands())
DAEMON = "autostart-status drain install logs reload restart run start status stop test uninstall"


def test_the_commands_are_those_of_the_design() -> None:
    """Nothing is missing from the first slice, in the order of the documentation."""
    first_slice = (
        "demo record import migrate sync pending show retry skip replay verify stats tail sinks sources "
        "watch conversations export redact daemon serve config doctor"
    )
    assert list(COMMANDS) == first_slice.split()
    assert [
        ("config", "check"),
        *(("daemon", name) for name in DAEMON.split()),
        *(("sinks", name) for name in ("pause", "resume", "retire")),
        *(("sources", name) for name in ("add", "check", "list", "remove")),
    ] == SUBCOMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_begins_as_the_list_of_commands_says(cli: Cli, name: str) -> None:
    """`--help` loads the command, ends 0, and its first sentence is the one of `turnlog --help`; -h is the same."""
    help_text = cli.ok(name, "--help").out
    usage, first = (line for line in help_text.splitlines()[:3] if line)
    assert usage.startswith(f"Usage: turnlog {name} ")
    assert first.strip() == COMMANDS[name]
    assert cli.ok(name, "-h").out == help_text
    assert f"  {name} " in cli.ok("--help").out


@pytest.mark.parametrize("names", SUBCOMMANDS, ids=" ".join)
def test_the_help_of_a_subcommand_loads(cli: Cli, names: tuple[str, ...]) -> None:
    """A subcommand's first sentence stands in the help of its command."""
    help_text = cli.ok(*names, "--help").out
    first = help_text.splitlines()[2].strip()
    assert first.endswith(".")
    assert first.split(",")[0][:40] in cli.ok(names[0], "--help").out


@pytest.mark.parametrize("name", DAEMON_COMMANDS)
def test_the_help_of_a_daemon_s_command_begins_as_its_list_says(cli: Cli, name: str) -> None:
    """That list is shown without loading any of them."""
    assert cli.ok("daemon", name, "--help").out.splitlines()[2].strip() == DAEMON_COMMANDS[name]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_stands_in_the_readme(name: str) -> None:
    """Who reads the README finds every command in it."""
    assert f"turnlog {name}" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_exit_code_stands_in_the_readme() -> None:
    """The five codes are in a table."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [code for code in ("0", "1", "2", "75", "78") if f"| {code} |" not in readme] == []


def test_the_version_is_that_of_the_distribution(cli: Cli) -> None:
    """`--version` prints one line."""
    from importlib.metadata import version

    assert cli.ok("--version").out == f"turnlog {version('turnlog')}\n"


def test_without_a_command_the_help_is_shown(cli: Cli) -> None:
    """It ends 2: nothing was done. With options, one sentence says what is missing."""
    assert cli.refused(2) == "missing command (see `turnlog --help`)"
    cli.options = ()
    result = cli()
    assert result.code == 2
    assert "Commands:" in result.out + result.err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("pendin",), "no such command 'pendin'; did you mean 'pending'? (see `turnlog --help`)"),
        (("wibble",), "no such command 'wibble'; known: config, conversations, daemon,"),
        (("config", "chek"), "no such command 'chek'"),
        (("sync", "--ones"), "no such option '--ones'"),
        (("show",), "missing argument 'TURN' (see `turnlog show --help`)"),
        (("pending", "--state", "delivered"), "invalid value for '--state': 'delivered' is not one of 'pending'"),
        (("sync",), "say --once to deliver what can be delivered now"),
        (("serve", "--port", "99999"), "invalid value for '--port'"),
    ],
)
def test_wrong_usage_is_one_sentence(cli: Cli, arguments: tuple[str, ...], sentence: str) -> None:
    """It ends 2, says what is wrong and where to read on."""
    assert cli.refused(2, *arguments).startswith(sentence)
    assert not cli.directory.exists()


SLOW = ("requests", "urllib3", "rich", "sqlite3", "msgspec", "asyncio", "litestar", "watchdog", "tomlkit", "zstandard")


@pytest.mark.parametrize(
    ("arguments", "used"),
    [("--help", set()), ("sources --help", {"msgspec", "sqlite3"}), ("pending", {"msgspec", "sqlite3"})],
)
def test_short_commands_load_little(cli: Cli, arguments: str, used: set[str]) -> None:
    """What is to answer at once loads no package that takes long to load and that it has no use for."""
    code = "import sys; from turnlog.cli.main import run; run(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"
    command = [sys.executable, "-c", code, *cli.options, *arguments.split()]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert set(SLOW) & set(done.stderr.split()) <= used
